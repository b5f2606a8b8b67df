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


def _scan_csv(source: Any, separator: str, header: bool) -> pl.LazyFrame:
    # Everything is read as text: a type guessed from the first rows is the usual way to lose the
    # zeros of '007' or to fail in row one million.
    return pl.scan_csv(source, separator=separator, has_header=header, infer_schema=False)


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
        raw = lazy.select(pl.col(name).alias(kind) for kind, name in names.items()).collect()
    except (pl.exceptions.PolarsError, OSError, EOFError, lzma.LZMAError, UnicodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if _is_missing(source):
            raise DataError(f"{place} does not exist") from error
        raise DataError(
            f"{place} cannot be read: {reason}; is the file whole, and of the kind its name says?"
        ) from error
    if raw.is_empty():
        raise DataError(f"{place} has no rows; a log needs at least one interaction")
    for kind in REQUIRED:
        raw = raw.with_columns(_checked_ids(raw[kind], names[kind], place, text_ids))
    if "time" in names:
        raw = raw.with_columns(_parsed_times(raw["time"], names["time"], place))
    if "weight" in names:
        raw = raw.with_columns(_parsed_weights(raw["weight"], names["weight"], place))
    return raw


def _is_missing(source: Any) -> bool:
    return isinstance(source, str | Path) and not Path(source).exists()


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
        f"a log is a path or a Polars, pandas or Arrow table, not a {type(source).__name__}"
    )


def _from_pandas(frame: Any) -> pl.DataFrame:
    try:
        return pl.from_pandas(frame)
    except Exception as error:  # Arrow raises its own kinds for columns of mixed Python objects
        raise DataError(
            f"the pandas frame has a column of mixed types ({str(error).splitlines()[0]}); "
            "turn ids to one type first, for instance frame['item'].astype(str)"
        ) from error


def _scan_path(path: Path, header: bool) -> pl.LazyFrame:
    if not path.exists():
        raise DataError(f"{path} does not exist; name a log file, a folder of Parquet files, or a "
                        "data set of `softrec data list`")
    if path.is_dir():
        if not any(path.rglob("*.parquet")):
            raise DataError(f"the folder {path} holds no .parquet file")
        return pl.scan_parquet(path / "**" / "*.parquet")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    scanner = SCANNERS.get(suffixes[-1] if suffixes else "")
    if scanner is None:
        raise DataError(f"{path} has an unknown ending; softrec reads {', '.join(SCANNERS)} "
                        f"(CSV and TSV also packed: {', '.join(PACKED)})")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)")
    if packed == ".xz":
        return scanner(BytesIO(lzma.decompress(path.read_bytes())), header)
    return scanner(path, header)


def _find_columns(
    present: list[str], wanted: dict[str, str | None], place: str
) -> dict[str, str]:
    """Return kind -> column name, for the kinds that `present` has."""
    lower = {name.lower(): name for name in reversed(present)}
    names: dict[str, str] = {}
    for kind, aliases in ALIASES.items():
        given = wanted.get(kind)
        if given is not None and given not in present:
            raise DataError(f"{place} has no column {given!r} for the {kind}; "
                            f"its columns are {', '.join(present)}")
        name = given or next((lower[alias] for alias in aliases if alias in lower), None)
        if name is not None:
            names[kind] = name
        elif kind in REQUIRED:
            raise DataError(f"{place} has no column for the {kind}; its columns are "
                            f"{', '.join(present)}; name one with --{kind} (in Python: {kind}=)")
    return names


def _checked_ids(column: pl.Series, name: str, place: str, text_ids: bool) -> pl.Series:
    if column.null_count():
        row = int(column.is_null().arg_max() or 0)
        raise DataError(f"{place}: {column.null_count():,} rows have no id in column {name!r}, "
                        f"the first is row {row + 1:,}; drop or fill them")
    if column.dtype.is_float():
        whole = column.cast(pl.Int64, strict=False)
        if not bool((whole.cast(column.dtype) == column).all()):
            raise DataError(f"{place}: column {name!r} holds fractions, which are no ids")
        column = whole
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    if column.dtype.is_nested() or column.dtype in (pl.Object, pl.Null, pl.Binary):
        raise DataError(f"{place}: column {name!r} is of type {column.dtype}; an id is a number, "
                        "a text or a date")
    if text_ids:
        return column.cast(pl.String)
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=True) if column.dtype != pl.UInt64 else column
    return _numbers_if_all_are(column, name, place) if column.dtype == pl.String else column


def _numbers_if_all_are(column: pl.Series, name: str, place: str) -> pl.Series:
    """Turn a text column of plain integers to numbers; refuse one that mixes both."""
    plain = column.str.contains(r"^(0|-?[1-9][0-9]{0,17})$")
    if bool(plain.all()):
        return column.cast(pl.Int64)
    digits = column.str.contains(r"^-?[0-9]+$")
    if not bool(plain.any()) or bool(digits.all()):  # all text, or numbers kept as text ('007')
        return column
    row = int((~digits).arg_max() or 0)
    raise DataError(
        f"{place}: column {name!r} mixes numbers and text (row {row + 1:,} has "
        f"{column[row]!r}, others look like {column.filter(plain)[0]}); if both are meant, read "
        "all ids as text with --text-ids (in Python: text_ids=True)"
    )


def _parsed_times(column: pl.Series, name: str, place: str) -> pl.Series:
    """Return times as int64: numbers as they are, dates as microseconds since 1970."""
    if column.dtype.is_numeric():
        times = column.cast(pl.Int64, strict=False)
    elif column.dtype.is_temporal():
        times = column.cast(pl.Datetime("us")).cast(pl.Int64)
    else:
        text = column.cast(pl.String, strict=False)
        times = text.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
        if times.null_count() == len(times):
            parsed = _dates(text)
            times = parsed.cast(pl.Int64)
    if times.null_count():
        row = int(times.is_null().arg_max() or 0)
        raise DataError(
            f"{place}: {times.null_count():,} values of column {name!r} are no time, the first "
            f"is {column[row]!r} in row {row + 1:,}; expected a number or a date such as "
            "2024-05-31 18:00:00"
        )
    return times.alias("time")


def _dates(text: pl.Series) -> pl.Series:
    """Parse ISO dates, with or without a time of day."""
    days = text.str.to_date(strict=False).cast(pl.Datetime("us"))
    if days.null_count() == 0:
        return days
    for pattern in ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"):
        moments = text.str.to_datetime(pattern, strict=False, time_unit="us")
        if moments.null_count() < len(moments):
            return moments.dt.replace_time_zone(None)
    return days


def _parsed_weights(column: pl.Series, name: str, place: str) -> pl.Series:
    weights = column.cast(pl.Float32, strict=False)
    if weights.null_count():
        row = int(weights.is_null().arg_max() or 0)
        raise DataError(f"{place}: value {column[row]!r} of column {name!r} in row {row + 1:,} is "
                        f"no number; {weights.null_count():,} rows are like it")
    return weights.alias("weight")


def mixed_with(columns: list[pl.Series], kind: str) -> pl.Series:
    """Return the ids of several files as one column.

    Raises:
        DataError: if one file has numbers and another has text.
    """
    types = {column.dtype for column in columns}
    if len(types) > 1:
        raise DataError(f"the {kind} ids of the given files are of different types "
                        f"({shown(sorted(map(str, types)))}); read all as text with --text-ids")
    return pl.concat(columns)
