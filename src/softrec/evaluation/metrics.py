"""Metrics of rankings: one number per case, computed from the ranks of its relevant items.

All functions read flat arrays of ranks, so a case may have one relevant item (the next one) or many
(all held-out ones), and no table of cases x items is needed. The caller computes the mean: over
cases, not over the means of batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from softrec.errors import DataError, RecipeError
from softrec.registry import Registry
from softrec.retrieval import NOT_RANKED


@dataclass(frozen=True)
class Ranks:
    """The ranks of the relevant items of C cases, as flat arrays.

    Ranks count from 1, and ties count against the item: 1 + #higher + #equal others, so that
    constant scores gain nothing. So at most r items of a case have ranks up to r, and every metric
    is in [0, 1]. Relevant items that cannot be ranked may be left out of `case` and `rank`, but
    `relevant` counts them.

    Attributes:
        case: (P,) int64, the index 0 .. C-1 of the case of each relevant item, in any order.
        rank: (P,) int64, its rank, or `NOT_RANKED`.
        relevant: (C,) int64, how many relevant items each case has, at least 1.

    Raises:
        DataError: if the arrays do not fit together, or if more than r items of a case have ranks
            up to r, which happens if an item is counted twice.

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
        """Refuse more than r items of a case at ranks up to r."""
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
"""All metrics by name; a new one is a function (ranks, k) with the decorator `@METRICS.named()`."""


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
    # Summed from the best rank down, like the ideal, so that rounding cannot give more than 1.
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
        RecipeError: if there is no such metric; the message lists the metrics.

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


def metric_names(given: str | Iterable[str]) -> list[str]:
    """Return the metrics in a text or in several, each once.

    Example:
        >>> metric_names("ndcg@5, recall@10, ndcg@5")
        ['ndcg@5', 'recall@10']
    """
    texts = [given] if isinstance(given, str) else given
    return list(dict.fromkeys(name.strip() for text in texts for name in text.split(",")))


def evaluate(ranks: Ranks, metrics: Sequence[str]) -> pl.DataFrame:
    """Return a row per case and a column per metric, such as "ndcg@10".

    Args:
        ranks: ranks that are exact up to the largest cut-off in `metrics`.
        metrics: names with a cut-off.

    Raises:
        RecipeError: if there is no such metric; the message lists the metrics. Or if a metric from
            outside softrec does not give one finite number per case.

    Example:
        >>> ranks = Ranks(np.array([0, 1]), np.array([1, 12]), np.array([1, 1]))
        >>> evaluate(ranks, ["recall@10", "recall@20"]).to_dict(as_series=False)
        {'recall@10': [1.0, 0.0], 'recall@20': [1.0, 1.0]}
    """
    parsed = {name: parse_metric(name) for name in metrics}
    return pl.DataFrame({name: _values(name, ranks, *one) for name, one in parsed.items()})


def _values(name: str, ranks: Ranks, metric: Metric, k: int) -> np.ndarray:
    """Return the values of a metric; of one from outside they are checked.

    A single number would be repeated for every case, and with NaN any epoch would be the best.
    """
    found = metric(ranks, k)
    if METRICS.member(name.partition("@")[0]).in_tree:
        return found
    expected = f"expected an array of one finite number for each case, ({len(ranks)},)"
    values = np.asarray(found)
    if values.dtype.kind not in "fiub":
        got = "None" if found is None else f"{type(found).__name__} of {values.dtype}"
        raise RecipeError(f"the metric {name!r} gives {got}; {expected}, such as float64")
    if values.shape != (len(ranks),):
        raise RecipeError(
            f"the metric {name!r} gives numbers of the shape {values.shape}; {expected}: begin "
            "with np.zeros(len(ranks))"
        )
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise RecipeError(
            f"the metric {name!r} gives {values[wrong[0]]} for {len(wrong)} of {len(ranks)} cases, "
            f"first for case {wrong[0]}; {expected}: divide by 0 nowhere, and give 0 where nothing "
            "is found"
        )
    return values.astype(np.float64)


def _hits(ranks: Ranks, k: int) -> np.ndarray:
    """Return how many relevant items of each case are among the first k, (C,) int64."""
    return np.bincount(ranks.case[ranks.rank <= k], minlength=len(ranks))
