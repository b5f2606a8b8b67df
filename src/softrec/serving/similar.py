"""What similar items are asked for: one list for each item, or one for several with weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from softrec.blocks import blocks
from softrec.data.vocabulary import UNKNOWN, Vocabulary
from softrec.errors import DataError, shown
from softrec.limits import LIMITS


class Asked(NamedTuple):
    """What similar items are asked for: B rows of m items each, and their weights."""

    names: list[object]
    items: np.ndarray  # (B, m) int64
    weights: np.ndarray  # (B, m) float32, a row sums to 1

    def blocks(self) -> Iterator[Asked]:
        """Yield blocks of rows."""
        for some in blocks(len(self.names), LIMITS.encoded):
            yield Asked(self.names[some], self.items[some], self.weights[some])


def asked(
    items: Sequence[object], weights: Sequence[float] | None, vocabulary: Vocabulary
) -> Asked:
    """Return a row for each item, or with weights one row for all of them.

    Raises:
        DataError: if there is no item, one is unknown, or the weights do not fit.

    Example:
        >>> import polars as pl
        >>> asked(["tea", "jam"], [3, 1], Vocabulary(pl.Series(["tea", "jam"])))
        Asked(names=['tea, jam'], items=array([[0, 1]]), weights=array([[0.75, 0.25]]))
    """
    numbers = vocabulary.numbers(items)
    unknown = [raw for raw, number in zip(items, numbers, strict=True) if number == UNKNOWN]
    if unknown or not len(numbers):
        came = f"unknown items: {shown(unknown)}" if unknown else "no item was given"
        raise DataError(f"{came}; similar items need items of the log")
    if weights is None:
        return Asked(list(items), numbers[:, None], np.ones((len(numbers), 1)))
    given = np.asarray(list(weights), dtype=float)
    if given.shape != numbers.shape or not np.isfinite(given).all() or (given < 0).any():
        raise DataError(
            f"{len(numbers)} items need as many weights, 0 or above, got {shown(given.tolist())}"
        )
    if not given.sum() > 0:
        raise DataError("all weights are 0; give at least one item a weight above 0")
    return Asked([", ".join(map(str, items))], numbers[None], given[None] / given.sum())
