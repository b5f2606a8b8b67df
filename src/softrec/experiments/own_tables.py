"""Your own tables of users and items; the test cases are sliced by their columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from softrec.data.reading import ALIASES, BROKEN
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError, one_line


def own_table(source: Any, kind: str, ids: Vocabulary, column: str | None) -> pl.DataFrame:
    """Return a table with the ids in its first column.

    Args:
        source: the path of a .csv, .tsv or .parquet file, or a Polars frame.
        kind: "user" or "item".
        ids: of the log; if they are text, the ids of a file are read as text.
        column: the name of the column of the ids in the log, if it was given. The ids are in the
            column of this name, else in one with a usual name such as user_id, else in the first.

    Raises:
        DataError: if it cannot be read.
    """
    table = source if isinstance(source, pl.DataFrame) else _read(source, kind, ids, column)
    own = _id_column(table, kind, column)
    # No selection by name, because Polars takes one such as ^x$ for a pattern of names.
    return pl.DataFrame(sorted(table.get_columns(), key=lambda column: column.name not in own))


def _id_column(table: pl.DataFrame, kind: str, column: str | None) -> list[str]:
    usual = [column] if column else ALIASES[kind]
    names = [name for name in table.columns if name in usual or name.lower() in usual]
    return (names or table.columns)[:1]


def _read(source: Any, kind: str, ids: Vocabulary, column: str | None) -> pl.DataFrame:
    if not isinstance(source, str | Path):
        raise DataError(
            f"a table of {kind}s is a Polars frame or the path of a .csv, .tsv or .parquet file, "
            f"but got {type(source).__name__}; convert it with polars.DataFrame"
        )
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".tsv", ".parquet"):
        raise DataError(
            f"a table of {kind}s is a .csv, .tsv or .parquet file, but got {path}; convert it"
        )
    if not path.exists():
        raise DataError(f"the table of {kind}s {path} does not exist; give a path to one that does")
    try:
        if suffix == ".parquet":
            return pl.read_parquet(path)
        separator = "\t" if suffix == ".tsv" else ","
        text = pl.read_csv(path, separator=separator, infer_schema=False)
        typed = pl.read_csv(
            path, separator=separator, infer_schema_length=None, try_parse_dates=True
        )
    except BROKEN as error:
        raise DataError(
            f"the table of {kind}s {path} cannot be read ({one_line(str(error), 100)}); give a "
            "table with a header and one row each"
        ) from error
    # A guessed type would lose the zeros of '007'.
    own = _id_column(text, kind, column) if ids.raw.dtype == pl.String else []
    return typed.with_columns(text[name] for name in own)
