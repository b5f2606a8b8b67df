"""Tables of items and users: what is read, and how it is matched with the ids of a log."""

import datetime

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from messages import refused
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError
from softrec.serving.catalogue import Catalogue

ITEMS = Vocabulary.of(pl.Series(["tea", "jam", "007"]))
CSV = """Item_ID,price,Title,zip,new,since,stock,empty
tea,3.5,Green tea,01234,true,2020-01-31,1,
milk,1,,12345,FALSE,2021-02-01,2,
007,,Bond,,true,,3,
"""


def test_a_csv_file_has_typed_columns(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text(CSV)
    table = Catalogue.read(path)
    day = datetime.date
    assert table.table.rows() == [
        ("tea", "Green tea", 3.5, "01234", True, day(2020, 1, 31), 1, None),
        ("milk", None, 1.0, "12345", False, day(2021, 2, 1), 2, None),
        ("007", "Bond", None, None, True, None, 3, None),
    ]
    assert table.columns == ["id", "title", "price", "zip", "new", "since", "stock", "empty"]
    assert table.aligned(ITEMS)["id"].to_list() == ["007", "jam", "tea"]
    assert table.aligned(ITEMS)["stock"].to_list() == [3, None, 1]
    assert table.lacking(ITEMS).to_list() == ["jam"]


def test_names_of_columns_are_no_patterns(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("item,^x$,^.*$,^y$\ntea,a,true,2020-01-31\njam,b,false,2021-02-01\n")
    read = Catalogue.read(path)
    assert read.columns == ["id", "^x$", "^.*$", "^y$"]
    assert read.table.row(0) == ("tea", "a", True, datetime.date(2020, 1, 31))
    assert read.aligned(ITEMS).row(1)[1] == "b"


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".arrow"])
def test_other_kinds_of_files(ending, tmp_path):
    frame = pl.DataFrame({"item": ["tea", "jam"], "title": ["Tea", "Jam"], "sizes": [[1], [2, 3]]})
    path = tmp_path / f"items{ending}"
    {".parquet": frame.write_parquet, ".jsonl": frame.write_ndjson, ".arrow": frame.write_ipc}[
        ending
    ](path)
    assert_frame_equal(Catalogue.read(path).table, frame.rename({"item": "id"}))


@pytest.mark.parametrize(
    ("ids", "log"),
    [
        (pl.Series(["1", "2", "x"]), pl.Series([2, 3])),
        (pl.Series([1, 2, 9]), pl.Series(["2", "3"])),
    ],
)
def test_ids_are_matched_as_numbers_or_text(ids, log):
    table = Catalogue.read(pl.DataFrame({"id": ids, "n": [10, 20, 30]}))
    assert table.aligned(Vocabulary(log))["n"].to_list() == [20, None]


def test_users_have_their_own_column_of_ids():
    frame = pl.DataFrame({"item": ["x"], "user_id": ["ann"], "city": ["Oslo"]})
    assert Catalogue.read(frame, of="user").table.columns == ["id", "item", "city"]


@pytest.mark.parametrize(
    "frame",
    [
        pl.DataFrame({"name": ["tea"], "price": [1]}),
        pl.DataFrame({"id": ["tea"], "ID": ["tea"]}),
        pl.DataFrame({"id": ["tea", None, "jam"]}),
        pl.DataFrame({"id": ["tea", "jam", "tea"]}),
        pl.DataFrame({"id": []}),
    ],
    ids=["no id", "two ids", "null", "twice", "empty"],
)
def test_tables_that_cannot_be_used(frame):
    with refused(DataError):
        Catalogue.read(frame)


def test_a_table_of_another_shop_is_refused():
    table = Catalogue.read(pl.DataFrame({"id": ["milk", "bread"]}))
    with refused(DataError):
        table.aligned(ITEMS)


def test_a_missing_file_is_refused(tmp_path):
    with refused(DataError):
        Catalogue.read(tmp_path / "none.csv")
