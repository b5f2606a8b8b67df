"""From a file or a frame of any common kind to one raw table: user, item, and maybe time, weight.

Files are scanned lazily through Polars: only the named columns are ever read.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from softrec.errors import DataError, shown

# A column is looked for under these names when the caller does not name it.
ALIASES = {
    "user": ("user", "user_id", "userid", "uid", "session", "session_id", "sessionid", "visitorid"),
    "item": ("item", "item_id", "itemid", "iid", "movie_id", "movieid", "product_id", "productid"),
    "time": ("time", "timestamp", "datetime", "date", "unixtime"),
    "weight": ("weight", "rating", "score", "count"),
}
REQUIRED = ("user", "item")
# Tried in turn on what is left; day and month in another order than ISO's are never guessed.
DATES = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d",
)


def _scan_csv(source: Any, separator: str, header: bool) -> pl.LazyFrame:
    # Everything is read as text: a type guessed from the first rows is the usual way to lose the
    # zeros of '007' or to fail in row one million.
    lazy = pl.scan_csv(source, separator=separator, has_header=header, infer_schema=False)
    if header:
        return lazy
    # Polars counts nameless columns from 1 or from 0, by its version.
    names = lazy.collect_schema().names()
    return lazy.rename({name: f"column_{place}" for place, name in enumerate(names, start=1)})


SCANNERS: dict[str, Callable[[Any, bool], pl.LazyFrame]] = {
    ".csv": lambda source, header: _scan_csv(source, ",", header),
    ".tsv": lambda source, header: _scan_csv(source, "\t", header),
    ".jsonl": lambda source, header: pl.scan_ndjson(source, infer_schema_length=None),
    ".ndjson": lambda source, header: pl.scan_ndjson(source, infer_schema_length=None),
    ".parquet": lambda source, header: pl.scan_parquet(source),
    ".arrow": lambda source, header: pl.scan_ipc(source),
    ".feather": lambda source, header: pl.scan_ipc(source),
}
PACKED = (".gz", ".zst", ".xz")
# What reading a broken file raises; Polars panics at some damaged Parquet pages.
BROKEN = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    EOFError,
    lzma.LZMAError,
    UnicodeError,
)


def read_table(
    source: Any,
    columns: dict[str, str | None],
    *,
    header: bool = True,
    text_ids: bool = False,
) -> pl.DataFrame:
    """Return the table user, item[, time][, weight] of `source`, checked, in the order of `source`.

    Args:
        source: a path (CSV, TSV, JSON lines, Parquet file or folder, Arrow; CSV and TSV may be
            packed with gz, zst or xz), or a Polars, pandas or Arrow table.
        columns: the name of the column for each of user, item, time, weight; None looks for the
            usual names, and leaves time and weight out where there is none.
        header: whether a CSV or TSV file starts with the names; without, they are column_1, ...
        text_ids: read ids as text even where they look like numbers.

    Raises:
        DataError: if a column is missing, an id is null, ids mix numbers and text, a time cannot
            be read, the table is empty, or the file is broken.
    """
    place = str(source) if isinstance(source, str | Path) else f"the {type(source).__name__}"
    try:
        lazy = _scan(source, header)
        names = _find_columns(lazy.collect_schema().names(), columns, place)
        wanted = [pl.col(name).alias(kind) for kind, name in names.items()]
        raw = lazy.select(*wanted, *_line_ends(source, lazy)).collect().select(*names)
    except BROKEN as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{place} cannot be read: {reason}; {_remedy(source)}") from error
    if raw.is_empty():
        raise DataError(f"{place} has no rows; a log needs at least one interaction")
    for kind in REQUIRED:
        raw = raw.with_columns(_checked_ids(raw[kind], names[kind], place, text_ids))
    if "time" in names:
        raw = raw.with_columns(_parsed_times(raw["time"], names["time"], place))
    if "weight" in names:
        raw = raw.with_columns(_parsed_weights(raw["weight"], names["weight"], place))
    return raw


def _is_text(source: Any) -> bool:
    return isinstance(source, str | Path) and {".csv", ".tsv"} & _suffixes(source) != set()


def _suffixes(path: str | Path) -> set[str]:
    return {suffix.lower() for suffix in Path(path).suffixes}


def _line_ends(source: Any, lazy: pl.LazyFrame) -> list[pl.Expr]:
    """Return what makes Polars read the lines of a CSV to their ends.

    It stops after the last column asked for, and a line with one separator too many (a name with
    a comma in it, say) would shift its ids unnoticed.
    """
    if not _is_text(source):
        return []
    return [pl.col(lazy.collect_schema().names()[-1]).is_null().alias("line end")]


def _remedy(source: Any) -> str:
    if _is_text(source):
        return (
            "is the file whole and in UTF-8, has each line as many fields as the first, and "
            "are fields with a separator in them in quotes?"
        )
    return "is the file whole, and of the kind its name says?"


def _scan(source: Any, header: bool) -> pl.LazyFrame:
    if isinstance(source, pl.LazyFrame):
        return source
    if isinstance(source, pl.DataFrame):
        return source.lazy()
    if isinstance(source, str | Path):
        return _scan_path(Path(source), header)
    module = type(source).__module__.partition(".")[0]
    if module == "pandas":
        return _from_pandas(source).lazy()
    if module == "pyarrow":
        return pl.DataFrame(source).lazy()
    raise DataError(
        f"a log is a path or a Polars, pandas or Arrow table, not of type {type(source).__name__}"
    )


def _from_pandas(frame: Any) -> pl.DataFrame:
    try:
        return pl.from_pandas(frame)
    except Exception as error:  # Arrow raises its own kinds for columns of mixed Python objects
        raise DataError(
            f"the pandas frame cannot be taken over ({str(error).splitlines()[0]}); give each "
            "column one name and one type, for instance by frame['item'].astype(str)"
        ) from error


def _scan_path(path: Path, header: bool) -> pl.LazyFrame:
    if not path.exists():
        raise DataError(
            f"{path} does not exist; name a log file, a folder of Parquet files, or a "
            "data set of `softrec data list`"
        )
    if path.is_dir():
        if not any(path.rglob("*.parquet")):
            raise DataError(f"the folder {path} holds no .parquet file")
        return pl.scan_parquet(path / "**" / "*.parquet")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    scanner = SCANNERS.get(suffixes[-1] if suffixes else "")
    if scanner is None:
        raise DataError(
            f"{path} has an unknown ending; softrec reads {', '.join(SCANNERS)} "
            f"(CSV and TSV also packed: {', '.join(PACKED)})"
        )
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)")
    if packed == ".xz":
        return scanner(BytesIO(lzma.decompress(path.read_bytes())), header)
    return scanner(path, header)


def _find_columns(present: list[str], wanted: dict[str, str | None], place: str) -> dict[str, str]:
    """Return kind -> column name, for the kinds that `present` has."""
    lower = {name.strip().lower(): name for name in reversed(present)}
    names: dict[str, str] = {}
    for kind, aliases in ALIASES.items():
        given = wanted.get(kind)
        if given is not None and given not in present:
            raise DataError(
                f"{place} has no column {given!r} for the {kind}; "
                f"its columns are {', '.join(present)}; name one of these"
            )
        name = given or next((lower[alias] for alias in aliases if alias in lower), None)
        if name is not None:
            names[kind] = name
        elif kind in REQUIRED:
            raise DataError(
                f"{place} has no column for the {kind}; its columns are "
                f"{', '.join(present)}; name one with --{kind} (in Python: {kind}=)"
            )
    return names


def _checked_ids(column: pl.Series, name: str, place: str, text_ids: bool) -> pl.Series:
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Binary):
        raise DataError(
            f"{place}: column {name!r} is of type {column.dtype}; an id is a number, "
            "a text or a date"
        )
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    missing = _missing(column)
    if bool(missing.any()):
        raise DataError(
            f"{place}: column {name!r} has no id in row {_first(missing):,} "
            f"(rows without one: {int(missing.sum()):,}); drop or fill them"
        )
    if column.dtype.is_float() or column.dtype.is_decimal():
        column = _whole_ids(column, name, place)
    if text_ids:
        return column.cast(pl.String)
    if column.dtype.is_integer():
        small = column.cast(pl.Int64, strict=False)
        return column if small.null_count() else small
    return _numbers_if_all_are(column, name, place) if column.dtype == pl.String else column


def _missing(column: pl.Series) -> pl.Series:
    """Return where there is no id: null, no number, or a text of nothing but spaces."""
    if column.dtype == pl.String:
        return column.is_null() | (column.str.strip_chars() == "").fill_null(False)
    if column.dtype.is_float():
        return column.is_null() | column.is_nan().fill_null(False)
    return column.is_null()


def _first(found: pl.Series) -> int:
    """Return the first row that is true, counted from 1 and without the header."""
    return int(found.arg_max() or 0) + 1


def _whole_ids(column: pl.Series, name: str, place: str) -> pl.Series:
    """Turn whole numbers that are stored as fractions, as pandas does, to integers."""
    whole = column.cast(pl.Int64, strict=False)
    broken = (whole.cast(column.dtype, strict=False) == column).fill_null(False).not_()
    if bool(broken.any()):
        row = _first(broken)
        raise DataError(
            f"{place}: column {name!r} holds {column[row - 1]!r} in row {row:,}, which "
            "is no id; an id is a whole number, a text or a date"
        )
    return whole


def _numbers_if_all_are(column: pl.Series, name: str, place: str) -> pl.Series:
    """Turn a text column of plain integers to numbers; refuse one that mixes both."""
    plain = column.str.contains(r"^(0|-?[1-9][0-9]{0,17})$")
    if bool(plain.all()):
        return column.cast(pl.Int64)
    digits = column.str.contains(r"^-?[0-9]+$")
    if not bool(plain.any()) or bool(digits.all()):  # all text, or numbers kept as text ('007')
        return column
    row = _first(~digits)
    raise DataError(
        f"{place}: column {name!r} mixes numbers and text (row {row:,} has "
        f"{column[row - 1]!r}, others look like {column.filter(plain)[0]}); if both are meant, "
        "read all ids as text with --text-ids (in Python: text_ids=True)"
    )


def _parsed_times(column: pl.Series, name: str, place: str) -> pl.Series:
    """Return times as int64: whole numbers as they are, anything finer as microseconds."""
    if column.dtype.is_nested() or column.dtype == pl.Object:
        raise DataError(
            f"{place}: column {name!r} is of type {column.dtype}; a time is a number "
            "or a date: name another column with --time (in Python: time=)"
        )
    times = _times(column)
    missing = times.is_null()
    if bool(missing.any()):
        row = _first(missing)
        raise DataError(
            f"{place}: {column[row - 1]!r} of column {name!r} in row {row:,} is no time (rows "
            f"without one: {int(missing.sum()):,}); expected a number or a date such as "
            "2024-05-31 18:00:00"
        )
    return times.alias("time")


def _times(column: pl.Series) -> pl.Series:
    """Return int64, null where a value is no time."""
    if column.dtype.is_numeric():
        return _numeric_times(column)
    if column.dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.Datetime("us")).cast(pl.Int64)
    if column.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return pl.Series([None], dtype=pl.Int64).new_from_index(0, len(column))
    text = column.cast(pl.String).str.strip_chars()
    numbers = _numeric_times(text)
    if not numbers.null_count():
        return numbers
    dates = _dates(text).cast(pl.Int64)
    return dates if dates.null_count() < numbers.null_count() else numbers


def _numeric_times(column: pl.Series) -> pl.Series:
    """Return whole numbers as they are; with a fraction anywhere, all as millionths (of seconds).

    Integers are never led through float64, which cannot hold nanoseconds since 1970.
    """
    if not column.dtype.is_float():
        whole = column.cast(pl.Int64, strict=False)
        if not whole.null_count() and not column.dtype.is_decimal():
            return whole
    numbers = column.cast(pl.Float64, strict=False)
    if bool((numbers == numbers.round()).all()):
        return numbers.cast(pl.Int64, strict=False)
    return (numbers * 1e6).round().cast(pl.Int64, strict=False)


def _dates(text: pl.Series) -> pl.Series:
    """Return ISO dates and date-times as naive UTC, null where a text is neither."""
    iso = text.str.replace(" ", "T", literal=True)
    found = pl.Series([None], dtype=pl.Datetime("us")).new_from_index(0, len(text))
    for pattern in DATES:
        moments = iso.str.to_datetime(pattern, strict=False, time_unit="us")
        found = found.zip_with(found.is_not_null(), moments.dt.replace_time_zone(None))
        if not found.null_count():
            break
    return found


def _parsed_weights(column: pl.Series, name: str, place: str) -> pl.Series:
    """Return weights as float32."""
    if column.dtype.is_nested() or column.dtype.is_temporal() or column.dtype == pl.Object:
        raise DataError(
            f"{place}: column {name!r} is of type {column.dtype}; a weight is a "
            "number: name another column with --weight (in Python: weight=)"
        )
    weights = column.cast(pl.Float32, strict=False)
    missing = weights.is_null() | weights.is_nan().fill_null(False)
    if bool(missing.any()):
        row = _first(missing)
        raise DataError(
            f"{place}: value {column[row - 1]!r} of column {name!r} in row {row:,} is "
            f"no number (rows without one: {int(missing.sum()):,}); drop or fill them, "
            "or name another column with --weight (in Python: weight=)"
        )
    return weights.alias("weight")


def mixed_with(columns: list[pl.Series], kind: str) -> pl.Series:
    """Return the ids of several files as one column.

    Raises:
        DataError: if one file has numbers and another has text.
    """
    types = {column.dtype for column in columns}
    if len(types) > 1:
        raise DataError(
            f"the {kind} ids of the given files are of different types "
            f"({shown(sorted(map(str, types)))}); read all as text with --text-ids"
        )
    return pl.concat(columns)
