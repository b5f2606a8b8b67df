"""The folder of a command: one process, our mark, nothing of anybody else's, safe at every kill."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from messages import refused
from softrec.errors import RunError, TrainingError
from softrec.experiments.store import folders
from softrec.experiments.store.folders import COMPARISON, MARK, RUN, reserved
from softrec.files import write_facts, write_text
from softrec.training.alone import alone

DATA = {"users": 3, "events_fingerprint": "abc"}


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(out, text="one", *, overwrite=False, data=DATA, finish=True) -> None:
    """What `fit` does, without a training."""
    with reserved(out, RUN) as place:
        place.check_free(text, overwrite=overwrite)
        part = place.begin(text, data, overwrite=overwrite)
        write_text(part / "weights", text)
        write_facts(part / RUN.result, {"format": 2, "recipe": {}})
        if finish:
            place.finish()


def content(out="run") -> str:
    return Path(out, "weights").read_text()


def names(folder) -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def test_made_and_nothing_else_is_left(folder):
    make("deep/er/run")
    assert names("deep/er") == {"run"}
    assert names("deep/er/run") == {"weights", "run.json", "recipe.yaml", MARK}


def test_a_failure_leaves_nothing(folder):
    with refused(ValueError), reserved("deep/er/run", RUN):
        raise ValueError("no")
    assert names(folder) == set()


# --- one process, one thread ---

HOLDS = """
import sys
from softrec.experiments.store.folders import RUN, reserved
with reserved("run", RUN):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(folder):
    make("run", "old")
    other = subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert other.stdout.readline() == "held\n"
    for overwrite in (False, True):
        with refused(RunError):
            make("run", "new", overwrite=overwrite)
    assert content() == "old"
    other.kill()
    other.communicate()
    make("run", "new", overwrite=True)
    assert content() == "new"
    assert names(folder) == {"run"}


def test_a_second_thread_is_refused():
    told = []

    def train():
        try:
            make("other")
        except TrainingError as error:
            told.append(str(error))

    with reserved("run", RUN):
        with alone():  # the same thread may: a stage inside a run
            pass
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    assert "another thread of this process is training" in told[0]
    train()
    assert len(told) == 1


@pytest.mark.parametrize("asked", ["a seed more", "a row more", "another rate"])
def test_what_is_new_in_a_comparison_is_told_by_row_and_seed(asked):
    def rows(targets, seeds, lr=0.1):
        each = {"model": {"name": "mf"}, "training": {"lr": lr}}
        found = [[{**each, "target": {"name": t}, "seed": s} for s in seeds] for t in targets]
        return json.dumps(found)

    changed = {
        "a seed more": rows(["one-hot", "kd"], [0, 1]),
        "a row more": rows(["one-hot", "pop+", "kd"], [0]),
        "another rate": rows(["one-hot", "kd"], [0], 0.2),
    }
    with reserved("run", COMPARISON) as place:
        place.begin(rows(["one-hot", "kd"], [0]), DATA, overwrite=False)
        with refused(RunError):
            place.check_free(changed[asked], overwrite=False)


# --- only ours ---


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_work_folder_is_never_touched(folder, overwrite):
    Path("run.part").mkdir()
    Path("run.part", "photo").write_text("cat")
    with refused(RunError):
        make("run", overwrite=overwrite)
    assert Path("run.part", "photo").read_text() == "cat"
    shutil.rmtree("run.part")
    Path("elsewhere").mkdir()
    os.symlink("elsewhere", "run.part")
    with refused(RunError):
        make("run", overwrite=overwrite)


def test_a_work_folder_begun_but_not_marked_yet_is_ours():
    """A kill between making the folder and its mark."""
    Path("run.part").mkdir()
    Path("run.part", f"{MARK}.0123.part").write_text("{")
    make("run")
    assert content() == "one"


