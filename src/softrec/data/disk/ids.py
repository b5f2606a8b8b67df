"""The ids of a log that is read twice: first all are counted, then each becomes a number."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from softrec.data import values
from softrec.data.disk.parts import Parts
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError

KINDS = ("user", "item")
ROOM = 4
"""Numbers of a range per id, up to which the ids are looked up in a table of the whole range."""


class Numbering:
    """From ids as they are in the files to numbers.

    Args:
        raw: the distinct ids, as they are in the files.
        numbers: their numbers, uint32.
    """

    def __init__(self, raw: pl.Series, numbers: np.ndarray) -> None:
        self._table = pl.DataFrame({"raw": raw, "number": numbers})
        self._least, self._places = 0, None
        least, most = raw.min(), raw.max()
        if isinstance(least, int) and isinstance(most, int) and most - least < ROOM * len(raw):
            self._least = least
            self._places = np.zeros(most - least + 1, dtype=np.uint32)
            self._places[(raw - least).to_numpy()] = numbers

    def of(self, column: pl.Series) -> np.ndarray:
        """Return the numbers of ids that were all counted, uint32."""
        if self._places is not None:
            return self._places[(column - self._least).to_numpy()]
        found = pl.DataFrame({"raw": column}).join(
            self._table, on="raw", how="left", maintain_order="left"
        )
        return found["number"].to_numpy()


class Known(NamedTuple):
    """The ids of users or of items."""

    vocabulary: Vocabulary
    numbering: Numbering
    counts: np.ndarray  # (len,) int64 events of each


def known_ids(parts: Parts, *, text_ids: bool) -> dict[str, Known]:
    """Return the users and the items of a log; only distinct ids are held in memory.

    Raises:
        DataError: if an id is missing or cannot be an id, or if numbers and text are mixed.
    """
    counted = {kind: _Counted() for kind in KINDS}
    row = 0
    for batch in parts.batches(KINDS):
        for kind in KINDS:
            _check(batch[kind], parts, kind, row)
            counted[kind].add(batch[kind])
        row += len(batch)
    if not row:
        raise DataError(f"{parts.source} has no rows; a log needs at least one interaction")
    return {kind: _known(counted[kind], parts.names[kind], text_ids) for kind in KINDS}


def _check(column: pl.Series, parts: Parts, kind: str, row: int) -> None:
    missing = values.missing(column)
    if bool(missing.any()):
        raise DataError(
            f"{parts.source}: column {values.named(parts.names[kind])} has no id in row "
            f"{row + int(missing.arg_max() or 0) + 1:,}; drop the rows without one or fill in the "
            "ids"
        )


def _known(counted: _Counted, name: str, text_ids: bool) -> Known:
    table = counted.whole()
    ids = values.ids(table["raw"], name, text_ids=text_ids)
    vocabulary = Vocabulary.of(ids)
    numbers = vocabulary.numbers(ids)
    counts = np.bincount(numbers, table["len"].to_numpy(), minlength=len(vocabulary))
    return Known(
        vocabulary, Numbering(table["raw"], numbers.astype(np.uint32)), counts.astype(np.int64)
    )


class _Counted:
    """How often each id occurs; tables of some rows are added up when they have become long."""

    def __init__(self) -> None:
        self._tables: list[pl.DataFrame] = []
        self._length = 0

    def add(self, column: pl.Series) -> None:
        """Count some more ids."""
        table = pl.DataFrame({"raw": column}).group_by("raw").len()
        if self._tables and self._tables[0]["raw"].dtype != column.dtype:
            raise DataError(
                f"the ids have the type {self._tables[0]['raw'].dtype} in one file and "
                f"{column.dtype} in another; write all files with one type"
            )
        self._tables.append(table.with_columns(pl.col("len").cast(pl.Int64)))
        self._length += len(table)
        if self._length > 3 * len(self._tables[0]) + 2**16:
            self.whole()

    def whole(self) -> pl.DataFrame:
        """Return the distinct ids with their counts."""
        table = pl.concat(self._tables).group_by("raw").agg(pl.col("len").sum())
        self._tables, self._length = [table], len(table)
        return table
