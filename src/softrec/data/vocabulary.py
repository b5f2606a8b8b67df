"""Vocabularies: raw ids are translated to numbers on the way in and back on the way out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from softrec.errors import DataError, shown

UNKNOWN = -1
FEW = (
    16  # ids in a vocabulary per id that is looked up, from which on a search is faster than a join
)
ONE_BY_ONE = 8  # up to so many ids are looked up one after the other, without a table of results
ROOM = 4
"""Numbers of a range per id, up to which the ids are looked up in a table of the whole range."""


@dataclass(frozen=True)
class Vocabulary:
    """Raw ids in a fixed order; the number of an id is its position, 0 .. len-1.

    Example:
        >>> items = Vocabulary.of(pl.Series(["tea", "jam", "tea"]))
        >>> items.numbers(["tea", "milk"]).tolist()  # unknown ids get -1
        [1, -1]
        >>> items.ids([0, 1]).to_list()
        ['jam', 'tea']
    """

    raw: pl.Series

    @classmethod
    def of(cls, column: pl.Series) -> Vocabulary:
        """Return the vocabulary of the distinct values of `column`, sorted."""
        return cls(column.unique().sort().alias("raw"))

    @classmethod
    def numbering(cls, columns: Sequence[pl.Series]) -> tuple[Vocabulary, list[pl.Series]]:
        """Return the vocabulary of columns of one type, and the numbers of their ids, uint32.

        Each id is hashed once, or not at all if the ids are whole numbers of a short range.

        Example:
            >>> items, (numbers,) = Vocabulary.numbering([pl.Series(["tea", "jam", "tea"])])
            >>> items.raw.to_list(), numbers.to_list()
            (['jam', 'tea'], [1, 0, 1])
        """
        column = pl.concat(columns)
        if column.dtype == pl.String:
            raw, numbers = _numbered_texts(column)
        elif column.dtype.is_integer() and _is_short(column):
            raw, numbers = _numbered_integers(column)
        else:
            vocabulary = cls.of(column)
            raw, numbers = vocabulary.raw, vocabulary.numbers(column).astype(np.uint32)
        ends = np.cumsum([len(part) for part in columns])[:-1]
        return cls(raw.alias("raw")), [pl.Series(part) for part in np.split(numbers, ends)]

    def __len__(self) -> int:
        return len(self.raw)

    def numbers(self, ids: pl.Series | Iterable[object]) -> np.ndarray:
        """Return the number of each id, int64; `UNKNOWN` (-1) for an unknown id.

        Raises:
            DataError: if the ids are of another kind than the vocabulary, such as text and numbers.
        """
        ids = ids if isinstance(ids, pl.Series) else list(ids)
        if len(ids) <= ONE_BY_ONE and self._are_own(ids):
            return np.array([self._number(raw) for raw in ids], dtype=np.int64)
        wanted = ids if isinstance(ids, pl.Series) else self._column(ids)
        wanted = wanted.alias("raw")
        if wanted.dtype != self.raw.dtype:
            wanted = self._same_kind(wanted)
        if len(wanted) * FEW <= len(self):
            return self._searched(wanted)
        table = pl.DataFrame({"raw": self.raw}).with_row_index("number")
        found = pl.DataFrame({"raw": wanted}).join(
            table, on="raw", how="left", maintain_order="left"
        )
        return found["number"].cast(pl.Int64).fill_null(UNKNOWN).to_numpy()

    def _column(self, ids: list[object]) -> pl.Series:
        """Return ids as a column; True beside numbers or text would become one of them."""
        if bool in set(map(type, ids)) and self.raw.dtype != pl.Boolean:
            self._refuse_other(pl.Series([raw for raw in ids if type(raw) is bool]))
        return pl.Series("raw", ids, strict=False)

    @cached_property
    def _order(self) -> np.ndarray | None:
        """Return the numbers of the ids in sorted order; None if the ids are sorted already."""
        return None if self.raw.is_sorted() else self.raw.arg_sort().to_numpy().astype(np.int64)

    @cached_property
    def _sorted(self) -> pl.Series:
        return self.raw if self._order is None else self.raw.gather(self._order)

    def _searched(self, wanted: pl.Series) -> np.ndarray:
        """Return the numbers of a few ids, by a binary search for each."""
        place = self._sorted.search_sorted(wanted).to_numpy().astype(np.int64)
        place = place.clip(max=len(self) - 1)
        known = (self._sorted.gather(place) == wanted).fill_null(False).to_numpy()
        return np.where(known, place if self._order is None else self._order[place], UNKNOWN)

    def _are_own(self, ids: Iterable[object]) -> bool:
        """Return whether all ids are text, or whole numbers, as those of the vocabulary are.

        Python sorts these as Polars does.
        """
        if self.raw.dtype == pl.String:
            return all(type(raw) is str for raw in ids)
        return self.raw.dtype == pl.Int64 and all(
            type(raw) is int and raw.bit_length() < 64 for raw in ids
        )

    def _number(self, raw: Any) -> int:
        """Return the number of one id of the vocabulary's type."""
        place = bisect_left(self._sorted, raw)
        if place == len(self) or self._sorted[place] != raw:
            return UNKNOWN
        return place if self._order is None else int(self._order[place])

    def known(self, ids: pl.Series) -> np.ndarray:
        """Return the numbers of the ids as `numbers` does; ids of another kind are unknown, too.

        Example:
            >>> Vocabulary.of(pl.Series([3, 7])).known(pl.Series(["7", "ann"])).tolist()
            [1, -1]
        """
        return self.numbers(ids if ids.dtype == self.raw.dtype else _cast(ids, self.raw.dtype))

    def sorted_out(self, ids: Iterable[object]) -> tuple[list[object], list[object]]:
        """Return the known ids, each once, and the unknown ids, in their order.

        Ids of another kind are unknown, too.

        Example:
            >>> Vocabulary.of(pl.Series([3, 7])).sorted_out(["7", "ann", "7", "3"])
            (['7', '3'], ['ann'])
        """
        given = list(ids)
        numbers = self.known(pl.Series("raw", given, strict=False))
        here: dict[int, object] = {}
        unknown: dict[object, None] = {}
        for raw, number in zip(given, numbers.tolist(), strict=True):
            if number == UNKNOWN:
                unknown[raw] = None
            else:
                here.setdefault(number, raw)
        return list(here.values()), list(unknown)

    def ids(self, numbers: object) -> pl.Series:
        """Return the raw ids at `numbers` (any sequence of integers).

        Raises:
            IndexError: if a number is not in 0 .. len-1, such as `UNKNOWN`.
        """
        places = np.atleast_1d(np.asarray(numbers)).astype(np.int64)
        if len(places) and not 0 <= places.min() <= places.max() < len(self):
            raise IndexError(
                f"the numbers of this vocabulary go from 0 to {len(self) - 1}, got {places.min()} "
                f"to {places.max()}"
            )
        return self.raw[places]

    def grown(self, ids: pl.Series) -> Vocabulary:
        """Return the vocabulary with the unknown ids of a column, sorted, after its own ids.

        Known ids keep their numbers. Text such as "007" is not 7 here: it may be another user.

        Raises:
            DataError: if the ids are of another kind than the vocabulary.

        Example:
            >>> items = Vocabulary.of(pl.Series(["jam", "tea"])).grown(pl.Series(["oat", "jam"]))
            >>> items.raw.to_list()
            ['jam', 'tea', 'oat']
        """
        given = ids.unique().alias("raw")
        distinct = self._same_kind(given)
        if given.dtype == pl.String and self.raw.dtype.is_integer():
            self._refuse_other(given.filter(distinct.cast(pl.String) != given))
        fresh = distinct.filter(pl.Series(self.numbers(distinct) == UNKNOWN)).unique().sort()
        return Vocabulary(pl.concat([self.raw, fresh])) if len(fresh) else self

    def _same_kind(self, wanted: pl.Series) -> pl.Series:
        """Cast `wanted` to the vocabulary's type: '12' becomes 12, and 'tea' is refused."""
        cast = _cast(wanted, self.raw.dtype)
        self._refuse_other(wanted.filter(cast.is_null() & wanted.is_not_null()))
        return cast

    def _refuse_other(self, lost: pl.Series) -> None:
        """Refuse ids that are not of the vocabulary's type, if there are any."""
        if len(lost):
            such = f" (such as {self.raw[0]!r})" if len(self.raw) else ""
            raise DataError(
                f"the ids have the type {self.raw.dtype}{such}, but "
                f"{shown(lost.to_list())} has the type {lost.dtype}; give ids as they are in "
                "the log"
            )