@pytest.mark.parametrize("result", ['{"format": 2}', "[]", "no JSON"])
def test_only_runs_are_replaced(result):
    Path("run").mkdir()
    Path("run", "run.json").write_text(result)
    with refused(RunError):
        make("run", overwrite=True)
    assert Path("run", "run.json").read_text() == result


def test_a_run_that_was_damaged_can_be_replaced():
    make("run")
    Path("run", "run.json").write_text("{")
    make("run", "new", overwrite=True)
    assert content() == "new"


def test_what_was_begun_for_something_else_is_refused_or_dropped():
    make("run", "one", finish=False)
    with refused(RunError):
        make("run", "two")
    with refused(RunError):
        make("run", "one", data={"users": 4, "events_fingerprint": "def"})
    assert content("run.part") == "one"
    make("run", "one", data={"users": 4}, overwrite=True)
    assert content() == "one"
    make("two", "one", finish=False)
    make("two", "two", overwrite=True)
    assert content("two") == "two"


ODD = [
    "",
    ".",
    "..",
    "a\0b",
    "~",
    "~/runs/first",
    "run.part",
    "log.csv",
    "link",
    "gone",
    "data",
    "teacher",
    "teacher/student",
    "logs",
]


@pytest.mark.parametrize("out", ODD)
def test_odd_outputs(folder, out):
    for name in ("data", "teacher", "logs.part"):
        Path(name).mkdir()
    for name in ("log.csv", "data/log.csv", "logs.part/log.csv"):
        Path(name).write_text("user,item\n")
    os.symlink("data", "link")
    os.symlink("nowhere", "gone")
    before = sorted(folder.rglob("*"))
    inputs = ["data/log.csv", "teacher", "logs.part/log.csv", "movielens-1m"]
    with refused(RunError), reserved(out, RUN, inputs):
        pass
    assert sorted(folder.rglob("*")) == before


# --- replaced in one step ---


@pytest.fixture
def killed(monkeypatch):
    """Let the n-th call that changes a folder die, before or after it was done."""

    def killer(number: int, after: bool):
        left = [number]

        def dying(function):
            def call(*arguments, **options):
                left[0] -= 1
                if left[0] == 0 and not after:
                    raise Killed
                result = function(*arguments, **options)
                if left[0] == 0:
                    raise Killed
                return result

            return call

        for name in ("rename", "mkdir", "unlink", "rmdir", "replace"):
            monkeypatch.setattr(Path, name, dying(getattr(Path, name)))
        monkeypatch.setattr(shutil, "rmtree", dying(shutil.rmtree))

    return killer


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("number", range(1, 15))
def test_killed_while_an_old_run_is_replaced(folder, killed, monkeypatch, number, after):
    """The old one or the new one is there, and the same command ends with the new one."""
    make("run", "old")
    with monkeypatch.context():
        killed(number, after)
        try:
            make("run", "new", overwrite=True)
        except Killed:
            died = True
        else:
            died = False
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    whole = [
        out for out in ("run", "run.part/.replaced", "run.part") if Path(out, RUN.result).exists()
    ]
    assert content(whole[0]) in ("old", "new")
    make("run", "new", overwrite=True)
    assert content() == "new"
    assert names("run") == {"weights", "run.json", "recipe.yaml", MARK}
    assert names(folder) == {"run"}
    assert died or number > 5


def test_the_old_run_is_back_at_once_if_the_new_one_is_not_wanted(folder, monkeypatch):
    make("run", "old")
    rename = Path.rename

    def dying(self, target):
        if self.name == "run.part":
            raise Killed
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying)
        with pytest.raises(Killed):
            make("run", "new", overwrite=True)
    assert not Path("run").exists()
    with refused(RunError):
        make("run", "new")
    assert content() == "old"


def test_a_mark_goes_last(monkeypatch):
    make("run", finish=False)
    unlink = Path.unlink

    def dying(self, **options):
        if self.name == "weights":
            raise Killed
        return unlink(self, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dying)
        with pytest.raises(Killed):
            folders.remove(Path("run.part"))
    assert folders.is_marked(Path("run.part"), RUN)
