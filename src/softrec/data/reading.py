"""From a file or a table of any common kind to a raw table: user, item, perhaps time and weight.

Only these columns are read: files are scanned lazily by Polars, Parquet files by Arrow.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from softrec.data import atomic, parquet, text_files, values
from softrec.errors import DataError, one_line, shown

# The usual names of columns, which are looked for if the caller does not name a column.
ALIASES = {
    "user": ("user", "user_id", "userid", "uid", "session", "session_id", "sessionid", "visitorid",
             "query_id"),
    "item": ("item", "item_id", "itemid", "iid", "movie_id", "movieid", "product_id", "productid"),
    "time": ("time", "timestamp", "datetime", "date", "unixtime"),
    "weight": ("weight", "rating", "score", "count"),
}  # fmt: skip
REQUIRED = ("user", "item")
ROWS = 1000
"""The first rows, by which columns are chosen that are tried as whole numbers."""


def _scan_csv(source: Any, separator: str, header: bool) -> pl.LazyFrame:
    # Everything is read as text: with a type guessed from the first rows one may lose the
    # zeros of '007' or to fail in row one million.
    lazy = pl.scan_csv(source, separator=separator, has_header=header, infer_schema=False)
    if header:
        return lazy
    # Polars counts columns without names from 1 or from 0, depending on its version.
    names = lazy.collect_schema().names()
    return lazy.rename({name: f"column_{place}" for place, name in enumerate(names, start=1)})


SCANNERS: dict[str, Callable[[Any, bool], pl.LazyFrame]] = {
    ".csv": lambda source, header: _scan_csv(source, ",", header),
    ".tsv": lambda source, header: _scan_csv(source, "\t", header),
    atomic.ENDING: lambda source, header: _scan_csv(source, "\t", True),
    ".jsonl": lambda source, header: pl.scan_ndjson(source, infer_schema_length=None),
    ".ndjson": lambda source, header: pl.scan_ndjson(source, infer_schema_length=None),
    ".arrow": lambda source, header: pl.scan_ipc(source),
    ".feather": lambda source, header: pl.scan_ipc(source),
}
TEXT = {".csv", ".tsv", atomic.ENDING}
LINES = {".jsonl", ".ndjson"}
PARQUET = ".parquet"
PACKED = (".gz", ".zst", ".xz")
# The errors of reading a broken file; Polars panics at some damaged files.
BROKEN = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    OSError,
    EOFError,
    lzma.LZMAError,
    UnicodeError,
)


@dataclass(frozen=True)
class Raw:
    """The columns of a source, named by their kind, and their names in the source."""

    place: str
    frame: pl.DataFrame
    names: dict[str, str]


def read_table(
    source: Any,
    columns: dict[str, str | None],
    *,
    header: bool = True,
    text_ids: bool = False,
) -> pl.DataFrame:
    """Return the checked table user, item[, time][, weight] of a source, in its order.

    Args:
        source: a path (CSV, TSV, RecBole's .inter, JSON lines, Parquet file or folder, Arrow; text
            may be compressed with gz, zst or xz), or a Polars, pandas or Arrow table.
        columns: the name of the column for each of user, item, time, weight. None looks for the
            usual names, and leaves out time and weight if there is no such column.
        header: whether a CSV or TSV file starts with column names; if not, they are column_1, ...
        text_ids: read ids as text even if they look like numbers.

    Raises:
        DataError: if a column is missing or occurs twice, an id is null, ids mix numbers and text,
            a time or weight cannot be read, the table is empty, or the file is broken. All wrong
            values are reported at once.
    """
    return read_tables([source], columns, header=header, text_ids=text_ids)[0]


def read_tables(
    sources: Sequence[Any],
    columns: dict[str, str | None],
    *,
    header: bool = True,
    text_ids: bool = False,
) -> list[pl.DataFrame]:
    """Return the tables of several sources, parts of one log, with times in one unit.

    Raises:
        DataError: as `read_table`, and if the times of the sources have different units.
    """
    return read_parts(sources, columns, header=header, text_ids=text_ids)[0]


def read_parts(
    sources: Sequence[Any],
    columns: dict[str, str | None],
    *,
    header: bool = True,
    text_ids: bool | Collection[str] = False,
) -> tuple[list[pl.DataFrame], str | None]:
    """Return the tables as `read_tables` does, and of which kind their times are, if any.

    The kind is one of `softrec.data.values`, such as `FRACTIONS`. `text_ids` may be those of user
    and item whose ids are read as text.
    """
    raws = [_raw(source, columns, header) for source in sources]
    checked = [_checked(raw, text_ids) for raw in raws]
    tables = [table for table, _ in checked]
    timed = [place for place, (_, times) in enumerate(checked) if times is not None]
    found = [times for _, times in checked if times is not None]
    units = values.in_one_unit(found, [raws[place].place for place in timed])
    for place, moments in zip(timed, units, strict=True):
        tables[place] = tables[place].with_columns(moments).select(*raws[place].names)
    return tables, values.common_kind(found)


def _raw(source: Any, columns: dict[str, str | None], header: bool) -> Raw:
    place, files = f"the {type(source).__name__}", []
    try:
        if isinstance(source, str | Path):
            place = str(source)
            _check_there(Path(source))
            files = parquet_files(Path(source))
        if files:
            names = find_columns(parquet.column_names(files), columns, place)
            frame = parquet.read_columns(files, names)
        else:
            lazy = _scan(source, header)
            present = lazy.collect_schema().names()
            if _is_text(source):
                text_files.check_separator(lazy, present, place)
            names = find_columns(present, columns, place)
            wanted = {kind: values.column_of(name).alias(kind) for kind, name in names.items()}
            whole = _whole_columns(lazy, wanted) if _is_text(source) else ()
            frame = _collected(lazy, wanted, whole, _line_ends(source, lazy))
    except BROKEN as error:
        reason = one_line(str(error) or type(error).__name__, 150)
        raise DataError(f"{place} cannot be read: {reason}; {_remedy(source)}") from error
    if frame.is_empty():
        raise DataError(f"{place} has no rows; a log needs at least one interaction")
    return Raw(place, frame, names)


def read_frame(source: Any, what: str) -> pl.DataFrame:
    """Return all columns of a table that is no log, as they are; those of CSV and TSV are text.

    Args:
        source: a path (CSV, TSV, JSON, JSON lines, Parquet, Arrow), or a Polars, pandas or Arrow
            table.
        what: how the table is called in messages.

    Raises:
        DataError: if it is missing, broken or empty, or of another kind.
    """
    try:
        if isinstance(source, str | Path):
            path = Path(source)
            _check_there(path)
            if files := parquet_files(path):
                frame = parquet.read_columns(files, {n: n for n in parquet.column_names(files)})
            else:
                json = path.suffix.lower() == ".json"
                frame = pl.read_json(path) if json else _scan(source, True).collect()
        else:
            frame = _scan(source, True).collect()
    except BROKEN as error:
        reason = one_line(str(error) or type(error).__name__, 150)
        raise DataError(f"{what} cannot be read: {reason}; {_remedy(source)}") from error
    if frame.is_empty():
        raise DataError(f"{what} has no rows")
    return frame


def _checked(
    raw: Raw, text_ids: bool | Collection[str]
) -> tuple[pl.DataFrame, values.Times | None]:
    """Return the ids and weights of a source, and its times in the unit of that source."""
    done: dict[str, pl.Series] = {}
    times = None
    problems: list[str] = []
    for kind, name in raw.names.items():
        column = raw.frame[kind]
        try:
            if kind == "time":
                times = values.times(column, name)
            elif kind == "weight":
                done[kind] = values.weights(column, name).alias(kind)
            else:
                text = text_ids if isinstance(text_ids, bool) else kind in text_ids
                done[kind] = values.ids(column, name, text_ids=text).alias(kind)
        except DataError as error:
            problems.append(str(error))
    if len(problems) > 1:  # there is no room for how to fix each of them
        problems = [problem.partition("; ")[0] for problem in problems]
    if problems:
        raise DataError(f"{raw.place}: {'; '.join(problems)}")
    return pl.DataFrame(list(done.values())), times


def _is_text(source: Any) -> bool:
    return isinstance(source, str | Path) and TEXT & _suffixes(source) != set()


def _suffixes(path: str | Path) -> set[str]:
    return {suffix.lower() for suffix in Path(path).suffixes}


def _line_ends(source: Any, lazy: pl.LazyFrame) -> list[pl.Expr]:
    """Return expressions that make Polars read the lines of a CSV to their ends.

    Otherwise it stops after the last requested column. A line with one separator too many, such as
    a name with a comma, would then shift its ids unnoticed.
    """
    if not _is_text(source):
        return []
    return [values.column_of(lazy.collect_schema().names()[-1]).is_null().alias("line end")]


def _whole_columns(lazy: pl.LazyFrame, wanted: Mapping[str, pl.Expr]) -> list[str]:
    """Return which ids and times of a text file are whole numbers in its first rows."""
    first = lazy.select(wanted.values()).head(ROWS).collect()
    return [kind for kind in wanted if kind != "weight" and values.are_whole(first[kind]).all()]


def _collected(
    lazy: pl.LazyFrame,
    wanted: dict[str, pl.Expr],
    whole: Sequence[str],
    line_ends: Sequence[pl.Expr],
) -> pl.DataFrame:
    """Return the columns; those that seem to be whole numbers become int64 if all their rows are.

    So the texts of a long file are in memory a few at a time.
    """
    flags = [values.are_whole(wanted[kind]).alias(f"{kind} is whole") for kind in whole]
    columns = wanted | {kind: wanted[kind].cast(pl.Int64, strict=False) for kind in whole}
    read = lazy.select(*columns.values(), *flags, *line_ends).collect(engine="streaming")
    frame = read.select(*wanted)
    others = [wanted[kind] for kind in whole if not read[f"{kind} is whole"].all()]
    return frame.with_columns(lazy.select(*others, *line_ends).collect()) if others else frame


def _remedy(source: Any) -> str:
    if _is_text(source):
        return (
            "check that the file is complete and in UTF-8, that each line has as many fields as "
            "the first, and that fields that contain a separator are in quotes"
        )
    return "check that the file is complete, and of the kind that its name says"


def _scan(source: Any, header: bool) -> pl.LazyFrame:
    if isinstance(source, pl.LazyFrame):
        return source
    if isinstance(source, pl.DataFrame):
        return source.lazy()
    if isinstance(source, str | Path):
        lazy = _scan_path(Path(source), header)
        typed = atomic.ENDING in _suffixes(source)
        return atomic.without_types(lazy, str(source)) if typed else lazy
    module = type(source).__module__.partition(".")[0]
    if module == "pandas":
        return _from_pandas(source).lazy()
    if module == "pyarrow":
        return parquet.from_table(source).lazy()
    raise DataError(
        "a log must be a path or a Polars, pandas or Arrow table, got an object of type "
        f"{type(source).__name__}"
    )


def _from_pandas(frame: Any) -> pl.DataFrame:
    try:
        return pl.from_pandas(frame)
    except Exception as error:  # Arrow raises its own errors for columns of mixed Python objects
        raise DataError(
            f"the pandas frame cannot be converted ({one_line(str(error), 150)}); give each "
            "column one name and one type, for instance by frame['item'].astype(str)"
        ) from error


def _check_there(path: Path) -> None:
    if not path.exists():
        raise DataError(
            f"{path} does not exist; name a log file, a folder of Parquet files, or a "
            "data set of `softrec data list`"
        )
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes)")


def parquet_files(path: Path) -> list[Path]:
    """Return the Parquet files of a path, in the order of their numbers; else [].

    Spark, Hive and Delta Lake keep files of unfinished writes, and of their own, under names with a
    dot or an underscore in front: these are no part of a log.
    """
    if not path.is_dir():
        return [path] if path.suffix.lower() == PARQUET else []
    files = sorted(
        (
            file
            for file in path.rglob(f"*{PARQUET}")
            if file.is_file() and not any(map(_is_hidden, file.relative_to(path).parts))
        ),
        key=lambda file: _natural(file.relative_to(path)),
    )
    if not files:
        raise DataError(f"the folder {path} contains no .parquet file")
    return files


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _scan_path(path: Path, header: bool) -> pl.LazyFrame:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in PACKED else ""
    scanner = SCANNERS.get(suffixes[-1] if suffixes else "")
    if scanner is None:
        raise DataError(
            f"{path} has an unknown ending; softrec reads {', '.join([*SCANNERS, PARQUET])} (text "
            f"also compressed: {', '.join(PACKED)})"
        )
    if _is_text(path) and not packed:
        text_files.check_encoding(path)
    if packed == ".xz":
        return scanner(BytesIO(lzma.decompress(path.read_bytes())), header)
    if suffixes[-1] in LINES and not packed and text_files.has_mark(path):
        return scanner(BytesIO(path.read_bytes()[len(text_files.MARK) :]), header)
    if set("*?[") & set(str(path)):  # Polars would use the path as a pattern of file names
        return scanner(BytesIO(path.read_bytes()), header)
    return scanner(path, header)


def _natural(path: Path) -> list[str | int]:
    """Return a key by which part-2 comes before part-10.

    Example:
        >>> sorted([Path("part-10"), Path("part-2")], key=_natural)[0].name
        'part-2'
    """
    pieces = re.split("([0-9]+)", path.as_posix())
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)]


def find_columns(present: list[str], wanted: dict[str, str | None], place: str) -> dict[str, str]:
    """Return kind -> column name, for the kinds that are among the columns `present`."""
    names: dict[str, str] = {}
    problems: list[str] = []
    for kind, aliases in ALIASES.items():
        given = wanted.get(kind)
        if given is not None:
            found = [name for name in present if name == given]
        else:
            alike = ([n for n in present if n.strip().lower() == alias] for alias in aliases)
            found = next((columns for columns in alike if columns), [])
        found += [name for name in present if name in (f"{n}_duplicated_0" for n in found)]
        if len(found) > 1:
            problems.append(
                f"{len(found)} columns for the {kind}, {shown(found)}; name one with --{kind} (in "
                f"Python: {kind}=), or remove the others"
            )
        elif found:
            names[kind] = found[0]
        elif given is not None:
            problems.append(f"no column {values.named(given)} for the {kind}")
        elif kind in REQUIRED:
            problems.append(
                f"no column for the {kind}: name the column with --{kind} (in Python: {kind}=)"
            )
    if problems:
        listed = one_line(", ".join(present), 150)
        raise DataError(f"{place} has {'; '.join(problems)}; its columns are {listed}")
    return names