def _is_short(column: pl.Series) -> bool:
    """Return whether a table with a place for each number of a range is small beside the ids."""
    least, most = column.min(), column.max()
    return isinstance(least, int) and isinstance(most, int) and most - least < ROOM * len(column)


def _numbered_integers(column: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """Return the distinct ids, sorted, and the number of each id."""
    least = column.min()
    places = (column - least).cast(pl.UInt32).to_numpy()
    present = np.zeros(int(places.max()) + 1, dtype=bool)
    present[places] = True
    raw = pl.Series(np.flatnonzero(present)).cast(column.dtype) + least
    return raw, (np.cumsum(present, dtype=np.uint32) - np.uint32(1))[places]


def _numbered_texts(column: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """Return the distinct ids, sorted, and the number of each id."""
    coded = column.cast(pl.Categorical(pl.Categories.random()))
    distinct = coded.unique()
    raw = distinct.cast(pl.String)
    order = raw.arg_sort()
    codes = distinct.to_physical().gather(order).to_numpy()
    numbers = np.empty(int(codes.max(initial=0)) + 1, dtype=np.uint32)
    numbers[codes] = np.arange(len(codes), dtype=np.uint32)
    return raw.gather(order), numbers[coded.to_physical().to_numpy()]


def plainly_named(column: pl.Series) -> pl.Series:
    """Return a column under a plain name: Polars takes one such as ^x$ for a pattern of names."""
    return column.alias("column")


def _cast(ids: pl.Series, kind: pl.DataType) -> pl.Series:
    """Return `ids` as type `kind`, null where the value would change (1.5 to 1).

    Text is read as a log's is: "3.0" is 3, but "03" is another id, and so is True.
    """
    ids = plainly_named(ids)
    nothing = pl.Series("raw", [None], dtype=kind).new_from_index(0, len(ids))
    if ids.dtype == pl.String and kind in (pl.Date, pl.Datetime):
        return ids.str.strptime(kind, strict=False)
    if ids.dtype.is_numeric() and kind.is_temporal():
        return nothing
    if ids.dtype == pl.Boolean and kind != pl.Boolean:
        return nothing
    try:
        cast = ids.cast(kind, strict=False)
        if ids.dtype == pl.String and kind.is_integer():
            whole = ids.str.replace(r"\.0+$", "")
            cast = whole.cast(kind, strict=False)
            return cast.zip_with((cast.cast(pl.String) == whole).fill_null(False), nothing)
        if pl.String in (ids.dtype, kind):
            return cast
        return cast.zip_with((cast.cast(ids.dtype, strict=False) == ids).fill_null(False), nothing)
    except pl.exceptions.PolarsError:  # one type cannot be converted to the other
        return nothing
