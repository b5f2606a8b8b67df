"""Text files as programs write them: marks, other separators, other kinds, other units of time."""

import gzip
import zipfile
from datetime import datetime

import polars as pl
import pytest

from messages import refused
from softrec.data.interactions import Interactions
from softrec.errors import DataError

LOG = pl.DataFrame({"user": ["ann", "ann"], "item": ["tea", "jam"]})


def histories(source, **how) -> dict:
    log = Interactions.read(source, **how)
    names = log.users.raw.to_list()
    return {n: log.items.ids(log.sequences[row]).to_list() for row, n in enumerate(names)}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log.csv", "user,item\r\nann,tea\r\nann,jam\r\n"),
        ("log.jsonl", '{"user": "ann", "item": "tea"}\r\n{"user": "ann", "item": "jam"}\r\n'),
    ],
)
def test_a_mark_of_utf_8_is_no_part_of_the_text(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert histories(path) == {"ann": ["tea", "jam"]}


def test_semicolons_are_told_where_numbers_have_commas(tmp_path):
    """As a table program writes CSV in many languages; each row has more commas than the header."""
    path = tmp_path / "log.csv"
    path.write_text("user;item;time\n1;2;3,5\n1;3;4,5\n")
    with refused(DataError):
        Interactions.read(path)


@pytest.mark.parametrize("kind", ["gzip", "zip", "parquet", "arrow"])
def test_a_file_of_another_kind_is_named(tmp_path, kind):
    path = tmp_path / "log.csv"
    if kind == "gzip":
        path.write_bytes(gzip.compress(b"user,item\nann,tea\n"))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("log.csv", "user,item\nann,tea\n")
    elif kind == "parquet":
        LOG.write_parquet(path)
    else:
        LOG.write_ipc(path)
    with refused(DataError):
        Interactions.read(path)


def test_utc_is_a_zone(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "user,item,time\nann,tea,2024-03-31 01:30:00 UTC\nann,jam,2024-03-31T02:00:00+01:00\n"
    )
    log = Interactions.read(path)
    moment = datetime(2024, 3, 31, 1, 30)
    assert log.frame["time"][0] == (moment - datetime(1970, 1, 1)).total_seconds() * 10**6
    assert histories(path) == {"ann": ["jam", "tea"]}


@pytest.mark.parametrize(
    "times",
    [["1727587344000", "1727587345"], ["0", "1727587345.5", "1727587344000"]],
    ids=["whole", "fractions"],
)
def test_two_units_in_one_column_are_refused(times):
    """They would put an event of today after one of tomorrow."""
    frame = pl.DataFrame({"user": [1] * len(times), "item": range(len(times)), "time": times})
    with refused(DataError):
        Interactions.read(frame)


@pytest.mark.parametrize(
    "times",
    [[0, 1727587344000], [-(10**13), 0, 5, 1727587344], [10**8, 10**11 - 1], [20240301, 7 * 10**7]],
)
def test_one_unit_is_none_the_worse_for_small_numbers(times):
    frame = pl.DataFrame({"user": [1] * len(times), "item": range(len(times)), "time": times})
    assert Interactions.read(frame).frame["time"].to_list() == times
