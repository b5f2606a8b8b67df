import datetime
import gzip
import lzma

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.data.interactions import Interactions
from softrec.data.reading import read_table
from softrec.errors import DataError

FRAME = pl.DataFrame(
    {
        "user": ["ann", "bob", "ann", "cat"],
        "item": [7, 3, 12, 7],
        "time": [30, 10, 20, 40],
        "rating": [1.0, 5.0, 4.5, 2.0],
    }
)
NOTHING_NAMED = dict.fromkeys(("user", "item", "time", "weight"))


def table(source, **named):
    return read_table(source, NOTHING_NAMED | named)


def zst(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zst}


def refusal(source, **options) -> str:
    """The text of the DataError that reading `source` raises, checked to be one line."""
    with pytest.raises(DataError) as caught:
        Interactions.read(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def write(tmp_path):
    def writer(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return writer


# --- one log, every kind of source ---


def check(raw: pl.DataFrame) -> None:
    assert raw.columns == ["user", "item", "time", "weight"]
    assert raw.schema["time"] == pl.Int64
    assert raw.schema["weight"] == pl.Float32
    assert raw.rows() == FRAME.rows()


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize(("ending", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_reads_separated_text_plain_and_packed(write, ending, separator, packing):
    content = FRAME.write_csv(separator=separator).encode()
    check(table(write("log" + ending + packing, PACKERS[packing](content))))


@pytest.mark.parametrize("ending", [".jsonl", ".ndjson"])
def test_reads_json_lines(write, ending):
    check(table(write("log" + ending, FRAME.write_ndjson())))


@pytest.mark.parametrize("ending", [".arrow", ".feather"])
def test_reads_arrow_files(tmp_path, ending):
    FRAME.write_ipc(tmp_path / f"log{ending}")
    check(table(tmp_path / f"log{ending}"))


def test_reads_a_parquet_file_and_a_folder_of_them(tmp_path):
    FRAME.write_parquet(tmp_path / "log.parquet")
    check(table(str(tmp_path / "log.parquet")))
    nested = tmp_path / "parts" / "later"
    nested.mkdir(parents=True)
    FRAME[:3].write_parquet(tmp_path / "parts" / "a.parquet")
    FRAME[3:].write_parquet(nested / "b.parquet")
    check(table(tmp_path / "parts"))


@pytest.mark.parametrize(
    "turned",
    [
        lambda frame: frame,
        pl.DataFrame.lazy,
        pl.DataFrame.to_pandas,
        pl.DataFrame.to_arrow,
    ],
    ids=["polars", "lazy", "pandas", "arrow"],
)
def test_reads_frames(turned):
    check(table(turned(FRAME)))


def test_upper_case_endings_and_dots_in_the_name_are_fine(write):
    content = FRAME.write_csv().encode()
    check(table(write("log.2024.CSV", content)))
    check(table(write("log.v1.csv.GZ", gzip.compress(content))))


def test_line_ends_of_windows_and_a_byte_order_mark_are_fine(write):
    content = "\ufeff" + FRAME.write_csv().replace("\n", "\r\n")
    check(table(write("log.csv", content)))


def test_columns_are_found_by_name_whatever_their_case_and_place(write):
    path = write("log.csv", "Rating,extra,MovieId, userId,Timestamp\n4,z,12,5,99\n")
    assert table(path).row(0) == (5, 12, 99, 4.0)


def test_whole_numbers_name_columns_of_a_pandas_frame():
    rows = pd.DataFrame([["ann", 7, 30], ["bob", 3, 10]])
    named = Interactions.read(rows, user=0, item=1, time=2)
    usual = Interactions.read(rows.set_axis(["user", "item", "time"], axis=1))
    assert named.frame.equals(usual.frame)


def test_a_column_may_be_named_like_a_pattern(tmp_path):
    odd = pl.DataFrame({"^.*$": ["ann", "bob"], "item": [7, 3], "^i.*$": [None, "x"]})
    odd.write_csv(tmp_path / "odd.csv")
    for source in (odd, tmp_path / "odd.csv"):
        assert table(source, user="^.*$")["user"].to_list() == ["ann", "bob"]


def test_named_columns_win_over_the_usual_names():
    frame = FRAME.with_columns(buyer=pl.lit("x"), thing=pl.Series([1, 2, 3, 4]))
    raw = table(frame, user="buyer", item="thing", time="rating")
    assert raw["user"].unique().to_list() == ["x"]
    assert raw["item"].to_list() == [1, 2, 3, 4]
    assert "weight" in raw.columns


def test_time_and_weight_are_optional():
    assert table(FRAME.select("item", "user")).columns == ["user", "item"]


def test_a_file_without_a_header(write):
    path = write("log.tsv", "ann\t7\nbob\t3\n")
    raw = read_table(path, NOTHING_NAMED | {"user": "column_1", "item": "column_2"}, header=False)
    assert raw.rows() == [("ann", 7), ("bob", 3)]


def test_only_the_named_columns_of_a_scan_are_read():
    def explode(_):
        raise AssertionError("a column that nobody asked for was computed")

    lazy = FRAME.lazy().with_columns(
        extra=pl.col("item").map_batches(explode, return_dtype=pl.Int64)
    )
    check(table(lazy))


# --- ids ---


def test_text_of_whole_numbers_becomes_numbers_and_zeros_in_front_are_kept(write):
    raw = table(write("log.csv", "user,item\n1,007\n-20,012\n"))
    assert raw["user"].to_list() == [1, -20]
    assert raw["item"].to_list() == ["007", "012"]


LATE = 1500  # rows of numbers, more than a file's kind is guessed from


@pytest.mark.parametrize("ending", [".csv", ".csv.xz"])
@pytest.mark.parametrize(
    ("column", "last", "expected"),
    [
        ("user", "007", "007"),
        ("user", "12.0", 12),
        ("user", str(2**63), 2**63),
        ("item", "9" * 30, "9" * 30),
        ("time", "0.5", 500_000),
    ],
)
def test_a_column_of_numbers_with_another_late_value(write, ending, column, last, expected):
    rows = [f"{n},{n},{n}" for n in range(1, LATE + 1)]
    row = {"user": "5", "item": "5", "time": "5"} | {column: last}
    text = "\n".join(["user,item,time", *rows, ",".join(row.values())]) + "\n"
    path = write("log" + ending, PACKERS[ending.removeprefix(".csv")](text.encode()))
    raw = table(path)
    assert raw[column][-1] == expected
    others = {"user", "item", "time"} - {column}
    assert all(raw[other].to_list() == [*range(1, LATE + 1), 5] for other in others)
    first = {"007": "1", "9" * 30: "1", "0.5": 1_000_000}.get(last, 1)
    assert raw[column][0] == first


def test_text_ids_leave_numbers_as_text(write):
    path = write("log.csv", "user,item\n1,x\n2,3\n")
    raw = read_table(path, NOTHING_NAMED, text_ids=True)
    assert raw["user"].to_list() == ["1", "2"]
    assert raw["item"].to_list() == ["x", "3"]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (pl.Series([1.0, 2.0]), [1, 2]),
        (pl.Series([1, 2], dtype=pl.UInt8), [1, 2]),
        (pl.Series([1, 2], dtype=pl.UInt64), [1, 2]),
        (pl.Series([1, 2]).cast(pl.Decimal(10, 2)), [1, 2]),
        (pl.Series([2**64 - 1, 1], dtype=pl.UInt64), [2**64 - 1, 1]),
        (pl.Series(["b", "a"], dtype=pl.Categorical), ["b", "a"]),
        (pl.Series([datetime.date(2024, 1, 2)] * 2), [datetime.date(2024, 1, 2)] * 2),
    ],
)
def test_ids_of_many_types(ids, expected):
    raw = table(pl.DataFrame({"user": ids, "item": ids}))
    assert raw["item"].to_list() == expected
    log = Interactions.read(pl.DataFrame({"user": ids, "item": ids}))
    assert log.items.ids(log.frame["item"]).to_list() == expected


def test_pandas_categories_are_ids():
    frame = pd.DataFrame({"user": pd.Categorical(["b", "a"]), "item": [2, 1]})
    assert table(frame)["user"].to_list() == ["b", "a"]


def test_unsigned_and_signed_files_share_a_vocabulary():
    files = [
        pl.DataFrame({"user": [1], "item": pl.Series([5], dtype=t)}) for t in (pl.UInt64, pl.Int32)
    ]
    train, test = Interactions.together([table(file) for file in files])
    assert train.frame["item"].to_list() == test.frame["item"].to_list() == [0]


# --- times ---


def micros(*moments: datetime.datetime) -> list[int]:
    start = datetime.datetime(1970, 1, 1)
    return [(moment - start) // datetime.timedelta(microseconds=1) for moment in moments]


EVENING = datetime.datetime(2024, 5, 31, 18, 0, 0)
FINE = EVENING.replace(microsecond=123_000)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["3", "-1"], [3, -1]),
        ([" 3", "1e3"], [3, 1000]),
        (["3.0", "7"], [3, 7]),
        (["1514764800000000001", "1514764800000000002"], [1514764800000000001 + n for n in (0, 1)]),
        ([1514764800000000001, 5], [1514764800000000001, 5]),
        ([1.0, 7.0], [1, 7]),
        # fractions of seconds keep their order: all are counted in millionths
        (["10.25", "10.75"], [10_250_000, 10_750_000]),
        ([10.25, 10.0], [10_250_000, 10_000_000]),
        (
            ["2024-05-31", "2024-06-01"],
            micros(EVENING.replace(hour=0), datetime.datetime(2024, 6, 1)),
        ),
        (["2024-05-31 18:00:00", "2024-05-31 18:00:00.123"], micros(EVENING, FINE)),
        (["2024-05-31T18:00:00", "2024-05-31 18:00"], micros(EVENING, EVENING)),
        (["2024-05-31", "2024-05-31 18:00:00.123"], micros(EVENING.replace(hour=0), FINE)),
        (
            ["2024-05-31T18:00:00Z", "2024-05-31T18:00:00.123456789Z"],
            micros(EVENING, EVENING.replace(microsecond=123_456)),
        ),
        (["2024-05-31T20:00:00.123+02:00", "2024-05-31 13:00:00-0500"], micros(FINE, EVENING)),
        ([datetime.date(2024, 5, 31)] * 2, micros(EVENING.replace(hour=0)) * 2),
        ([EVENING, FINE], micros(EVENING, FINE)),
        (pl.Series([EVENING, FINE]).dt.cast_time_unit("ns"), micros(EVENING, FINE)),
        (
            pl.Series([EVENING, FINE])
            .dt.replace_time_zone("UTC")
            .dt.convert_time_zone("Asia/Tokyo"),
            micros(EVENING, FINE),
        ),
    ],
)
def test_times_become_whole_numbers(times, expected):
    raw = table(pl.DataFrame({"user": [1, 2], "item": [3, 4], "time": times}))
    assert raw.schema["time"] == pl.Int64
    assert raw["time"].to_list() == expected


