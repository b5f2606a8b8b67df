"""The same log gives the same ids, times and order, whatever kind of file it is stored in."""

import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.data.interactions import Interactions
from softrec.data.reading import read_table, read_tables
from softrec.errors import DataError

NOTHING_NAMED: dict[str, str | None] = {"user": None, "item": None, "time": None, "weight": None}
WRITERS = {
    ".csv": pl.DataFrame.write_csv,
    ".tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    ".inter": lambda frame, path: frame.rename("{}:token".format).write_csv(path, separator="\t"),
    ".jsonl": pl.DataFrame.write_ndjson,
    ".parquet": pl.DataFrame.write_parquet,
    ".arrow": pl.DataFrame.write_ipc,
}
LARGE = [1234567890123456789, 1234567890123456788, 9223372036854775807, -9223372036854775808]


def written(frame: pl.DataFrame, folder, ending: str):
    path = folder / f"log{ending}"
    WRITERS[ending](frame, path)
    return path


def items(source, **options) -> list[object]:
    return read_table(source, NOTHING_NAMED, **options)["item"].to_list()


# --- ids ---


@pytest.mark.parametrize("ending", WRITERS)
def test_ids_of_19_digits_are_exact(tmp_path, ending):
    frame = pl.DataFrame({"user": [1, 2, 3, 4], "item": LARGE})
    path = written(frame, tmp_path, ending)
    raw = read_table(path, NOTHING_NAMED)
    assert raw.schema["item"] == pl.Int64
    assert raw["item"].to_list() == LARGE
    log = Interactions.read(path)
    assert log.n_items == 4  # a float would take the first two for one
    assert log.items.ids(log.frame["item"]).to_list() == LARGE
    assert items(path, text_ids=True) == [str(item) for item in LARGE]


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(
    ("ids", "kind", "expected"),
    [
        ([2**63, 1], pl.UInt64, [2**63, 1]),
        ([2**64 - 1, 2**63 - 1], pl.UInt64, [2**64 - 1, 2**63 - 1]),
        ([2**64, 1], pl.Int128, ["18446744073709551616", "1"]),
        ([2**63, -1], pl.Int128, ["9223372036854775808", "-1"]),
        ([1, 20], pl.Int8, [1, 20]),
        ([1.0, 20.0], pl.Float64, [1, 20]),
        ([1.0, 20.0], pl.Float32, [1, 20]),
        ([2.0**53, -0.0], pl.Float64, [2**53, 0]),
    ],
)
def test_whole_numbers_come_out_the_same_however_they_are_stored(
    tmp_path, ending, ids, kind, expected
):
    frame = pl.DataFrame({"user": [1, 2], "item": pl.Series(ids, dtype=kind)})
    if ending in (".csv", ".tsv", ".inter", ".jsonl") and kind.is_float():
        frame = frame.with_columns(item=pl.Series([f"{value:.1f}".lstrip("-") for value in ids]))
    assert items(written(frame, tmp_path, ending)) == expected


def test_fractions_in_json_are_whole_ids(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"user": 1, "item": 1.0}\n{"user": 2, "item": 20}\n')
    assert items(path) == [1, 20]


def test_decimals_are_whole_ids():
    ids = pl.Series(["1.00", "12345678901234567.00"]).cast(pl.Decimal(30, 2))
    assert items(pl.DataFrame({"user": [1, 2], "item": ids})) == [1, 12345678901234567]


@pytest.mark.parametrize(
    ("ids", "kind"),
    [([1.0, 2.0**53 + 2], pl.Float64), ([1.0, 1234567890123456789.0], pl.Float64),
     ([1.0, 2.0**24 + 2], pl.Float32)],
)  # fmt: skip
def test_a_fraction_that_rounds_ids_is_refused(ids, kind):
    frame = pl.DataFrame({"user": [1, 2], "item": pl.Series(ids, dtype=kind)})
    with refused(DataError):
        items(frame)


@given(st.lists(st.integers(-(2**65), 2**65), min_size=1, max_size=6))
def test_a_number_written_as_text_is_that_number(numbers):
    texts = [str(number) for number in numbers]
    frame = pl.DataFrame({"user": texts, "item": [f"{text}.0" for text in texts]})
    raw = read_table(frame, NOTHING_NAMED)
    assert [str(value) for value in raw["user"]] == [str(value) for value in raw["item"]] == texts


def test_text_that_is_no_plain_number_stays_as_it_is():
    for texts in (["007", "12"], ["1.5", "2.25"], ["1e3", "x"], ["v1.0", "2-0"], ["007", "12.0"]):
        assert items(pl.DataFrame({"user": [1, 2], "item": texts})) == texts
    assert items(pl.DataFrame({"user": [1], "item": ["1.0"]}), text_ids=True) == ["1.0"]


def test_files_whose_ids_need_other_sizes_of_numbers_share_a_vocabulary():
    tables = [
        read_table(pl.DataFrame({"user": [1], "item": [item]}), NOTHING_NAMED)
        for item in ("5", str(2**63))
    ]
    train, _ = Interactions.together(tables)
    assert train.items.raw.to_list() == [5, 2**63]


@pytest.mark.parametrize("ids", [[True, False], [datetime.time(1), datetime.time(2)]])
def test_truth_and_hours_are_no_ids(ids):
    with refused(DataError):
        items(pl.DataFrame({"user": [1, 2], "item": ids}))


# --- columns of one name ---


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize("header", ["user,item,item", "user,item,Item", "user,ITEM, item"])
def test_two_columns_of_one_name_are_refused(tmp_path, ending, header):
    sign = "\t" if ending == ".tsv" else ","
    path = tmp_path / f"log{ending}"
    path.write_text(f"{header}\n1,2,3\n".replace(",", sign))
    with refused(DataError):
        items(path)


