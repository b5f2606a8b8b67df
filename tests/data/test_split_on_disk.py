"""A log on disk gives the same split as the same log in memory, to the last event."""

import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from softrec.data.aside import LeakageWarning
from softrec.data.disk.order_statistics import nth_smallest, quantiles_higher
from softrec.data.disk.split import StoredSplit
from softrec.data.sessions import FewUsersWarning
from softrec.errors import DataError, SoftrecError
from softrec.experiments.build.data import load_split
from softrec.experiments.described import describe
from softrec.limits import limited
from softrec.recipe.specs.data import DataSettings

pytest.importorskip("pyarrow", reason="a log on disk is read by Arrow")

SMALL = {"read": 7, "sorted": 6}
"""Limits by which a small log is a large one."""
CLEAN = ("drop-duplicates", "k-core=2", "min-user=3", "min-item=2", "min-weight=2")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def written(frame: pl.DataFrame, folder: Path, parts: int) -> Path:
    """Write a table in parts, whose names are in the order of numbers, and return the folder."""
    folder.mkdir(parents=True)
    size = -(-len(frame) // parts)
    for number, begin in enumerate(range(0, len(frame), size)):
        path = folder / f"part-{number}.parquet"
        frame[begin : begin + size].write_parquet(path, row_group_size=5)
    return folder


def loaded(folder: Path, **fields) -> tuple[object, object]:
    """The split in memory and that on disk, or their complaints."""
    found = []
    for on_disk in (False, True):
        spec = DataSettings(source=str(folder), on_disk=on_disk, **fields)
        try:
            with warnings.catch_warnings(), limited(**SMALL if on_disk else {}):
                warnings.simplefilter("ignore", LeakageWarning)
                warnings.simplefilter("ignore", FewUsersWarning)
                found.append(load_split(spec))
        except SoftrecError as error:
            found.append(str(error))
    return found[0], found[1]


def assert_same(held, stored) -> None:
    assert isinstance(stored, StoredSplit)
    with limited(**SMALL):
        assert describe(stored) == describe(held)
        assert stored.aside == held.aside
        assert stored.leak() == held.leak()
        for kind in ("users", "items"):
            assert getattr(stored.train, kind).raw.equals(getattr(held.train, kind).raw)
        both = [
            {**split.parts, "before": split.before("test"), "whole": split.whole()}
            for split in (held, stored)
        ]
        for name, log in both[0].items():
            other = both[1][name]
            assert_frame_equal(other.frame, log.ordered)
            assert_frame_equal(other.ordered, log.ordered)
            for what in ("user_counts", "item_counts"):
                assert getattr(other, what).tolist() == getattr(log, what).tolist()
            for what in ("offsets", "items", "times"):
                one, two = (getattr(each.sequences, what) for each in (log, other))
                assert (one is None and two is None) or one.tolist() == two.tolist()
        for part in ("valid", "test"):
            found = []
            for split in (held, stored):
                try:
                    cases = split.cases(part)
                    few = cases.new_only()
                    lists = [
                        getattr(getattr(each, rows), what).tolist()
                        for each in (cases, few)
                        for rows in ("history", "relevant")
                        for what in ("offsets", "items")
                    ]
                    found.append([cases.user.tolist(), few.user.tolist(), *lists])
                except DataError as error:
                    found.append(str(error))
            assert found[0] == found[1]


IDS = {
    "numbers": lambda n: n * 3 - 4,
    "far": lambda n: n * 10**12,
    "text": lambda n: f"u{n}",
    "digits": lambda n: str(n),
}


@st.composite
def logs(draw):
    n = draw(st.integers(1, 60))
    kinds = [draw(st.sampled_from(sorted(IDS))) for _ in range(2)]
    users = draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))
    items = draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))
    columns = {"user": [IDS[kinds[0]](u) for u in users], "item": [IDS[kinds[1]](i) for i in items]}
    if draw(st.booleans()):
        late = st.integers(10**17, 2**62)  # all in nanoseconds, if it were since 1970
        times = st.one_of(st.integers(0, 8), st.integers(-(2**62), 0), late)
        columns["time"] = draw(st.lists(times, min_size=n, max_size=n))
    if draw(st.booleans()):
        columns["rating"] = draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    return pl.DataFrame(columns), draw(st.integers(1, 4))


@settings(max_examples=80, suppress_health_check=list(HealthCheck))
@given(
    made=logs(),
    split=st.sampled_from([None, "leave-last-out", "time"]),
    clean=st.lists(st.sampled_from(CLEAN), max_size=3, unique=True),
    short=st.sampled_from([None, "keep", "drop", "error"]),
    cold=st.sampled_from([None, "keep", "drop", "error"]),
    text=st.booleans(),
)
def test_the_split_is_that_of_memory(tmp_path_factory, made, split, clean, short, cold, text):
    frame, parts = made
    folder = written(frame, tmp_path_factory.mktemp("log") / "log", parts)
    fields = {"split": split, "clean": clean, "cold_items": cold, "text_ids": text}
    if split != "time":
        fields["short_users"] = short
    held, stored = loaded(folder, **fields)
    if isinstance(held, str):
        assert stored == held
    else:
        assert_same(held, stored)


def many(n: int = 3000) -> pl.DataFrame:
    generator = np.random.default_rng(4)
    return pl.DataFrame(
        {
            "user": generator.integers(60, size=n) ** 2,
            "item": generator.zipf(1.6, size=n).clip(max=80),
            "time": generator.integers(500, size=n) * 10**9,
        }
    )


@pytest.mark.parametrize("split", ["leave-last-out", "time"])
@pytest.mark.parametrize("clean", [(), ("k-core=12",), ("drop-duplicates", "k-core=4")])
def test_a_longer_log(tmp_path, split, clean):
    folder = written(many(), tmp_path / "log", 13)
    held, stored = loaded(folder, split=split, clean=clean)
    assert_same(held, stored)


def test_dates_and_a_single_file(tmp_path):
    frame = many(400).with_columns(pl.col("time").cast(pl.Datetime("ns")))
    frame.write_parquet(tmp_path / "log.parquet")
    assert_same(*loaded(tmp_path / "log.parquet"))


@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40),
    st.floats(0.01, 0.5), st.floats(0.01, 0.49),
)  # fmt: skip
def test_order_statistics(values, valid, test):
    array, shares = np.array(values, dtype=np.int64), [1 - valid - test, 1 - test]
    with limited(sorted=3):
        assert [nth_smallest(array, n) for n in range(len(values))] == sorted(values)
        assert quantiles_higher(array, shares) == [
            int(found) for found in np.quantile(array, shares, method="higher")
        ]
