"""The table of the items, or of the users, beside the vocabulary: titles and any other columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from softrec.data.reading import ALIASES, read_frame
from softrec.data.vocabulary import UNKNOWN, Vocabulary, plainly_named
from softrec.errors import DataError, one_line, shown

TITLE = "title"


class Catalogue:
    """A table with one row per item: the column `id`, perhaps `title`, and any others.

    It may have items that the log does not have, and lack some that it has.

    Example:
        >>> table = pl.DataFrame({"id": ["tea", "milk"], "price": [3.5, 1.2]})
        >>> items = Vocabulary.of(pl.Series(["tea", "jam"]))
        >>> Catalogue(table).aligned(items).rows()
        [('jam', None), ('tea', 3.5)]
    """

    def __init__(self, table: pl.DataFrame) -> None:
        self.table = table
        self._aligned: tuple[Vocabulary, pl.DataFrame] | None = None

    @classmethod
    def read(cls, source: Any, of: str = "item", *, column: str | None = None) -> Catalogue:
        """Read a table of items or users.

        The column of the ids is `id`, `item` or `user`, or another usual name; that of the titles
        is `title`. Columns of a CSV file other than these are numbers, dates or booleans if all
        of their values are.

        Args:
            source: a path (CSV, TSV, JSON lines, Parquet, Arrow), or a Polars, pandas or Arrow
                table.
            of: what has the ids: "item" or "user".
            column: the name of the column of the ids in the log, which is looked for, too.

        Raises:
            DataError: if it cannot be read, has no column of ids, or an id is null or occurs twice.
        """
        what = str(source) if isinstance(source, str | Path) else f"the table of {of}s"
        if isinstance(source, str | Path) and not Path(source).exists():
            raise DataError(
                f"the table {what} does not exist; give a CSV, TSV, Parquet or JSON lines file "
                f"with a row for each {of}"
            )
        frame = read_frame(source, what)
        names = _names(frame.columns, ["id", *([column] if column else []), *ALIASES[of]], what)
        frame = frame.rename(names)
        ids = frame["id"]
        if ids.null_count():
            raise DataError(f"{what}: {ids.null_count():,} rows have no id; give each row its id")
        twice = ids.filter(ids.is_duplicated()).unique(maintain_order=True)
        if len(twice):
            raise DataError(
                f"{what}: ids occur more than once: {shown(twice)}; give each {of} one row"
            )
        text = isinstance(source, str | Path) and Path(source).suffix.lower() in _UNTYPED
        others = [pl.col("id"), *(pl.col(TITLE).cast(pl.String) for _ in names if TITLE in frame)]
        typed = [_typed(c) if text else c for c in frame.drop("id", TITLE, strict=False)]
        return cls(frame.select(others[:2]).with_columns(typed))

    @property
    def columns(self) -> list[str]:
        """Return the names of the columns, `id` first."""
        return self.table.columns

    def aligned(self, vocabulary: Vocabulary) -> pl.DataFrame:
        """Return the table with one row per number of the vocabulary, and null where it has none.

        The column `id` has the ids of the vocabulary. The latest result is kept.

        Raises:
            DataError: if it has no id of the vocabulary.
        """
        if self._aligned is not None and self._aligned[0] is vocabulary:
            return self._aligned[1]
        place = self._places(vocabulary)
        if len(vocabulary) and (place == UNKNOWN).all():
            raise DataError(
                f"no id of the table is in the log: the table has {shown(self.table['id'])}, the "
                f"log has {shown(vocabulary.raw)}; give the ids as they are in the log"
            )
        rows = pl.Series(place, dtype=pl.Int64).replace(UNKNOWN, None)
        aligned = self.table.drop("id").select(pl.all().gather(rows))
        found = pl.DataFrame([vocabulary.raw.alias("id"), *aligned])
        self._aligned = vocabulary, found
        return found

    def lacking(self, vocabulary: Vocabulary) -> pl.Series:
        """Return the ids of the vocabulary that the table does not have."""
        return vocabulary.raw.filter(pl.Series(self._places(vocabulary) == UNKNOWN))

    def _places(self, vocabulary: Vocabulary) -> np.ndarray:
        """Return the row of each number of the vocabulary, or `UNKNOWN`."""
        numbers = vocabulary.known(self.table["id"])
        place = np.full(len(vocabulary), UNKNOWN, dtype=np.int64)
        known = numbers != UNKNOWN
        place[numbers[known]] = np.flatnonzero(known)
        return place

    def __repr__(self) -> str:
        return f"Catalogue({len(self.table):,} rows: {', '.join(self.columns)})"


_UNTYPED = {".csv", ".tsv", ".gz", ".zst", ".xz"}
"""The endings of files whose values are text."""


def _names(columns: list[str], usual: list[str], what: str) -> dict[str, str]:
    """Return the columns to rename: that of the ids to `id`, and that of the titles to `title`."""
    plain = {name: name.strip().lower() for name in columns}
    named = ([n for n in columns if name in (n, plain[n])] for name in usual)
    ids = next((found for found in named if found), [])
    if len(ids) != 1:
        came = f"{len(ids)} columns with the ids, {shown(ids)}" if ids else "no column with the ids"
        listed = one_line(", ".join(columns), 150)
        raise DataError(f"{what} has {came}: expected one column id or {usual[1]}, found {listed}")
    titles = [name for name in columns if plain[name] == TITLE][:1]
    return {ids[0]: "id"} | dict.fromkeys(titles, TITLE)


def _typed(column: pl.Series) -> pl.Series:
    """Return a column of text as numbers, booleans or dates if all of its values are."""
    return _of_text(plainly_named(column)).alias(column.name)


def _of_text(column: pl.Series) -> pl.Series:
    if column.dtype != pl.String or column.null_count() == len(column):
        return column
    if not column.str.contains(r"^[+-]?0\d").any():  # such as a postcode
        for kind in (pl.Int64, pl.Float64):
            cast = column.cast(kind, strict=False)
            if cast.null_count() == column.null_count():
                return cast
    words = column.str.to_lowercase()
    if words.is_in(["true", "false"]).sum() == len(column) - column.null_count():
        return words == "true"
    if column.str.contains(r"^\d{4}-\d\d-\d\d$").all():
        dates = column.str.to_date(strict=False)
        if dates.null_count() == column.null_count():
            return dates
    return column