@pytest.mark.slow
@given(
    st.lists(
        st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1)),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([" ", "T"]),
)
def test_every_date_time_that_python_writes_is_read(moments, separator):
    written = [moment.isoformat(separator) for moment in moments]
    frame = pl.DataFrame({"user": written, "item": written, "time": written})
    assert table(frame)["time"].to_list() == micros(*moments)


@pytest.mark.parametrize(
    ("times", "value", "row"),
    [
        (["1", "soon", "3"], "'soon'", 2),
        (["2024-05-31", "2024-06-01", "31/05/2024"], "'31/05/2024'", 3),
        (["2024-05-31 18:00:00", "2024-02-30 00:00:00", "x"], "'2024-02-30 00:00:00'", 2),
        (["7", "2024-05-31", "2024-06-01"], "'7'", 1),
        (["1", "nan", "2"], "'nan'", 2),
        ([1.0, float("inf"), 2.0], "inf", 2),
        ([1, None, 2], "None", 2),
        ([None, None, None], "None", 1),
        ([datetime.time(1)] * 3, "datetime.time(1, 0)", 1),
    ],
)
def test_a_value_that_is_no_time_is_named(times, value, row):
    frame = pl.DataFrame({"user": [1, 2, 3], "item": [3, 4, 5], "when": times})
    text = refusal(frame, time="when")
    assert f"{value} in column 'when', row {row}, is not a time" in text
    assert "expected a number or a date such as 2024-05-31 18:00:00" in text


