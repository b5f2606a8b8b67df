"""Confidence: each label weighs what the log says of its event, wherever the log is kept."""

import numpy as np
import polars as pl
import pytest
import torch

import softrec
from messages import refused
from softrec.data.batches import examples, training_batch
from softrec.data.interactions import Interactions
from softrec.data.noise import contaminated
from softrec.data.splits import leave_last_out
from softrec.errors import DataError, RecipeError
from softrec.experiments.build.on_disk import split_on_disk
from softrec.recipe.specs.data import DataSettings
from softrec.weights import ConfidenceSettings, of_numbers

pytestmark = pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")
WINDOWS = ["last", "positions", "prefixes", "sliding", "interactions"]
TINY = {"model": "gru4rec", "model.dim": 4, "epochs": 2, "batch_size": 16, "length": 5,
        "windows": "prefixes", "lr": 0.03, "progress": False}  # fmt: skip


def clicks(users=30, seed=0):
    """A log in which each event is told by its item and by its number."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 9, size=users)
    user = np.repeat(np.arange(users), lengths)
    time = rng.permutation(len(user))
    item = rng.integers(15, size=len(user))
    return pl.DataFrame({"user": user, "item": item, "time": time, "rating": 1.0 + time % 5})


class Training:
    """What the weights read of the training part."""

    def __init__(self, split, windows="prefixes", length=3):
        self.split = split
        self.data = examples(split.train.sequences, windows, length)


def given(training, **settings):
    """Return (user, label, weight) of all examples of an epoch, by the sources of batches."""
    source = ConfidenceSettings(**settings).build(training)
    data, found = training.data, []
    for begin in range(0, len(data), 7):
        chosen = np.arange(begin, min(begin + 7, len(data)))
        batch = training_batch(data, chosen, training.split.train.n_items, "right")
        weights = source(batch)(batch.label.float(), slice(0, len(batch.label)))
        found.append(torch.stack([batch.prediction_user, batch.label, weights], 1).double())
    return torch.cat(found).numpy()


def test_by_hand():
    assert np.allclose(of_numbers([0.0, 1.0, 5.0]), [0, 0.5, 2.5])
    assert np.allclose(of_numbers([0.0, 2.0], least=1.0), [0.5, 1.5])
    expected = np.array([0.1 + np.log(2), 0.1 + np.log(1001)])
    assert np.allclose(of_numbers([1, 1000], "log", 0.1), expected / expected.mean())


@pytest.mark.parametrize("numbers", [[1.0, -0.5], [1.0, np.nan], [np.inf, 1.0], [0.0, 0.0]])
def test_what_is_no_weight(numbers):
    with refused(ValueError):
        of_numbers(np.array(numbers))


@pytest.mark.parametrize("windows", WINDOWS)
def test_each_label_has_the_number_of_its_event(windows):
    """Of events whose user, item and time are told by the number: it is looked up by loops."""
    split = leave_last_out(Interactions.read(clicks()))
    found = given(Training(split, windows))
    frame = split.train.frame.sort("user", "time", maintain_order=True)
    expected, first = [], 0 if windows == "interactions" else 1
    for user, events in frame.group_by("user", maintain_order=True):
        rows = list(zip(events["item"], events["weight"], strict=True))[first:]
        if windows == "last":
            rows = rows[-1:]
        elif windows == "positions":
            rows = rows[-3:]
        expected += [(user[0], item, number) for item, number in rows]
    expected = np.array(expected)
    expected[:, 2] /= expected[:, 2].mean()
    assert np.allclose(found, expected)


def test_false_positives_and_a_random_order_take_their_numbers_along():
    split = leave_last_out(Interactions.read(clicks()))
    for other in (split.shuffled(3), split.cold_start(2)):
        found = given(Training(other, "interactions"))
        numbers = other.train.ordered["weight"].to_numpy()
        assert np.allclose(found[:, 2], numbers / numbers.mean())
    pairs = split.train.frame.select("user", "item", "weight")
    moved = split.shuffled(3).train.frame.select("user", "item", "weight")
    assert pairs.sort(pairs.columns).equals(moved.sort(pairs.columns))
    noisy = contaminated(split.train, 0.5)
    assert noisy.frame["weight"].equals(split.train.ordered["weight"])


def test_a_log_on_disk_has_the_weights_of_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    clicks().write_parquet(tmp_path / "log.parquet")
    spec = DataSettings(source=str(tmp_path / "log.parquet"), on_disk=True, weight="rating")
    stored, held = split_on_disk(spec), leave_last_out(Interactions.read(clicks()))
    for windows in WINDOWS:
        for settings in ({}, {"scale": "log", "least": 2.0}):
            one, other = (given(Training(s, windows), **settings) for s in (stored, held))
            assert np.allclose(one[one[:, 2].argsort(), 2], other[other[:, 2].argsort(), 2])


@pytest.mark.parametrize(
    "frame",
    [clicks().drop("rating"), clicks().with_columns(rating=pl.col("rating") - 2)],
    ids=["no column", "negative"],
)
def test_a_log_that_cannot_be_weighed(tmp_path, frame):
    with refused(RecipeError):
        softrec.fit(frame, out=tmp_path / "run", weights="confidence", **TINY)
    assert not (tmp_path / "run").exists()


def test_numbers_that_are_missing_are_refused_where_the_log_is_read(tmp_path):
    frame = clicks().with_columns(rating=pl.when(pl.col("item") != 3).then("rating"))
    with refused(DataError):
        softrec.fit(frame, out=tmp_path / "run", weights="confidence", **TINY)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return softrec.fit(clicks(), out=out, weights="confidence", **TINY)


def test_a_run_keeps_the_numbers(run):
    again = softrec.open_run(run.folder).split()
    expected = leave_last_out(Interactions.read(clicks()))
    one, other = (given(Training(split)) for split in (again, expected))
    assert np.allclose(one, other)


def test_the_column_changes_what_is_learnt(run, tmp_path):
    """Equal numbers are equal weights; other numbers are another training."""
    flat = clicks().with_columns(rating=3.0)
    one = softrec.fit(flat, out=tmp_path / "flat", weights="confidence", **TINY)
    equal = softrec.fit(clicks(), out=tmp_path / "equal", **TINY)
    weights = [each.encoder().items().vectors for each in (one, equal, run)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2])


def test_an_update_weighs_old_and_new_events(run, tmp_path):
    new = clicks(seed=5).with_columns(time=pl.col("time") + 1000, rating=pl.col("rating") + 10)
    grown = softrec.update(run.folder, new, out=tmp_path / "new", refit=True).run
    frame = pl.concat([part.frame for part in grown.split().parts.values()])
    assert sorted(frame["weight"]) == sorted([*clicks()["rating"], *new["rating"]])
    late = frame.filter(pl.col("time") >= 1000)
    assert (late["weight"] > 10).all()
    with refused(DataError):
        softrec.update(run.folder, new.drop("rating"), out=tmp_path / "none")
