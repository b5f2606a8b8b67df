"""Rows in blocks, so that what is computed of a block stays small beside the whole."""

from __future__ import annotations

from collections.abc import Iterator


def blocks(n: int, size: int) -> Iterator[slice]:
    """Yield slices of `size` rows, or of one if `size` is less, that cover 0 .. n-1 in order.

    The last one may be shorter.

    Example:
        >>> list(blocks(5, 2))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = max(1, size)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))