def test_a_column_that_is_named_may_be_there_in_other_letters(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item,Item\n1,2,3\n")
    assert read_table(path, NOTHING_NAMED | {"item": "Item"})["item"].to_list() == [3]
    path.write_text("user,x,x,item\n1,2,3,4\n")  # columns that nobody asked for
    assert items(path) == [4]


# --- times ---


def timed(*times) -> pl.DataFrame:
    column = pl.Series(times)
    return pl.DataFrame({"user": [1] * len(times), "item": [2] * len(times), "time": column})


def together(*frames) -> list[list[int]]:
    return [table["time"].to_list() for table in read_tables(frames, NOTHING_NAMED)]


def test_whole_seconds_beside_fractions_are_seconds():
    fine, whole = [10_500_000, 11_000_000], [12_000_000, 13_000_000]
    assert together(timed(10.5, 11.0), timed(12, 13)) == [fine, whole]
    assert together(timed("12", "13"), timed("10.5", "11")) == [whole, fine]
    assert together(timed(1, 2), timed(3, 4)) == [[1, 2], [3, 4]]


DAY = datetime.date(2024, 5, 31)
NOON = datetime.datetime(2024, 5, 31, 12)


@pytest.mark.parametrize(
    "others",
    [
        [timed(1717113600), timed(DAY)],
        [timed("1717113600"), timed("2024-05-31")],
        [timed(1.5), timed(DAY)],
        [timed("2024-05-31 12:00"), timed("2024-05-31 12:00Z")],
        [timed(NOON), timed(NOON.replace(tzinfo=datetime.UTC))],
        [timed(DAY), timed("2024-05-31T12:00:00+02:00")],
        [timed(1717113600), timed(1717113600000)],
        [timed(1717113600.5), timed(1717113600000)],
        [timed(1717113600000), timed(1717113600000000)],
        [timed(12), timed(1717113600), timed(1717113600000)],
    ],
)
def test_files_with_times_of_different_units_are_refused(others):
    for frames in (others, others[::-1]):
        with refused(DataError):
            together(*frames)


def test_dates_of_any_format_go_together():
    assert together(timed(DAY), timed("2024-05-31"), timed(NOON), timed("2024-05-31 12:00"))


@pytest.mark.parametrize("reverse", [False, True])
def test_times_with_and_without_a_zone_are_not_mixed(reverse):
    times = ["2024-05-31 12:00", "2024-05-31 12:00Z", "2024-05-31 12:00+02:00"]
    with refused(DataError):
        together(timed(*(times[::-1] if reverse else times)))


def test_a_time_in_one_file_alone_is_refused():
    tables = read_tables([timed(1), timed(2).drop("time")], NOTHING_NAMED)
    with refused(DataError):
        Interactions.together(tables)


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_moments_at_the_ends_of_their_types_are_exact_or_refused(unit):
    top = 2**63 - 1
    frame = timed(top).with_columns(pl.col("time").cast(pl.Datetime(unit)))
    if unit == "ms":
        with refused(DataError):
            read_table(frame, NOTHING_NAMED)
    else:
        expected = top // 1000 if unit == "ns" else top
        assert read_table(frame, NOTHING_NAMED)["time"].to_list() == [expected]


def test_a_day_beyond_all_calendars_is_refused():
    days = pl.Series([2**31 - 1, 0], dtype=pl.Int32).cast(pl.Date)
    with refused(DataError):
        read_table(pl.DataFrame({"user": [1, 2], "item": [3, 4], "time": days}), NOTHING_NAMED)
    with refused(DataError):
        items(pl.DataFrame({"user": [1, 2], "item": days}))


# --- folders ---


def test_parts_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    for part in (10, 2, 1, 33):
        frame = pl.DataFrame({"user": [7], "item": [part]})
        folder = tmp_path / ("day-10" if part == 33 else "day-9")
        folder.mkdir(exist_ok=True)
        frame.write_parquet(folder / f"part-{part}.parquet")
    assert items(tmp_path) == [1, 2, 10, 33]


@pytest.mark.parametrize("ending", WRITERS)
def test_signs_of_patterns_in_a_name_are_letters(tmp_path, ending):
    frame = pl.DataFrame({"user": [7], "item": [1]})
    path = written(frame, tmp_path, ending)
    odd = path.rename(tmp_path / f"log[1]*{ending}")
    written(frame.with_columns(item=2), tmp_path, ending).rename(tmp_path / f"log1{ending}")
    assert items(odd) == [1]


# --- what a text file may be instead ---


@pytest.mark.parametrize("options", [{}, {"user": "column_1", "item": "column_2"}])
@pytest.mark.parametrize(
    ("ending", "sign"), [(".csv", ";"), (".csv", "\t"), (".tsv", ","), (".csv", "|")]
)
def test_another_separator_is_named(tmp_path, ending, sign, options):
    path = tmp_path / f"log{ending}"
    path.write_text(f"user{sign}item\n1{sign}2\n")
    with refused(DataError) as caught:
        read_table(path, NOTHING_NAMED | options, header=not options)
    assert f"separator={sign!r}" in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_named(tmp_path, encoding):
    path = tmp_path / "log.csv"
    path.write_bytes("user,item\n1,2\n".encode(encoding))
    with refused(DataError):
        items(path)


# --- everything at once ---


def test_all_that_is_wrong_with_the_values_is_told_at_once(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("user,item,time,rating\n1,,soon,x\nann,2,3,4\n")
    with pytest.raises(DataError) as caught:
        items(path)
    for text in ("'user' mixes", "'item' has no id", "'soon' in column 'time'", "'x' in column"):
        assert text in str(caught.value), text
    path.write_text("a,b\n1,2\n")
    with refused(DataError):
        items(path)
