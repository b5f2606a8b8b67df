"""The items of a recommender: their ids, their table, and what rules say of each of them."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import polars as pl

from softrec.data.vocabulary import UNKNOWN, Vocabulary
from softrec.errors import RulesError, no_such, shown
from softrec.serving.catalogue import TITLE, Catalogue
from softrec.serving.rules import Rules

KEPT = 32
"""Masks of rules that are kept, because a service asks again with the same rules; N bytes each."""
NO_VALUE = -1


class Items:
    """Ids and table of the items; what is computed for a rule is kept for the next request.

    Args:
        vocabulary: the ids.
        catalogue: the table, if there is one.
    """

    def __init__(self, vocabulary: Vocabulary, catalogue: Catalogue | None = None) -> None:
        self.vocabulary = vocabulary
        self.catalogue = catalogue
        self._mask = lru_cache(maxsize=KEPT)(self._computed)
        self._values = lru_cache(maxsize=KEPT)(self._coded)

    def __len__(self) -> int:
        return len(self.vocabulary)

    def allowed(self, rules: Rules) -> np.ndarray | None:
        """Return which items may be recommended, (N,) bool, not to be changed; None if all may."""
        return self._mask(*rules.selection)

    def pinned(self, rules: Rules) -> np.ndarray:
        """Return the numbers of the items that come first, each once, (p,) int64.

        Raises:
            RulesError: if one is unknown.
        """
        numbers = self.vocabulary.numbers(rules.pinned)
        if (numbers == UNKNOWN).any():
            unknown = [raw for raw, n in zip(rules.pinned, numbers, strict=True) if n == UNKNOWN]
            raise RulesError(
                f"pinned items are not in the catalogue: {shown(unknown)}; pin items of the log"
            )
        return np.array(list(dict.fromkeys(numbers.tolist())), dtype=np.int64)

    def limits(self, rules: Rules) -> list[tuple[np.ndarray, int]]:
        """Return for each column of `at_most` the number of each item's value, and how many.

        Raises:
            RulesError: if there is no such column, or it has lists.
        """
        return [(self._values(column), most) for column, most in rules.at_most.items()]

    @cached_property
    def titles(self) -> pl.Series | None:
        """Return the title of each item, null where it has none; None if there are no titles."""
        if self.catalogue is None or TITLE not in self.catalogue.columns:
            return None
        return self.catalogue.aligned(self.vocabulary)[TITLE]

    def columns(self, numbers: np.ndarray) -> dict[str, pl.Series]:
        """Return the columns of a table that names items: item, and title if there are titles."""
        named = {"item": self.vocabulary.ids(numbers)}
        return named if self.titles is None else named | {TITLE: self.titles.gather(numbers)}

    def _computed(self, *selection: Any) -> np.ndarray | None:
        allow, block, where = selection
        rules = Rules(allow=allow, block=block, where=where)
        mask = rules.mask(self.catalogue, self.vocabulary)
        if mask is not None:
            mask.flags.writeable = False
        return mask

    def _coded(self, column: str) -> np.ndarray:
        """Return a number for each distinct value of a column, (N,) int64; `NO_VALUE` for null."""
        if self.catalogue is None:
            raise RulesError(
                f"at_most {column} reads a column of a table of the items, but there is none; give "
                "one with --items (in Python: items=)"
            )
        table = self.catalogue.aligned(self.vocabulary)
        if column not in table.columns:
            raise RulesError(f"at_most: {no_such('column', column, table.columns)}")
        values = table[column]
        if values.dtype.is_nested():
            raise RulesError(f"at_most: the column {column} has values of type {values.dtype}; "
                             "choose a column with one value for each item")  # fmt: skip
        return values.rank("dense").cast(pl.Int64).fill_null(NO_VALUE).to_numpy()
