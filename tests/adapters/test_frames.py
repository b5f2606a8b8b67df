"""Logs to the formats of other libraries and back."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import softrec
from messages import refused
from softrec.adapters import to_rectools, to_replay, write_atomic
from softrec.errors import DataError

# No control characters, and no white space alone, which is no id.
TEXT = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=5)
IDS = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8),
    st.lists(TEXT.filter(lambda text: text.strip() != ""), min_size=1, max_size=8),
    st.lists(st.sampled_from(['a"b', '"', "a\tb", "a,b", "x:token", "007", "é "]), min_size=1),
)


@st.composite
def logs(draw):
    items = draw(IDS)
    columns = {"user": [n % 3 for n in range(len(items))], "item": items}
    if draw(st.booleans()):
        start = draw(st.sampled_from([0, 10**9, 10**12, 10**15]))
        columns["time"] = [start + 7 * (n % 4) for n in range(len(items))]
    if draw(st.booleans()):
        columns["weight"] = [n / 2 for n in range(len(items))]
    return softrec.Interactions.read(pl.DataFrame(columns), text_ids=isinstance(items[0], str))


def rows(log):
    """Return the raw ids and weights of a log, and the order of its times."""
    numbers = [log.users.ids(log.frame["user"]), log.items.ids(log.frame["item"])]
    if "time" in log.frame:
        numbers.append(log.frame["time"].rank("dense"))
    weights = log.frame["weight"] if "weight" in log.frame else np.ones(len(log))
    return list(zip(*map(list, numbers), weights, strict=True))


def of_text(log):
    return log.items.raw.dtype == pl.String


@given(logs())
def test_an_atomic_file_is_read_as_it_was_written(tmp_path_factory, log):
    path = write_atomic(log, tmp_path_factory.mktemp("atomic") / "log.inter")
    again = softrec.Interactions.read(path, text_ids=of_text(log))
    if of_text(log):  # then all ids are
        again_rows = [(int(user), *rest) for user, *rest in rows(again)]
    else:
        again_rows = rows(again)
    assert [tuple(map(str, row)) for row in again_rows] == [tuple(map(str, r)) for r in rows(log)]
    if "time" in log.frame:
        assert again.frame["time"].to_list() == log.frame["time"].to_list()
    assert again.frame.columns == log.frame.columns


@pytest.mark.parametrize("turned", [to_rectools, to_replay])
@given(log=logs())
def test_a_frame_is_read_as_it_was_made(turned, log):
    again = softrec.Interactions.read(turned(log), text_ids=of_text(log))
    expected, found = rows(log), rows(again)
    if "time" not in log.frame:  # the place in the log has become the time
        places = [row[2] for row in found]
        assert places == list(range(1, len(log) + 1))
        found = [(*row[:2], *row[3:]) for row in found]
    assert [tuple(map(str, row)) for row in found] == [tuple(map(str, row)) for row in expected]


def test_frames_have_the_columns_of_the_libraries():
    log = pl.DataFrame(
        {"user": ["ann", "bob"], "item": [7, 9], "time": ["2024-05-31", "2024-06-01"]}
    )
    frame = to_rectools(log)
    assert frame.columns.tolist() == ["user_id", "item_id", "weight", "datetime"]
    assert frame["weight"].tolist() == [1.0, 1.0]
    assert [str(day) for day in frame["datetime"].dt.date] == ["2024-05-31", "2024-06-01"]
    assert to_replay(log).columns == ["query_id", "item_id", "rating", "timestamp"]
    seconds = to_rectools(log.with_columns(time=pl.Series([1_717_113_600, 1_717_200_000])))
    assert seconds["datetime"].tolist() == frame["datetime"].tolist()


def test_a_year_that_pandas_does_not_have_is_refused():
    log = pl.DataFrame({"user": [1], "item": [1], "time": ["3024-05-31"]})
    with refused(DataError):
        to_rectools(log)
    with refused(DataError):
        write_atomic(log, "log.csv")


HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def test_the_atomic_file_of_recbole_documentation_is_read(tmp_path):
    """As ml-100k.inter begins, with a column of lists that is not used."""
    path = tmp_path / "ml.inter"
    path.write_text(
        HEADER[:-1] + "\ttags:token_seq\n196\t242\t3\t881250949.0\ta b\n186\t302\t3.5\t8e8\t\n"
    )
    log = softrec.Interactions.read(path)
    assert log.users.raw.to_list() == [186, 196]
    assert log.frame["time"].to_list() == [881250949, 800000000]
    assert log.frame["weight"].to_list() == [3.0, 3.5]


@pytest.mark.parametrize(
    "header",
    [
        "user_id\titem_id",
        "user_id:token,item_id:token",
        "user_id:token\titem_id:int",
        "user_id:token\titem_id:token\titem_id:token",
        "user_id:token\t:token",
        "user_id:token\tproduct:token",
    ],
)
def test_a_wrong_header_is_refused(tmp_path, monkeypatch, header):
    monkeypatch.chdir(tmp_path)
    cells = header.count("\t") + 1
    (tmp_path / "log.inter").write_text(header + "\n" + "\t".join("1" * cells) + "\n")
    with refused(DataError):
        softrec.Interactions.read("log.inter")


def test_a_log_of_recbole_is_fitted_at_once(tmp_path):
    items = np.random.default_rng(0).integers(10, size=(20, 1)) + np.arange(6)
    log = pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": items.ravel() % 10})
    path = write_atomic(log, tmp_path / "log.inter")
    run = softrec.fit(path, out=tmp_path / "run", model="popularity", progress=False)
    other = softrec.fit(log, out=tmp_path / "other", model="popularity", progress=False)
    assert run.test == other.test