# --- weights ---


def test_weights_may_be_text_numbers_or_truth(write):
    assert table(write("a.csv", "user,item,rating\n1,2,4.5\n"))["weight"].to_list() == [4.5]
    truth = pl.DataFrame({"user": [1, 2], "item": [3, 4], "score": [True, False]})
    assert table(truth)["weight"].to_list() == [1, 0]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (["1", "good"], "'good' in column 'rating', row 2, is not a finite number"),
        ([1.0, float("inf")], "inf in column 'rating', row 2, is not a finite number"),
        (["-inf", "1e300"], "'-inf' in column 'rating', row 1, is not a finite number"),
        ([1.0, 1e300], "1e+300 in column 'rating', row 2, is not a finite number"),
        ([1.0, float("nan")], "nan in column 'rating', row 2, is not a finite number"),
        ([None, 1.0], "None in column 'rating', row 1, is not a finite number"),
        ([[1], [2]], "column 'rating' has the type List(Int64)"),
        ([datetime.date(2024, 1, 1)] * 2, "column 'rating' has the type Date"),
    ],
)
def test_a_weight_that_is_no_number_is_named(weights, expected):
    text = refusal(pl.DataFrame({"user": [1, 2], "item": [3, 4], "rating": weights}))
    assert expected in text
    assert "--weight" in text


