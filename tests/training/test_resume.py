"""A run that was killed and started again ends as if it had never been killed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from safetensors.torch import load_file

from messages import refused
from softrec.cli import main as cli
from softrec.errors import RunError
from softrec.experiments.train import Run, fit_recipe, open_run
from softrec.progress import telling
from softrec.recipe.options import recipe_of
from softrec.training.checkpoints import RESUME
from softrec.training.module import SoftTargetModule

# 40 users in batches of 8: 5 steps an epoch. Dropout makes the random states matter.
STEPS = 5
OPTIONS = {
    "epochs": 4,
    "batch_size": 8,
    "length": 5,
    "lr": 0.03,
    "patience": 4,
    "model.dim": 8,
    "model.dropout": 0.3,
}


class Killed(BaseException):
    """Stands for SIGKILL where no other process is needed."""


def write_log(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    items = (generator.integers(12, size=(40, 1)) + np.arange(8)) % 12
    noise = generator.integers(12, size=items.shape)
    items = np.where(generator.random(items.shape) < 0.3, noise, items)
    users = np.repeat(np.arange(40), 8)
    number = np.arange(items.size) % 7  # read only where a recipe names it
    frame = pl.DataFrame({"user": users, "item": items.ravel(), "number": number})
    frame.with_columns("i" + pl.col("item").cast(pl.String)).write_csv(folder / "log.csv")
    return folder / "log.csv"


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    return write_log(tmp_path_factory.mktemp("log"))


def trained(log: Path, out: Path, **options) -> Run:
    recipe = recipe_of({"data": {"source": str(log)}}, OPTIONS | options)
    return fit_recipe(recipe, out)


@pytest.fixture(scope="module")
def unbroken(log, tmp_path_factory):
    """Runs that nobody killed, by their patience."""
    runs = {}

    def runner(patience: int) -> Run:
        if patience not in runs:
            out = tmp_path_factory.mktemp("unbroken") / "run"
            runs[patience] = trained(log, out, patience=patience)
        return runs[patience]

    return runner


def assert_same(run: Run, other: Run) -> None:
    weights, others = (load_file(r.folder / "model.safetensors") for r in (run, other))
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, others[name]), name
    curves = [pl.read_csv(r.folder / "curve.csv").select(pl.exclude("^seconds.*$"))
              for r in (run, other)]  # fmt: skip
    assert_frame_equal(*curves, check_exact=True)
    for fact in ("best_epoch", "epochs", "stopped_early", "valid", "test"):
        assert run.facts[fact] == other.facts[fact], fact
    assert_frame_equal(run.per_user, other.per_user, check_exact=True)


@pytest.fixture
def kill(monkeypatch):
    """Let the next training die at a place: a step counted from its start, or an epoch's end."""

    def killer(place: str, number: int):
        monkeypatch.undo()
        step, end = SoftTargetModule.training_step, SoftTargetModule.on_train_epoch_end
        steps = 0

        def training_step(self, batch, batch_idx):
            nonlocal steps
            steps += 1
            if place == "step" and steps == number:
                raise Killed
            return step(self, batch, batch_idx)

        def on_train_epoch_end(self):
            if place == "before validation" and self.current_epoch == number:
                raise Killed
            end(self)
            if place == "after validation" and self.current_epoch == number:
                raise Killed

        monkeypatch.setattr(SoftTargetModule, "training_step", training_step)
        monkeypatch.setattr(SoftTargetModule, "on_train_epoch_end", on_train_epoch_end)

    yield killer
    monkeypatch.undo()


