"""Tables with strange columns, and bytes that somebody damaged."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
from hypothesis import strategies as st

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}
WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    ".csv": lambda frame, path: frame.write_csv(path),
    ".tsv": lambda frame, path: frame.write_csv(path, separator="\t"),
    ".inter": lambda frame, path: frame.rename("{}:token".format).write_csv(path, separator="\t"),
    ".jsonl": lambda frame, path: frame.write_ndjson(path),
    ".parquet": lambda frame, path: frame.write_parquet(path),
    ".arrow": lambda frame, path: frame.write_ipc(path),
}

SIZES = [0, 1, -1, 7, 255, 2**31, 2**53 + 1, 1234567890123456789, 2**63 - 1, -(2**63)]
FLOATS = [0.0, -0.0, 1.0, 2.5, 1e15, 2.0**53 + 2, 1e300, -1e300, 5e-324]
FLOATS += [float("nan"), float("inf"), -float("inf")]
TEXTS = ["1", "1.0", "007", "-0", "ann", "", " ", "é", "\x00", '"', ";", "1e400", "nan", "-inf",
         "2024-05-31", "2024-05-31T18:00:00Z", "2024-02-30", "9999-12-31 23:59:59", "99999-01-01",
         "0000-00-00", "12345678901234567890", "9" * 400, "x" * 3000, "a\nb",
         "2024-05-31 18:00+25:00"]  # fmt: skip

whole = st.one_of(st.sampled_from(SIZES), st.integers(-9, 9))
fractions = st.one_of(st.sampled_from(FLOATS), st.integers(-9, 9).map(float))
whole_ids = st.integers(0, 3)
texts = st.one_of(st.sampled_from(TEXTS), st.integers(-9, 9).map(str), st.text(max_size=5))
numbers_of_days = st.sampled_from([0, 19_000, -719_163, 2_932_897, 2**31 - 1, -(2**31)])

# (values, the type they are put into); what does not fit becomes null
KINDS: list[tuple[st.SearchStrategy, pl.DataType]] = [
    (whole, pl.Int64()),
    (whole, pl.UInt64()),
    (whole, pl.Int128()),
    (whole, pl.Int8()),
    (fractions, pl.Float64()),
    (fractions, pl.Float32()),
    (fractions, pl.Decimal(38, 2)),
    (texts, pl.String()),
    (texts, pl.Categorical()),
    (texts.map(str.encode), pl.Binary()),
    (st.booleans(), pl.Boolean()),
    (st.none(), pl.Null()),
    (numbers_of_days, pl.Date()),
    *((whole, pl.Datetime(unit)) for unit in ("ns", "us", "ms")),
    (whole, pl.Datetime("us", "Europe/Berlin")),
    (whole, pl.Duration("us")),
    (st.integers(0, 86_399_999_999_999), pl.Time()),
    (st.lists(st.integers(0, 9), max_size=3), pl.List(pl.Int64)),
    (st.builds(lambda number: {"a": number}, st.integers(0, 9)), pl.Struct({"a": pl.Int64})),
]
NAMES = ["user", "item", "time", "rating", "Item", "user_id", "", "x" * 4000, "a\nb", "weight"]


def _column(values: list, kind: pl.DataType) -> pl.Series:
    physical = pl.Int32() if kind == pl.Date else pl.Int64()
    if isinstance(kind, pl.Date | pl.Datetime | pl.Duration | pl.Time):
        numbers = [v if v is None or abs(v) < 2**63 else None for v in values]
        column = pl.Series(numbers, dtype=pl.Int64).cast(physical, strict=False)
        if isinstance(kind, pl.Datetime) and kind.time_zone is not None:
            return column.cast(pl.Datetime(kind.time_unit)).dt.replace_time_zone("UTC")
        return column.cast(kind)
    if kind == pl.Decimal:
        return pl.Series(values, dtype=pl.Float64).cast(kind, strict=False)
    if kind == pl.Categorical:
        return pl.Series(values, dtype=pl.String).cast(kind)
    return pl.Series(values, dtype=kind, strict=False)


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    """A table of a few rows whose columns may be of any type."""
    rows = draw(st.integers(0, 6))
    names = ["user", "item", "time", "rating"][: draw(st.integers(2, 4))]
    if draw(st.integers(0, 3)) == 0:
        names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
    sound = draw(st.sampled_from([(), ("user",), ("user", "item"), ("user", "item", "time")]))
    columns = {}
    for name in names:
        if name in sound:
            columns[name] = pl.Series(draw(st.lists(whole_ids, min_size=rows, max_size=rows)))
            continue
        values, kind = draw(st.sampled_from(KINDS))
        maybe = values if draw(st.booleans()) else st.one_of(values, st.none())
        columns[name] = _column(draw(st.lists(maybe, min_size=rows, max_size=rows)), kind)
    return pl.DataFrame(columns)


def written(frame: pl.DataFrame, path: Path, ending: str) -> bytes:
    """The bytes of `frame` in a format; nested or odd columns as text where it has no room."""
    try:
        WRITERS[ending](frame, path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError, OverflowError):
        texts = {
            name: [str(value)[:50] for value in frame[name].to_physical().to_list()]
            for name in frame.columns
        }
        WRITERS[ending](pl.DataFrame(texts, schema=dict.fromkeys(texts, pl.String)), path)
    return path.read_bytes()


@st.composite
def damaged(draw: st.DrawFn, data: bytes, most: int = 4) -> bytes:
    """`data` with some bytes cut, changed, doubled or put in."""
    for _ in range(max(0, draw(st.integers(-2, most)))):
        if not data:
            break
        place = draw(st.integers(0, len(data) - 1))
        end = min(len(data), place + draw(st.integers(1, 40)))
        change = draw(st.sampled_from(["cut", "flip", "drop", "double", "insert", "token"]))
        if change == "cut":
            data = data[:place]
        elif change == "flip":
            data = (
                data[:place] + bytes([data[place] ^ draw(st.integers(1, 255))]) + data[place + 1 :]
            )
        elif change == "drop":
            data = data[:place] + data[end:]
        elif change == "double":
            data = data[:end] + data[place:]
        elif change == "insert":
            data = data[:place] + draw(st.binary(max_size=8)) + data[place:]
        else:
            data = data[:place] + draw(texts).encode() + data[place:]
    return data
