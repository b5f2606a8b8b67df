"""A full disk, Ctrl-C while loading, two commands at once, a log rewritten: one line each."""

import errno
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from softrec.cli import main as cli
from softrec.errors import of_the_system
from softrec.experiments.store.folders import held
from softrec.training.module import SoftTargetModule

TINY = ["--epochs", "2", "--batch-size", "16", "--length", "5", "--set", "model.dim=8",
        "--set", "training.checkpoint_steps=1"]  # fmt: skip
FIT = ["fit", "log.csv", "--out", "run", *TINY]


def log_frame(times: int = 1) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    items = (generator.integers(10, size=(20, 1)) + np.arange(6)) % 10
    frame = pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel()})
    return frame.with_columns(time=pl.int_range(pl.len()) * times)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    log_frame().write_csv("log.csv")
    return tmp_path


@pytest.fixture
def ended(capsys):
    """Run a command; return its exit code and the last line of its error stream."""

    def call(*arguments: object) -> tuple[object, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            cli.main([str(argument) for argument in arguments])
        lines = capsys.readouterr().err.splitlines()
        return done.value.code, lines[-1] if lines else ""

    return call


@pytest.fixture
def dies_in_epoch_2(monkeypatch):
    """Let the next training die in its second epoch, as if killed."""
    step = SoftTargetModule.training_step

    def training_step(self, batch, batch_idx):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(SoftTargetModule, "training_step", training_step)
        yield patch


@pytest.mark.slow
@pytest.mark.parametrize("command", ["fit", "compare"])
def test_a_log_rewritten_meanwhile(ended, dies_in_epoch_2, command):
    """The same events at other times: order and counts are as before."""
    arguments = [command, *FIT[1:]]
    assert ended(*arguments)[0] == 130
    dies_in_epoch_2.undo()
    log_frame(times=2).write_csv("log.csv")
    code, line = ended(*arguments)
    assert code == 2
    assert (
        "run.part was begun on other data (other events, or another order, or other times" in line
    )
    log_frame().write_csv("log.csv")
    assert ended(*arguments)[0] == 0


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_two_at_once(ended, command, folder):
    holder = subprocess.Popen(
        [sys.executable, "-c", "from softrec.experiments.store.folders import RUN, reserved\n"
         "with reserved('run', RUN):\n print('held', flush=True)\n input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    code, line = ended(command, *FIT[1:], "--overwrite")
    holder.communicate("\n")
    assert code == 2
    assert line == (
        "error: another process is writing run; wait until it has finished, or choose another --out"
    )
    assert {path.name for path in folder.iterdir()} == {"log.csv"}


@pytest.mark.slow
@pytest.mark.parametrize("out", ["best.csv", "run/best.csv", "users.csv"])
def test_a_table_never_replaces_what_is_read(ended, out):
    assert ended(*FIT)[0] == 0
    Path("users.csv").write_text("user\n3\n")
    code, line = ended("recommend", "run", "--users-file", "users.csv", "--out", out)
    assert code == (0 if out == "best.csv" else 2), line
    assert Path("users.csv").read_text() == "user\n3\n"


ERRORS = {
    "full": (OSError(errno.ENOSPC, "No space left on device", "a/b"), r"a/b.*; free some space"),
    "full, says Polars": (pl.exceptions.ComputeError("No space left on device (os error 28)"),
                          "free some space"),
    "full, says safetensors": (Exception("IoError(Os { code: 28, kind: StorageFull })"),
                               "free some space"),
    "forbidden": (PermissionError(errno.EACCES, "Permission denied", "a/b"),
                  "a/b: Permission denied; get the permission, or choose another place"),
    "a long name": (OSError(errno.ENAMETOOLONG, "File name too long", "a" * 5000),
                    "a shorter name"),
    "another": (OSError(errno.EIO, "Input/output error", "a/b"),
                "a/b: Input/output error; --debug"),
    "memory": (MemoryError(), "not enough memory"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("what", ERRORS)
def test_what_the_system_refuses_is_a_line(ended, monkeypatch, what):
    error, text = ERRORS[what]

    def fails(*_, **__):
        raise error

    monkeypatch.setattr("softrec.experiments.train.versions", fails)
    code, line = ended(*FIT)
    assert code == 2
    assert line.startswith("error: ")
    assert len(line) < 520
    assert re.search(text, line)
    with pytest.raises(type(error)):
        cli.main(["--debug", *FIT])


def test_a_fault_of_the_program_is_none():
    assert of_the_system(ValueError("a bug")) is None


FULL = """
import os, resource, sys
from softrec.cli.main import main
for limit in (100, 9000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        main(sys.argv[1:])
    except SystemExit as done:
        print(limit, done.code, os.path.exists("run"), file=sys.stderr)
"""


@pytest.mark.slow
def test_no_room_and_then_some(ended, folder):
    """Files may not grow beyond a limit: as on a full disk, in the mark or in a checkpoint."""
    done = subprocess.run([sys.executable, "-c", FULL, *FIT], text=True, capture_output=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    for limit in (100, 9000):
        place = lines.index(f"{limit} 2 False")
        assert lines[place - 1].startswith("error: ")
    assert ended(*FIT)[0] == 0


LOADS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
module, *sys.argv[1:] = sys.argv[1:]

class Presses:
    def find_spec(self, name, *_):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Presses())
from softrec.__main__ import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["typer", "torch", "lightning"])
def test_interrupted_while_loading(folder, module):
    done = subprocess.run([sys.executable, "-c", LOADS, module, *FIT], text=True,
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert done.stderr == "interrupted; nothing was done yet\n"
    assert {path.name for path in folder.iterdir()} == {"log.csv"}


def test_who_ignores_ctrl_c_goes_on_ignoring_it(monkeypatch):
    from softrec import __main__

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    monkeypatch.setattr(sys, "argv", ["softrec", "--version"])
    try:
        with pytest.raises(SystemExit):
            __main__.main()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# --- the cache ---

TEACHER = "{model: {name: gru4rec, dim: 8}, training: {epochs: 1, length: 5}}"


def test_the_cache_is_listed_and_cleared(ended, capsys, folder):
    recipe = Path("kd.yaml")
    recipe.write_text("data: {source: log.csv}\nmodel: {name: gru4rec, dim: 8}\n"
                      "training: {epochs: 1, length: 5}\n"
                      f"target: {{name: kd, top: 3, teacher: {TEACHER}}}\n")  # fmt: skip
    assert ended("fit", recipe, "--out", "run")[0] == 0
    with pytest.raises(SystemExit):
        cli.main(["cache", "list"])
    listed = dict(line.split()[:2] for line in capsys.readouterr().out.splitlines())
    assert (listed["runs"], listed["artifacts"], listed["data"]) == ("1", "2", "0")
    foreign = folder / "cache" / "runs" / "mine"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("keep")
    (stage,) = (path for path in (folder / "cache" / "runs").iterdir() if path != foreign)
    assert ended("cache", "clear", "--kind", "artifacts", "--yes")[0] == 0
    assert not (folder / "cache" / "artifacts" / "teacher-top").exists()
    assert (stage / "run.json").exists()
    with held(stage):
        assert ended("cache", "clear", "--kind", "runs", "--yes")[0] == 0
        assert (stage / "run.json").exists()
    assert ended("cache", "clear", "--yes")[0] == 0
    assert not stage.exists()
    assert (foreign / "notes.txt").read_text() == "keep"
    assert ended("cache", "clear", "--kind", "all")[0] == 2
    assert ended("evaluate", "run")[0] == 0


def test_clearing_asks_first(folder, monkeypatch, capsys):
    import io

    hashes = folder / "cache" / "hashes"
    hashes.mkdir(parents=True)
    (hashes / "1-2.json").write_text("{}")
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    with pytest.raises(SystemExit):
        cli.main(["cache", "clear"])
    assert "Remove 1 entries" in capsys.readouterr().out
    assert (hashes / "1-2.json").exists()
