"""Parquet files: damaged pages are refused, and types come through as they were written."""

import subprocess
import sys

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal
from pyarrow import dataset
from pyarrow import parquet as arrow

from messages import refused
from softrec.data.interactions import Interactions
from softrec.data.parquet import column_names, read_columns, read_file
from softrec.data.reading import BROKEN, parquet_files, read_table
from softrec.errors import DataError

NOTHING_NAMED: dict[str, str | None] = {"user": None, "item": None, "time": None, "weight": None}
TEXTS = pa.table({"user": ["1", "2"], "item": ["3", "4"]})
PAGE = b"\x15\x04\x15\x00\x15\x06\x15\x06"  # of a page header: 2 values, plain, levels by RLE
REFUSED = """
import sys
from pathlib import Path
from softrec.data.interactions import Interactions
from softrec.errors import DataError
from softrec.serving.files import read_users

for read, path in ((Interactions.read, "log.parquet"), (Interactions.read, "."),
                   (read_users, "log.parquet")):
    try:
        read(Path(path))
        sys.exit(f"{path} was read")
    except DataError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_page_that_claims_more_rows_than_memory_holds(tmp_path):
    """Polars would allocate them, which ends the process; so another one reads it here."""
    path = tmp_path / "log.parquet"
    arrow.write_table(TEXTS, path, compression="none", use_dictionary=False, write_statistics=False)
    whole = path.read_bytes()
    assert whole.count(PAGE) == 2
    path.write_bytes(whole.replace(PAGE, PAGE.replace(b"\x04", b"\x7f")))  # -64
    done = subprocess.run(
        [sys.executable, "-c", REFUSED], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    log, folder, users = done.stdout.splitlines()
    assert log.startswith("log.parquet cannot be read: ")
    assert "the file is complete" in log
    assert folder.startswith(". cannot be read: ")
    assert users.startswith("log.parquet cannot be read: ")


def test_text_that_is_no_utf_8(tmp_path):
    """Arrow reads it, and Polars would take it for text."""
    path = tmp_path / "log.parquet"
    arrow.write_table(TEXTS, path, compression="none", use_dictionary=False, write_statistics=False)
    whole = path.read_bytes()
    assert whole.count(b"\x01\0\0\x003") == 1
    path.write_bytes(whole.replace(b"\x01\0\0\x003", b"\x01\0\0\x00\xff"))
    with refused(DataError):
        read_table(path, NOTHING_NAMED)


STRANGE = pl.DataFrame(
    {
        "text": ["é", None],
        "category": pl.Series(["b", "a"], dtype=pl.Categorical),
        "days": pl.Series([1, 20_000], dtype=pl.Date),
        "moments": pl.Series([1, -1], dtype=pl.Datetime("ns", "Europe/Berlin")),
        "exact": pl.Series(["1.25", "2"]).cast(pl.Decimal(38, 2)),
        "wide": pl.Series([2**64, -1], dtype=pl.Int128),
        "large": pl.Series([2**64 - 1, 0], dtype=pl.UInt64),
        "nothing": pl.Series([None, None], dtype=pl.Null),
        "a.b": [1, 2],
    }
)


@pytest.mark.parametrize("column", STRANGE.columns)
def test_columns_are_what_polars_wrote(tmp_path, column):
    one = STRANGE.select(column, pl.lit("x").alias("a"))
    one.write_parquet(tmp_path / "one.parquet")
    expected = one.cast({pl.Categorical: pl.String})
    assert_frame_equal(read_file(tmp_path / "one.parquet"), expected)


def test_the_named_columns_of_all_files_in_their_order(tmp_path):
    files = [tmp_path / "b.parquet", tmp_path / "a.parquet"]
    for number, file in enumerate(files):
        categories = pl.Series([f"c{number}", "c"], dtype=pl.Categorical)
        pl.DataFrame({"i": [number, 7], "c": categories, "z": [0, 0]}).write_parquet(file)
    expected = pl.DataFrame({"item": ["c0", "c", "c1", "c"], "user": [0, 7, 1, 7]})
    assert_frame_equal(read_columns(files, {"item": "c", "user": "i"}), expected)
    assert column_names(files) == ["i", "c", "z"]


@pytest.mark.parametrize("other", [{"user": [1], "thing": [2]}, {"user": ["a"], "item": [2]}])
def test_parts_of_different_columns_or_types(tmp_path, other):
    pl.DataFrame({"user": [1], "item": [2]}).write_parquet(tmp_path / "part-1.parquet")
    pl.DataFrame(other).write_parquet(tmp_path / "part-2.parquet")
    with refused(DataError):
        read_table(tmp_path, NOTHING_NAMED)


def test_two_columns_of_one_name(tmp_path):
    twice = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["user", "item", "item"])
    arrow.write_table(twice, tmp_path / "log.parquet")
    with refused(DataError):
        read_table(tmp_path / "log.parquet", NOTHING_NAMED)
    with refused(BROKEN):
        read_file(tmp_path / "log.parquet")


def test_files_of_an_unfinished_write_are_no_part_of_a_folder(tmp_path):
    """As Spark and Delta Lake name them; a partition may be named after a column with `_`."""
    rows = {"user": ["1"], "item": ["2"]}
    names = ["a", "_day=1/b", "_temporary/0/c", ".tmp/d", "_delta_log/e", "_f", ".g"]
    for name in names:
        path = tmp_path / f"log/{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows).write_parquet(path)
    assert len(read_table(tmp_path / "log", NOTHING_NAMED)) == 2
    assert [file.stem for file in parquet_files(tmp_path / "log")] == ["b", "a"]


def test_a_folder_below_a_hidden_one_is_read(tmp_path):
    folder = tmp_path / "_cache/.logs"
    folder.mkdir(parents=True)
    pl.DataFrame({"user": ["1"], "item": ["2"]}).write_parquet(folder / "a.parquet")
    assert len(read_table(folder, NOTHING_NAMED)) == 1


def test_the_order_of_columns_is_of_no_importance(tmp_path):
    pl.DataFrame({"user": [1], "item": [2]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"item": [4], "user": [3]}).write_parquet(tmp_path / "b.parquet")
    assert read_table(tmp_path, NOTHING_NAMED).rows() == [(1, 2), (3, 4)]


def test_a_column_of_two_types_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log").mkdir()
    pl.DataFrame({"user": [1], "item": [2]}).write_parquet("log/a.parquet")
    pl.DataFrame({"user": [3], "item": ["x"]}).write_parquet("log/b.parquet")
    with refused(DataError):
        read_table("log", NOTHING_NAMED)


def test_an_arrow_data_set_says_how_to_become_a_table(tmp_path):
    arrow.write_table(pa.table({"user": [1, 2], "item": [3, 4]}), tmp_path / "a.parquet")
    files = dataset.dataset(tmp_path)
    with refused(DataError):
        Interactions.read(files)
    assert len(Interactions.read(files.to_table())) == 2