PLACES = {
    "before any checkpoint": (3, [("step", 2)]),
    "in the middle of an epoch": (3, [("step", 5)]),
    "in a later epoch": (3, [("step", 3 * STEPS + 3)]),
    "at an epoch's last step": (2, [("step", 2 * STEPS)]),
    "in validation, after the epoch's last batch was due for a checkpoint": (
        STEPS,
        [("before validation", 0), ("before validation", 1)],
    ),
    "between epochs": (3, [("after validation", 1)]),
    "when a checkpoint was due at every step": (1, [("step", STEPS + 1)]),
    "in the last validation": (2, [("before validation", 3)]),
    "three times": (2, [("step", 4), ("after validation", 0), ("step", 6)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_goes_on_exactly(log, tmp_path, unbroken, kill, place):
    steps, kills = PLACES[place]
    for where, number in kills:
        kill(where, number)
        with pytest.raises(Killed):
            trained(log, tmp_path / "run", checkpoint_steps=steps)
        assert not (tmp_path / "run").exists()
    kill("nowhere", 0)
    assert_same(trained(log, tmp_path / "run", checkpoint_steps=steps), unbroken(4))


@pytest.mark.slow
@pytest.mark.parametrize("options", [
    {"training.schedule": "cosine", "training.warmup": 3},
    {"training.schedule": "plateau", "training.plateau": 1},
    {"training.optimizer": "adamw", "weight_decay": 0.1, "training.clip": 0.1},
    {"prior.model": "markov"},
    {"training.ema": 0.8},
    {"target": "uniform(alpha=0.5,mass={by: label-count, first: 0.2, epochs: 3})"},
    {"weights": "slatk", "rank": 3, "weights.renew": 2},
    {"loss": "talos", "loss.rank": 3, "loss.renew": 2},
    {"loss.name": "mixed", "loss.score": "cosine", "loss.learn_temperature": True},
    {"weights": "confidence", "weight": "number", "weights.least": 1.0},
    {"weights": "slatk", "rank": 3, "weights.renew": 1, "model": "mf", "model.dropout": 0.3},
])  # fmt: skip
def test_schedules_and_priors_go_on_exactly(log, tmp_path, kill, options):
    whole = trained(log, tmp_path / "whole", **options)
    for number, (where, step) in enumerate((("step", STEPS + 2), ("after validation", 1))):
        out = tmp_path / f"run{number}"
        kill(where, step)
        with pytest.raises(Killed):
            trained(log, out, checkpoint_steps=2, **options)
        kill("nowhere", 0)
        assert_same(trained(log, out, checkpoint_steps=2, **options), whole)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "number"), [("step", 2 * STEPS + 4), ("after validation", 2)])
def test_early_stopping_remembers(log, tmp_path, unbroken, kill, place, number):
    """Killed in an epoch that is not the best: patience and best weights are of before."""
    assert unbroken(1).facts["stopped_early"]
    assert unbroken(1).facts["best_epoch"] == 2
    assert unbroken(1).facts["epochs"] == 3
    kill(place, number)
    with pytest.raises(Killed):
        trained(log, tmp_path / "run", checkpoint_steps=2, patience=1)
    kill("nowhere", 0)
    resumed = trained(log, tmp_path / "run", checkpoint_steps=2, patience=1)
    assert_same(resumed, unbroken(1))


def test_a_resumed_run_does_not_start_anew(log, tmp_path, kill, monkeypatch):
    kill("step", 2 * STEPS + 5)
    with pytest.raises(Killed):
        trained(log, tmp_path / "run", checkpoint_steps=2)
    monkeypatch.undo()
    taken = []
    step = SoftTargetModule.training_step
    monkeypatch.setattr(SoftTargetModule, "training_step", lambda *a: taken.append(1) or step(*a))
    told = []
    with telling(write=told.append):
        trained(log, tmp_path / "run", checkpoint_steps=2)
    told = told[told.index("going on in epoch 3 of 4") + 1 :]
    assert [line.split(":")[0] for line in told] == ["epoch 3 of 4", "epoch 4 of 4"]
    saved = 2 * STEPS + 4  # every second step, and at an epoch's last step after validation
    assert len(taken) == 4 * STEPS - saved


def test_the_unfinished_run_is_named_and_not_mixed_with_another(log, tmp_path, kill):
    out = tmp_path / "run"
    kill("step", STEPS)
    with pytest.raises(Killed):
        trained(log, out, checkpoint_steps=2)
    kill("nowhere", 0)
    with refused(RunError):
        open_run(out)
    with refused(RunError):
        trained(log, out, checkpoint_steps=2, lr=0.01)
    recipe = recipe_of({"data": {"source": str(log)}}, OPTIONS | {"lr": 0.01})
    run = fit_recipe(recipe, out, overwrite=True)
    assert run.facts["epochs"] == 4
    assert not (tmp_path / "run.part").exists()


def test_checkpoints_are_read_without_running_code(log, tmp_path, kill):
    kill("step", STEPS + 4)
    with pytest.raises(Killed):
        trained(log, tmp_path / "run", checkpoint_steps=2)
    checkpoints = sorted((tmp_path / "run.part").glob("*.ckpt"))
    assert [path.name for path in checkpoints] == ["best.ckpt", "resume.ckpt"]
    for path in checkpoints:
        assert "state_dict" in torch.load(path, weights_only=True)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_broken_checkpoint_is_named(log, tmp_path, kill, content):
    kill("step", STEPS)
    with pytest.raises(Killed):
        trained(log, tmp_path / "run", checkpoint_steps=2)
    kill("nowhere", 0)
    path = tmp_path / "run.part" / RESUME
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    with refused(RunError):
        trained(log, tmp_path / "run", checkpoint_steps=2)


# --- a real SIGKILL, and the same command again ---

KILLS_ITSELF = """
import os, signal, sys
from softrec.cli.main import main
from softrec.progress import telling
from softrec.training.module import SoftTargetModule

place, number, *arguments = sys.argv[1:]
step, end = SoftTargetModule.training_step, SoftTargetModule.on_train_epoch_end
steps = 0

def training_step(self, batch, batch_idx):
    global steps
    steps += 1
    if place == "step" and steps == int(number):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)

def on_train_epoch_end(self):
    validate = self.validate
    def dying(encoder):
        found = validate(encoder)
        if place == "validation" and self.current_epoch == int(number):
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    self.validate = dying
    end(self)
    self.validate = validate

SoftTargetModule.training_step = training_step
SoftTargetModule.on_train_epoch_end = on_train_epoch_end
main(arguments)
"""


@pytest.mark.slow
def test_sigkill_and_the_same_command_again(log, tmp_path, unbroken, monkeypatch):
    """Twice: in the middle of an epoch, and in the validation of the same one."""
    command = ["fit", str(log), "--out", "run", "--set", "training.checkpoint_steps=3"]
    for name, value in OPTIONS.items():
        flat = f"--{name.replace('_', '-')}"
        command += ["--set", f"{name}={value}"] if "." in name else [flat, str(value)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for place, number in (("step", STEPS + 4), ("validation", 1)):
        died = subprocess.run(
            [sys.executable, "-c", KILLS_ITSELF, place, str(number), *command],
            cwd=tmp_path, env=environment, capture_output=True, check=False,
        )  # fmt: skip
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert (tmp_path / "run.part" / RESUME).exists()
        assert not (tmp_path / "run").exists()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as done:
        cli.main(command)
    assert done.value.code == 0
    assert_same(open_run(tmp_path / "run"), unbroken(4))


def test_what_a_kill_while_saving_leaves_is_removed(log, tmp_path, kill):
    kill("step", 4 * STEPS)
    with pytest.raises(Killed):
        trained(log, tmp_path / "run", checkpoint_steps=2 * STEPS + 2)
    kill("nowhere", 0)
    part = tmp_path / "run.part"
    shutil.copy(part / RESUME, part / "resume.ckpt.0123abcd.part")
    run = trained(log, tmp_path / "run", checkpoint_steps=2 * STEPS + 2)
    assert not list(run.folder.rglob("*.ckpt*"))
    assert not list(run.folder.rglob("*.part"))


# --- what is kept beside inner steps, and how it is known ---


@pytest.fixture
def steps(monkeypatch):
    """Count the training steps."""
    taken = []
    step = SoftTargetModule.training_step
    monkeypatch.setattr(SoftTargetModule, "training_step", lambda *a: taken.append(1) or step(*a))
    return taken


@pytest.mark.slow
@pytest.mark.parametrize("patience", [1, 4])
def test_a_kill_in_the_test_costs_the_test_alone(log, tmp_path, unbroken, steps, patience):
    """After the last epoch, and after an early stop."""

    def dies(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("softrec.experiments.train.versions", dies)
        with pytest.raises(Killed):
            trained(log, tmp_path / "run", patience=patience)
    steps.clear()
    run = trained(log, tmp_path / "run", patience=patience)
    assert steps == []
    assert_same(run, unbroken(patience))


def test_with_one_batch_an_epoch_each_epoch_counts(log, tmp_path, kill):
    options = {"batch_size": 64, "checkpoint_steps": 1}
    whole = trained(log, tmp_path / "whole", **options)
    kill("step", 4)
    with pytest.raises(Killed):
        trained(log, tmp_path / "run", **options)
    kill("nowhere", 0)
    told = []
    with telling(write=told.append):
        run = trained(log, tmp_path / "run", **options)
    assert "going on in epoch 4 of 4" in told
    assert_same(run, whole)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.6])
@pytest.mark.parametrize("name", ["resume.ckpt", "best.ckpt", "checkpoints.json"])
def test_a_flipped_bit_in_a_checkpoint_is_seen(log, tmp_path, kill, name, share):
    kill("step", STEPS + 4)
    with pytest.raises(Killed):
        trained(log, tmp_path / "run", checkpoint_steps=2)
    kill("nowhere", 0)
    path = tmp_path / "run.part" / name
    content = bytearray(path.read_bytes())
    content[int(share * len(content))] ^= 1
    path.write_bytes(content)
    with refused(RunError):
        trained(log, tmp_path / "run", checkpoint_steps=2)
