"""What a ranking is worth: one number per case, from the ranks of its relevant items alone.

All functions read flat ranks, so a case may have one relevant item (the next one) or many (all
the held-out ones), and no table of cases x items is ever needed. Means are left to the caller:
a mean over cases, never a mean of batch means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from softrec.errors import DataError, RecipeError
from softrec.registry import Registry
from softrec.retrieval import NOT_RANKED


@dataclass(frozen=True)
class Ranks:
    """The places of the relevant items in the rankings of C cases, as flat arrays.

    A rank is 1-based and pessimistic, 1 + #higher + #equal others, so that constant scores win
    nothing. So no more than r items of a case have ranks up to r, which keeps every metric within
    [0, 1]. Relevant items that could not be ranked at all may be left out of `case` and `rank`;
    `relevant` counts them all the same.

    Attributes:
        case: (P,) int64, the index 0 .. C-1 of the case of each relevant item, in any order.
        rank: (P,) int64, its rank, or `NOT_RANKED`.
        relevant: (C,) int64, how many relevant items each case has, at least 1.

    Raises:
        DataError: if the arrays do not fit together, or more items of a case stand above a rank
            than there are places: an item was counted twice.

    Example:
        >>> ranks = Ranks(np.array([0, 1, 1]), np.array([1, 3, NOT_RANKED]), np.array([1, 2]))
        >>> recall(ranks, 10).tolist()
        [1.0, 0.5]
    """

    case: np.ndarray
    rank: np.ndarray
    relevant: np.ndarray

    def __post_init__(self) -> None:
        if self.case.ndim != 1 or self.case.shape != self.rank.shape or self.relevant.ndim != 1:
            raise DataError(
                "ranks need `case` and `rank` of the same shape (P,) and `relevant` of shape "
                f"(C,), got {self.case.shape}, {self.rank.shape} and {self.relevant.shape}"
            )
        if len(self.case) and not 0 <= self.case.min() <= self.case.max() < len(self.relevant):
            raise DataError(
                f"cases are numbered 0 .. {len(self.relevant) - 1} because `relevant` has "
                f"{len(self.relevant)} of them, but `case` goes from {self.case.min()} to "
                f"{self.case.max()}"
            )
        if len(self.rank) and self.rank.min() < 1:
            raise DataError(
                f"ranks count from 1 (the best place), got a rank of {self.rank.min()}; add 1 to "
                "ranks that count from 0"
            )
        listed = np.bincount(self.case, minlength=len(self.relevant))
        if np.any(self.relevant < np.maximum(listed, 1)):
            wrong = int(np.argmax(self.relevant < np.maximum(listed, 1)))
            raise DataError(
                "a case needs at least one relevant item, and at least as many relevant items as "
                f"ranks, but case {wrong} has {listed[wrong]} ranks and relevant = "
                f"{self.relevant[wrong]}; leave out cases without relevant items"
            )
        self._check_places()

    def _check_places(self) -> None:
        """Refuse more items of a case at ranks up to r than r."""
        order = np.lexsort((self.rank, self.case))
        case, rank = self.case[order], self.rank[order]
        begin = np.searchsorted(case, case)  # where the ranks of the same case begin
        place = np.arange(len(case)) - begin + 1
        crowded = np.flatnonzero(rank < place)
        if len(crowded):
            first = crowded[0]
            raise DataError(
                f"case {case[first]} has {place[first]} relevant items at ranks up to "
                f"{rank[first]}; rank each relevant item of a case once, with ties counted against "
                "it"
            )

    def __len__(self) -> int:
        return len(self.relevant)


Metric = Callable[[Ranks, int], np.ndarray]
METRICS: Registry[Metric] = Registry("metric", "softrec.evaluation.metrics")
"""All there are; a further one is a function (ranks, k) with `@METRICS.named()` above it."""


@METRICS.named()
def recall(ranks: Ranks, k: int) -> np.ndarray:
    """Return Recall@k = hits / |relevant| of each case, (C,) float64.

    Example:
        >>> recall(Ranks(np.array([0, 0]), np.array([2, 11]), np.array([2])), k=10).tolist()
        [0.5]
    """
    return _hits(ranks, k) / ranks.relevant


@METRICS.named()
def hit_rate(ranks: Ranks, k: int) -> np.ndarray:
    """Return HR@k = [hits >= 1] of each case, (C,) float64; Recall@k with one relevant item."""
    return (_hits(ranks, k) > 0).astype(np.float64)


@METRICS.named()
def precision(ranks: Ranks, k: int) -> np.ndarray:
    """Return Precision@k = hits / k of each case, (C,) float64."""
    return _hits(ranks, k) / k


@METRICS.named()
def ndcg(ranks: Ranks, k: int) -> np.ndarray:
    """Return NDCG@k with binary gains of each case, (C,) float64.

    sum_{hits} 1 / log2(rank + 1)  /  sum_{j <= min(k, |relevant|)} 1 / log2(j + 1)

    Example:
        >>> ndcg(Ranks(np.array([0]), np.array([3]), np.array([1])), k=10).tolist()
        [0.5]

    Reference:
        Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, TOIS 2002.
    """
    hit = np.flatnonzero(ranks.rank <= k)
    # From the best rank down, as the ideal is summed: so no rounding lifts a case above 1.
    hit = hit[np.argsort(ranks.rank[hit], kind="stable")]
    gains = 1 / np.log2(ranks.rank[hit] + 1)
    gained = np.bincount(ranks.case[hit], weights=gains, minlength=len(ranks))
    # No case can use more places of the ideal ranking than the longest one has relevant items.
    places = np.arange(1, min(k, int(ranks.relevant.max(initial=1))) + 1)
    ideal = np.cumsum(1 / np.log2(places + 1))
    return gained / ideal[np.minimum(ranks.relevant, k) - 1]


@METRICS.named()
def mrr(ranks: Ranks, k: int) -> np.ndarray:
    """Return MRR@k = 1 / (best rank), or 0 if that is beyond k, of each case, (C,) float64."""
    best = np.full(len(ranks), NOT_RANKED)
    np.minimum.at(best, ranks.case, ranks.rank)
    return np.where(best <= k, 1 / best, 0.0)


def parse_metric(name: str) -> tuple[Metric, int]:
    """Return the function and the cut-off k of a metric such as "ndcg@10".

    Raises:
        RecipeError: naming the known ones, if there is no such metric.

    Example:
        >>> function, k = parse_metric("ndcg@10")
        >>> function.__name__, k
        ('ndcg', 10)
    """
    kind, _, cutoff = name.partition("@")
    if kind not in METRICS:
        raise RecipeError(
            f"expected a metric such as 'ndcg@10', one of {', '.join(METRICS)}; got {name!r}"
        )
    if not (cutoff.isascii() and cutoff.isdigit() and int(cutoff) >= 1):
        raise RecipeError(
            f"expected a whole number of at least 1 after '@', as in '{kind}@10'; got {name!r}"
        )
    return METRICS[kind], int(cutoff)


def evaluate(ranks: Ranks, metrics: Sequence[str]) -> pl.DataFrame:
    """Return a row per case and a column per metric, such as "ndcg@10".

    Args:
        ranks: ranks that are exact down to the largest cut-off asked for.
        metrics: names with a cut-off.

    Raises:
        RecipeError: naming the known ones, if there is no such metric.

    Example:
        >>> ranks = Ranks(np.array([0, 1]), np.array([1, 12]), np.array([1, 1]))
        >>> evaluate(ranks, ["recall@10", "recall@20"]).to_dict(as_series=False)
        {'recall@10': [1.0, 0.0], 'recall@20': [1.0, 1.0]}
    """
    parsed = {name: parse_metric(name) for name in metrics}
    return pl.DataFrame({name: function(ranks, k) for name, (function, k) in parsed.items()})


def _hits(ranks: Ranks, k: int) -> np.ndarray:
    """Return how many relevant items of each case are among the first k, (C,) int64."""
    return np.bincount(ranks.case[ranks.rank <= k], minlength=len(ranks))
