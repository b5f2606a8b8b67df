"""The n-th smallest of many numbers, exactly, in a few passes and with little memory."""

from __future__ import annotations

import numpy as np

from softrec.blocks import blocks
from softrec.limits import LIMITS

BINS = 2**16


def nth_smallest(values: np.ndarray, place: int) -> int:
    """Return the value at a place of the sorted whole numbers, counted from 0.

    Each pass counts the values in equal ranges, and goes on in the range that has the place.

    Args:
        values: (E,) int64, which may be a memory map.
        place: 0 .. E-1.

    Example:
        >>> nth_smallest(np.array([30, 10, 20]), 1)
        20
    """
    least, most = int(values.min()), int(values.max())
    while most > least:
        width = -(-(most - least + 1) // BINS)
        counts = np.zeros(BINS, dtype=np.int64)
        for some in blocks(len(values), LIMITS.sorted):
            inside = values[some]
            inside = inside[(inside >= least) & (inside <= most)]
            # As Python's whole numbers the difference of two times may not fit into 64 bits.
            shifted = inside.astype(np.uint64) - np.uint64(least % 2**64)
            counts += np.bincount((shifted // np.uint64(width)).astype(np.int64), minlength=BINS)
        ends = np.cumsum(counts)
        bin_ = int(np.searchsorted(ends, place, side="right"))
        place -= int(ends[bin_ - 1]) if bin_ else 0
        least, most = least + bin_ * width, min(most, least + (bin_ + 1) * width - 1)
    return least


def quantiles_higher(values: np.ndarray, shares: list[float]) -> list[int]:
    """Return what `numpy.quantile(..., method="higher")` does."""
    places = np.ceil((len(values) - 1) * np.asanyarray(shares)).astype(np.intp)
    return [nth_smallest(values, int(place)) for place in places]
