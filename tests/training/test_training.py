"""Choosing the best epoch, stopping, and stopping with an explanation."""

import numpy as np
import polars as pl
import pytest
import torch

from messages import refused
from softrec.data.batches import TrainingBatches, examples
from softrec.data.interactions import Interactions
from softrec.errors import RunError, TrainingError
from softrec.models.gru4rec import GRU4Rec
from softrec.objective import Objective
from softrec.progress import telling
from softrec.training import loop
from softrec.training.budget import Budget
from softrec.training.lines import Lines
from softrec.types import Vectors

LOG = Interactions.read(
    pl.DataFrame({"user": np.repeat(np.arange(12), 4), "item": np.arange(48) % 9})
)


def batches() -> TrainingBatches:
    return TrainingBatches(examples(LOG.sequences, "positions", 4), 4, LOG.n_items, seed=0)


def encoder(seed: int = 0) -> GRU4Rec:
    torch.manual_seed(seed)
    return GRU4Rec(LOG.n_items, dim=4)


class Scripted:
    """A validation that gives the values of a script and keeps the weights it was shown."""

    def __init__(self, *values: float) -> None:
        self.values = values
        self.shown = []

    def __call__(self, model) -> dict[str, float]:
        self.shown.append({name: w.clone().cpu() for name, w in model.state_dict().items()})
        return {"ndcg@10": self.values[len(self.shown) - 1]}


def train(model, validate, folder, **options):
    options = {"epochs": 4, "lr": 0.01} | options
    return loop.train(model, Objective(), batches(), validate, folder, **options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "best"),
    [
        ((0.1, 0.4, 0.3, 0.2), 1),
        ((0.4, 0.3, 0.2, 0.1), 0),
        ((0.1, 0.2, 0.3, 0.4), 3),
        ((0.2, 0.2, 0.2, 0.2), 0),  # of equals, the first
        ((0.0, 0.0, 0.0, 0.0), 0),
        # Equal in single precision: the epoch told is the one whose weights are kept.
        ((0.1, 0.1 + 1e-12, 0.0, 0.0), 0),
    ],
)
def test_leaves_the_weights_of_the_best_epoch(tmp_path, values, best):
    model, validate = encoder(), Scripted(*values)
    trained = train(model, validate, tmp_path)
    assert trained.best_epoch == best + 1  # counted from 1
    assert trained.best == {"ndcg@10": values[best]}
    assert [row["valid/ndcg@10"] for row in trained.curve] == list(values)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, validate.shown[best][name])


@pytest.mark.parametrize(
    ("values", "patience", "epochs"),
    [
        ((0.3, 0.2, 0.1, 0.0, 0.0), 1, 2),
        ((0.3, 0.2, 0.1, 0.0, 0.0), 2, 3),
        ((0.3, 0.2, 0.4, 0.3, 0.2), 2, 5),
        ((0.3, 0.3, 0.3, 0.3, 0.3), 3, 4),
    ],
)
def test_stops_after_epochs_without_improvement(tmp_path, values, patience, epochs):
    trained = train(encoder(), Scripted(*values), tmp_path, patience=patience, epochs=5)
    assert len(trained.curve) == epochs
    assert trained.stopped_early == (epochs < 5)


def test_ends_when_its_minutes_are_over(tmp_path):
    """The first epoch is whole, however short the time."""
    told = []
    with telling(write=told.append):
        trained = train(encoder(), Scripted(0.1, 0.2, 0.3), tmp_path / "a", budget=Budget(1e-9))
    assert len(trained.curve) == trained.best_epoch == 1
    assert trained.stopped_early
    assert "to go" not in told[0]
    assert told[1:] == ["the training ends after epoch 1: one more would take longer than 0.0 s"]
    trained = train(encoder(), Scripted(*[0.1] * 4), tmp_path / "b", budget=Budget(60))
    assert len(trained.curve) == 4


def test_each_epoch_is_told_in_a_line(tmp_path):
    told = []
    with telling(write=told.append):
        train(encoder(), Scripted(0.1, 0.4, 0.3, 0.4), tmp_path)
    assert [line.split("; loss")[0] for line in told] == [
        "epoch 1 of 4: ndcg@10 0.1000, the best so far",
        "epoch 2 of 4: ndcg@10 0.4000, the best so far",
        "epoch 3 of 4: ndcg@10 0.3000, the best 0.4000 in epoch 2",
        "epoch 4 of 4: ndcg@10 0.4000, the best 0.4000 in epoch 2",
    ]
    assert all(line.endswith("to go") for line in told[:3])
    assert told[3].endswith(" s")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (3.2, "3 s"), (99, "99 s"), (150, "2 min"), (7000, "1 h 57 min")],
)
def test_times_as_a_person_says_them(seconds, text):
    told = []
    row = {"valid/recall@5": 0.5, "train/loss": 1.0, "seconds/train": seconds}
    with telling(write=told.append):
        Lines("recall@5", 2).epoch([row | {"seconds/validate": 0.0}])
    assert told == [
        f"epoch 1 of 2: recall@5 0.5000, the best so far; loss 1; {text}, at most {text} to go"
    ]


@pytest.mark.slow
def test_the_loss_falls_and_the_curve_is_a_mean_over_predictions(tmp_path):
    trained = train(encoder(), Scripted(*[0.0] * 30), tmp_path, epochs=30, lr=0.05, patience=30)
    losses = [row["train/loss"] for row in trained.curve]
    assert losses[0] == pytest.approx(np.log(LOG.n_items), rel=0.2)
    assert losses[-1] < 0.5 * losses[0]
    assert trained.seconds >= 30 * min(row["seconds/train"] for row in trained.curve) > 0


def test_the_same_seeds_give_the_same_weights(tmp_path):
    models = []
    for place in ("one", "two"):
        models.append(encoder())
        train(models[-1], Scripted(0.1, 0.2, 0.3, 0.4), tmp_path / place)
    one, two = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], two[name]) for name in one)


class Broken(GRU4Rec):
    """Gives no numbers."""

    def forward(self, batch, items=None):
        return Vectors(super().forward(batch).users * torch.nan, items or self.items())


def test_a_model_that_gives_no_numbers_is_told(tmp_path):
    with refused(TrainingError):
        train(Broken(LOG.n_items, dim=4), Scripted(0.0), tmp_path)


def test_weights_that_are_no_numbers_are_named(tmp_path):
    model = encoder()
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with refused(TrainingError):
        train(model, Scripted(0.0), tmp_path)


def test_an_accelerator_that_is_not_here(tmp_path):
    with pytest.raises(TrainingError):
        train(encoder(), Scripted(0.0), tmp_path, accelerator="abacus")


def test_no_epoch_is_no_training(tmp_path):
    with refused(RunError):
        train(encoder(), Scripted(0.0), tmp_path, epochs=0)


def test_a_machine_with_slurm_is_no_reason_to_warn(tmp_path, monkeypatch):
    """Lightning warns where `srun` is installed and not used; warnings are errors here."""
    command = tmp_path / "srun"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "run").mkdir()
    assert train(encoder(), Scripted(0.1), tmp_path / "run", epochs=1).best_epoch == 1
