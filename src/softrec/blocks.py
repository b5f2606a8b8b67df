"""Rows in blocks, so that results of a block need little memory compared with the whole table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def blocks(n: int, size: int) -> Iterator[slice]:
    """Yield slices of `size` rows, or of one if `size` is less, that cover 0 .. n-1 in order.

    The last one may be shorter.

    Example:
        >>> list(blocks(5, 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, size)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def blocks_of_parts(ends: np.ndarray, size: int) -> Iterator[slice]:
    """Yield slices of consecutive parts that together have at most `size` numbers, or of one part.

    Args:
        ends: (n,) how many numbers the parts up to and including each one have.
        size: how many numbers a block may have; a larger part is a block alone.

    Example:
        >>> list(blocks_of_parts(np.array([2, 3, 9, 10]), 3))
        [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    begin = 0
    while begin < len(ends):
        before = ends[begin - 1] if begin else 0
        stop = max(int(np.searchsorted(ends, before + size, side="right")), begin + 1)
        yield slice(begin, stop)
        begin = stop
