"""The border between raw ids and numbers: translated once on the way in, once on the way out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl

from softrec.errors import DataError, shown

UNKNOWN = -1


@dataclass(frozen=True)
class Vocabulary:
    """Raw ids in a fixed order; the number of an id is its place, 0 .. len-1.

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

    def __len__(self) -> int:
        return len(self.raw)

    def numbers(self, ids: pl.Series | Iterable[object]) -> np.ndarray:
        """Return the number of each id, int64; `UNKNOWN` (-1) for an id that is not here.

        Raises:
            DataError: if the ids are of another kind (text against numbers) than the vocabulary.
        """
        wanted = ids if isinstance(ids, pl.Series) else pl.Series("raw", list(ids), strict=False)
        if len(wanted) == 0:
            return np.empty(0, dtype=np.int64)
        wanted = wanted.alias("raw")
        if wanted.dtype != self.raw.dtype:
            wanted = self._same_kind(wanted)
        table = pl.DataFrame({"raw": self.raw}).with_row_index("number")
        found = pl.DataFrame({"raw": wanted}).join(
            table, on="raw", how="left", maintain_order="left"
        )
        return found["number"].cast(pl.Int64).fill_null(UNKNOWN).to_numpy()

    def ids(self, numbers: object) -> pl.Series:
        """Return the raw ids at `numbers` (any sequence of integers)."""
        return self.raw.gather(np.asarray(numbers))

    def _same_kind(self, wanted: pl.Series) -> pl.Series:
        """Cast `wanted` to the vocabulary's type: '12' finds 12, but 'tea' is refused, not lost."""
        cast = wanted.cast(self.raw.dtype, strict=False)
        lost = wanted.filter(cast.is_null() & wanted.is_not_null())
        if len(lost):
            raise DataError(
                f"ids here are of type {self.raw.dtype} (such as {self.raw[0]!r}), but "
                f"{shown(lost)} came, of type {wanted.dtype}; give ids as they are in the log"
            )
        return cast
