"""A log that stays on disk gives what the same log in memory gives, to the last digit."""

import shutil

import numpy as np
import polars as pl
import pytest

import softrec
from messages import refused
from softrec.data.disk.split import StoredSplit
from softrec.errors import DataError, RunError, SoftrecError
from softrec.experiments.build.data import load_split
from softrec.limits import limited
from softrec.recipe.specs.data import DataSettings

pytestmark = pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")

TINY = {"model": "sasrec", "epochs": 2, "batch_size": 32, "length": 6, "model.dim": 8,
        "model.layers": 1, "metrics": ("ndcg@10",)}  # fmt: skip


def written(folder, frame: pl.DataFrame, parts: int):
    """Write a log as Parquet files whose names have the order of its rows."""
    folder.mkdir()
    for number, rows in enumerate(np.array_split(np.arange(len(frame)), parts)):
        frame[rows].write_parquet(folder / f"part-{number}.parquet")
    return folder


@pytest.fixture
def cached(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def log(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"user": rng.integers(0, 60, 900), "item": rng.integers(0, 40, 900),
                          "time": np.arange(900)})  # fmt: skip
    return written(tmp_path / "log", frame, 3)


@pytest.fixture
def run(tmp_path, log, cached):
    return softrec.fit(log, out=tmp_path / "run", **TINY, **{"data.on_disk": True})


def test_a_run_has_the_numbers_of_the_log_in_memory_and_no_copy_of_it(tmp_path, log, run):
    other = softrec.fit(log, out=tmp_path / "other", **TINY)
    assert other.test == run.test
    assert other.valid == run.valid
    assert other.facts["data"] == run.facts["data"]
    assert not (run.folder / "log.parquet").exists()
    assert (other.folder / "log.parquet").exists()
    again = softrec.open_run(run.folder)
    assert again.evaluate() == other.test
    users = [0, 7]
    assert again.recommender().recommend(users).equals(other.recommender().recommend(users))


def test_a_large_log_stays_on_disk_by_itself(log, cached):
    with limited(in_memory=10):
        assert isinstance(load_split(DataSettings(source=str(log))), StoredSplit)
    assert not isinstance(load_split(DataSettings(source=str(log))), StoredSplit)


def test_a_run_whose_log_was_changed_is_served_from_the_cache(log, run, tmp_path, monkeypatch):
    first = run.recommender().recommend([0, 1])
    pl.read_parquet(log / "part-0.parquet")[:5].write_parquet(log / "part-0.parquet")
    assert softrec.open_run(run.folder).recommender().recommend([0, 1]).equals(first)
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "empty"))
    with refused(RunError):
        softrec.open_run(run.folder).recommender()
    shutil.rmtree(log)
    with refused(RunError):
        softrec.open_run(run.folder).recommender()


def test_a_run_whose_split_is_lost_makes_it_again(log, run, tmp_path, monkeypatch):
    first = run.recommender().recommend([0, 1])
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "empty"))
    assert softrec.open_run(run.folder).recommender().recommend([0, 1]).equals(first)


@pytest.mark.parametrize("fields", [
    {"split": "user-ratio"}, {"clean": ("pieces=3",)}, {"order": "shuffled"},
    {"false_positives": 0.1}, {"first_items": 1}, {"split": "time", "short_users": "drop"},
])  # fmt: skip
def test_what_needs_a_log_in_memory_is_refused(log, cached, fields):
    with refused(SoftrecError):
        load_split(DataSettings(source=str(log), on_disk=True, **fields))


def test_a_log_on_disk_is_parquet(tmp_path, cached):
    (tmp_path / "log.csv").write_text("user,item\n1,2\n")
    with refused(DataError):
        load_split(DataSettings(source=str(tmp_path / "log.csv"), on_disk=True))


@pytest.mark.parametrize("bad", [
    {"user": [1, None, 2], "item": [1, 2, 3]},
    {"user": [1, 1, 2], "item": [1, 2, 3], "time": ["a", "b", "c"]},
])  # fmt: skip
def test_bad_columns_are_refused(tmp_path, cached, bad):
    written(tmp_path / "log", pl.DataFrame(bad), 1)
    with refused(DataError):
        load_split(DataSettings(source=str(tmp_path / "log"), on_disk=True))


def test_ids_that_are_no_numbers_are_refused(tmp_path, cached):
    written(tmp_path / "log", pl.DataFrame({"user": [1.5, 2.5, 3.5], "item": [1, 2, 3]}), 1)
    with pytest.raises(DataError):  # it names any of them
        load_split(DataSettings(source=str(tmp_path / "log"), on_disk=True))


def test_a_run_on_disk_is_not_updated_but_started_from(log, run, tmp_path):
    more = pl.DataFrame({"user": [0, 1], "item": [3, 4], "time": [1000, 1001]})
    with refused(RunError):
        softrec.update(run.folder, more, out=tmp_path / "new", progress=False)
    more.write_parquet(log / "part-3.parquet")
    fields = {"data.on_disk": True, "training.start": str(run.folder)}
    assert softrec.fit(log, out=tmp_path / "new", **TINY, **fields).test["ndcg@10"] > 0