# --- bad sources: the place, what is wrong, what to do ---


def test_a_missing_path(tmp_path):
    text = refusal(tmp_path / "none.csv")
    assert f"{tmp_path / 'none.csv'} does not exist; name a log file" in text


@pytest.mark.parametrize("name", ["log.xlsx", "log", "log.gz"])
def test_an_unknown_ending(write, name):
    text = refusal(write(name, "user,item\n1,2\n"))
    assert "unknown ending; softrec reads .csv, .tsv" in text


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl", "log.parquet", "log.csv.xz"])
def test_an_empty_file(write, name):
    path = write(name, "")
    assert f"{path} is empty (0 bytes)" in refusal(path)


@pytest.mark.parametrize("packing", [".gz", ".xz", ".zst"])
def test_a_packed_empty_file(write, packing):
    path = write("log.csv" + packing, PACKERS[packing](b""))
    assert f"{path} cannot be read" in refusal(path)


def test_a_file_of_a_header_alone(write):
    path = write("log.csv", "user,item\n")
    assert f"{path} has no rows; a log needs at least one interaction" in refusal(path)


def test_a_frame_without_rows():
    assert "has no rows" in refusal(FRAME.clear())


def test_a_folder_without_parquet_files(tmp_path):
    assert "contains no .parquet file" in refusal(tmp_path)


def test_a_missing_column_is_told_with_those_there_are(write):
    path = write("log.csv", "user,thing\n1,2\n")
    text = refusal(path)
    assert f"{path} has no column for the item: name the column with --item" in text
    assert "its columns are user, thing" in text
    assert "--item" in text
    text = refusal(path, item="goods")
    assert "no column 'goods' for the item; its columns are user, thing" in text


def test_a_time_that_is_named_must_be_there():
    assert "no column 'clock' for the time" in refusal(FRAME, time="clock")


@pytest.mark.parametrize(
    "content",
    [
        "user,item,name\n1,2,tea\n3,4,jam,red\n",  # after the columns that are read
        "user,item\n1,2\n3,4,5\n",
        "user,item,name\n1,ann,b,2\n",
    ],
)
def test_a_line_with_more_fields_than_the_header(write, content):
    path = write("log.csv", content)
    text = refusal(path)
    assert f"{path} cannot be read: " in text
    assert "fields" in text
    assert "in quotes" in text


def test_a_line_with_fewer_fields_than_the_header(write):
    assert "column 'item' has no id in row 2" in refusal(write("a.csv", "user,item\n1,2\n3\n"))
    text = refusal(write("b.csv", "user,item,time\n1,2,3\n4,5\n"))
    assert "None in column 'time', row 2, is not a time" in text


def test_text_that_is_not_utf8(write):
    path = write("log.csv", "user,item\nann,café\n".encode("latin-1"))
    assert "in UTF-8" in refusal(path)


def test_a_quote_that_never_ends(write):
    assert "cannot be read" in refusal(write("log.csv", 'user,item\n1,"2\n3,4\n'))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".csv.gz", ".csv.xz", ".csv.zst"])
