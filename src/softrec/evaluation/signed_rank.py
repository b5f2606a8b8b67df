"""Wilcoxon's signed-rank test: a second opinion that uses ranks in place of means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from softrec.extras import optional

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = optional("scipy.stats", "a test of significance")

TIE = 1e-12
"""Differences this small come from rounding, for instance of a mean over seeds; they are ties."""

FEW = 13
"""Up to so many differences SciPy tries all signs of tied ranks; here they are counted."""


def signed_rank(change: np.ndarray) -> float:
    """Return the two-sided p-value of Wilcoxon's test that differences lie around 0.

    Zeros are left out, as they have no direction; differences that only rounding distinguishes
    have equal ranks.

    Args:
        change: (n,) the differences.

    Example:
        >>> signed_rank(np.array([1 - 2 / 3, -1 / 3, 0.0]))
        1.0

    Reference:
        Wilcoxon, Individual comparisons by ranking methods, Biometrics Bulletin 1945.
    """
    moved = _without_rounding(change[change != 0])
    if len(moved) == 0:
        return 1.0
    if len(moved) <= FEW:
        return _of_few(moved)
    test: Any = stats.wilcoxon(moved)  # SciPy does not type its result
    return float(test.pvalue)


def _without_rounding(moved: np.ndarray) -> np.ndarray:
    """Return whole numbers of the same signs and order, equal where only rounding differs.

    A mean over three seeds differs from another by 1 - 2/3 or by 1/3, which must be ties.
    """
    size = np.abs(moved)
    order = np.argsort(size)
    larger = np.diff(size[order], prepend=0.0) > TIE * np.maximum(1.0, size[order])
    places = np.empty(len(moved), dtype=np.int64)
    places[order] = np.cumsum(larger)
    return np.sign(moved).astype(np.int64) * places


def _of_few(moved: np.ndarray) -> float:
    """Return the exact p-value, of all 2^n signs of the ranks: 2 min(P(W <= w), P(W >= w)).

    The ranks are added one after the other, and the signs counted that give each sum: O(n^3)
    instead of 2^n. A comparison has hundreds of such tests, one for each slice.
    """
    doubled = np.rint(2 * stats.rankdata(np.abs(moved))).astype(np.int64)  # of ties they are halves
    ways = np.ones(1)
    for rank in doubled:
        without = np.pad(ways, (0, rank))
        ways = without + np.roll(without, rank)
    positive = int(doubled[moved > 0].sum())
    fewest = min(ways[: positive + 1].sum(), ways[positive:].sum())
    return min(1.0, 2 * float(fewest) / 2 ** len(moved))