def test_a_truncated_file(tmp_path, ending, share):
    frame = pl.DataFrame({"user": np.arange(2000), "item": np.arange(2000) * 7 % 1999})
    path = tmp_path / f"log{ending}"
    if ending == ".parquet":
        frame.write_parquet(path)
    elif ending == ".arrow":
        frame.write_ipc(path)
    else:
        path.write_bytes(PACKERS[ending[4:]](frame.write_csv().encode()))
    whole = path.read_bytes()
    assert len(Interactions.read(path)) == 2000
    path.write_bytes(whole[: int(len(whole) * share)])
    text = refusal(path)
    assert f"{path} cannot be read: " in text
    assert "the file is complete" in text


def test_a_damaged_file_at_which_polars_panics():
    def panic(_):
        raise pl.exceptions.PanicException("a page\nis damaged")

    broken = FRAME.lazy().map_batches(panic)
    assert "cannot be read: " in refusal(broken)


def test_a_truncated_file_in_a_folder(tmp_path):
    FRAME.write_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    assert f"{tmp_path} cannot be read" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["log.parquet", "log.arrow", "log.csv.xz", "log.jsonl"])
def test_a_file_of_another_kind_than_its_name(write, name):
    path = write(name, "user,item\n1,2\n")
    text = refusal(path)
    assert f"{path} cannot be read: " in text
    assert "the file is complete" in text


@pytest.mark.parametrize(
    ("ids", "row"),
    [
        (["a", None, "b"], 2),
        (["a", "b", ""], 3),
        ([" ", "a", "b"], 1),
        ([1, None, 3], 2),
        ([1.0, float("nan"), 2.0], 2),
        ([None, None, None], 1),
    ],
)
@pytest.mark.parametrize("kind", ["user", "item"])
def test_a_row_without_an_id(kind, ids, row):
    frame = pl.DataFrame({"user": [1, 2, 3], "item": [4, 5, 6]}).with_columns(pl.Series(kind, ids))
    text = refusal(frame)
    assert f"column '{kind}' has no id in row {row}" in text
    assert "drop these rows or fill in the" in text


def test_an_empty_field_of_a_file_is_no_id(write):
    assert "column 'item' has no id in row 2" in refusal(write("a.csv", "user,item\n1,2\n3,\n"))
    assert "column 'item' has no id in row 1" in refusal(write("b.csv", 'user,item\n1,""\n3,4\n'))


def test_pandas_missing_values_are_no_ids():
    frame = pd.DataFrame({"user": [1.0, np.nan], "item": ["a", "b"]})
    assert "column 'user' has no id in row 2" in refusal(frame)
    frame = pd.DataFrame({"user": [1, 2], "item": ["a", None]})
    assert "column 'item' has no id in row 2" in refusal(frame)


def test_ids_that_mix_numbers_and_text(write):
    path = write("log.csv", "user,item\n1,12\n2,tea\n3,13\n")
    text = refusal(path)
    assert "column 'item' mixes numbers and text (row 2 has 'tea', others look like 12)" in text
    assert "--text-ids" in text
    assert Interactions.read(path, text_ids=True).n_items == 3


def test_a_pandas_column_of_mixed_objects():
    text = refusal(pd.DataFrame({"user": [1, "a"], "item": [1, 2]}))
    assert "pandas frame cannot be converted" in text
    assert "astype(str)" in text


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([1.0, 2.5], "column 'item' has 2.5 in row 2, which cannot be an id"),
        ([1.0, float("inf")], "column 'item' has inf in row 2, which cannot be an id"),
        ([[1], [2]], "column 'item' has the type List(Int64), but an id is a number"),
        ([b"a", b"b"], "column 'item' has the type Binary, but an id is a number"),
        (pl.Series([1, "a"], dtype=pl.Object), "column 'item' has the type Object"),
    ],
)
def test_what_is_no_id(ids, expected):
    assert expected in refusal(pl.DataFrame({"user": [1, 2], "item": ids}))


def test_what_is_no_log():
    assert "a log must be a path or a Polars, pandas or Arrow table" in refusal([1, 2])


def test_files_with_ids_of_different_types():
    tables = [table(pl.DataFrame({"user": [1], "item": item})) for item in ([1], ["a"])]
    with refused(DataError):
        Interactions.together(tables)
