"""Measures of lists of recommendations, from how often each item is listed, relevant or not.

Only one count per item is stored, so that a million lists need no more memory than one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from softrec.data.splits import Cases
from softrec.errors import DataError, RecipeError
from softrec.evaluation.listed import Listed
from softrec.evaluation.protocol import batches_of, seen_of
from softrec.retrieval import top_k
from softrec.types import Model, device_of, evaluating

HEAD = 0.2
"""The most popular fifth of the items; the others are the long tail."""


def listed_counts(
    model: Model, cases: Cases, k: int, *, length: int, mask_seen: bool = True
) -> np.ndarray:
    """Return in how many of the top-k lists of the cases each item is, (N,) int64.

    Args:
        model: an encoder or a scorer; used in evaluation mode, without gradients.
        cases: the histories; a list has fewer than k items if fewer are left to rank.
        k: length of the lists; if there are fewer items, the number of items.
        length: how many of the last items of a history the model reads.
        mask_seen: leave items of the history out of the lists.
    """
    listed = Listed(k, model.n_items)
    list_cases(model, cases, listed, length=length, mask_seen=mask_seen)
    return listed.counts


def list_cases(
    model: Model, cases: Cases, listed: Listed, *, length: int, mask_seen: bool = True
) -> None:
    """Give the lists of the cases to `listed`; arguments as of `listed_counts`."""
    with evaluating(model), torch.inference_mode():
        score, device = model.scores(), device_of(model)
        for rows, batch in batches_of(cases, length, model):
            seen = seen_of(cases, rows, device) if mask_seen else None
            scores = score(batch)
            listed.add(top_k(scores, listed.k, seen), rows, scores)


class ListMeasures(NamedTuple):
    """Measures of lists; if nothing is listed, all except the coverage are NaN."""

    coverage: float  # fraction of the catalogue that is in at least one list
    gini: float  # 0 if all items are listed equally often, (N - 1) / N if only one item is listed
    popularity: float  # mean number of training events of the listed items
    novelty: float  # mean of -log2 of the listed items' fraction of the training events
    tail_fraction: float  # fraction of the listed items that are in the long tail


def list_measures(counts: np.ndarray, events: np.ndarray, *, head: float = HEAD) -> ListMeasures:
    """Return the measures, from c_i, how often item i is listed, and f_i, its training events.

    coverage      = |{i: c_i > 0}| / N
    gini          = sum_r (2 r - N - 1) c_(r) / (N sum_i c_i),   c_(1) <= ... <= c_(N)
    popularity    = sum_i c_i f_i / sum_i c_i
    novelty       = sum_i c_i (-log2 p_i) / sum_i c_i,   p_i = max(f_i, 1) / sum_j f_j
    tail fraction = sum_{i in tail} c_i / sum_i c_i

    For the novelty, an item without training events counts as if it had one, because its novelty
    would be infinite. The tail is all items except the ceil(head N) most popular ones; of equally
    popular items, the one with the lower number counts as more popular.

    Args:
        counts: (N,) the result of `listed_counts`.
        events: (N,) training events of each item, such as `Interactions.item_counts`.
        head: fraction of the catalogue that is not in the long tail.

    Raises:
        DataError: if the two are not counts of the same items, or there is no event.
        RecipeError: if `head` is not between 0 and 1.

    Example:
        >>> list_measures(np.array([3, 1, 0, 0]), np.array([4, 2, 1, 1]), head=0.25)
        ListMeasures(coverage=0.5, gini=0.625, popularity=3.5, novelty=1.25, tail_fraction=0.25)

    Reference:
        Vargas and Castells, Rank and relevance in novelty and diversity metrics for recommender
        systems, RecSys 2011. Abdollahpouri, Burke and Mobasher, Managing popularity bias in
        recommender systems with personalized re-ranking, FLAIRS 2019 (long-tail items).
    """
    _check(counts, events, head)
    n_items, total = len(counts), int(counts.sum())
    coverage = float(np.mean(counts > 0))
    if not total:
        return ListMeasures(coverage, *[float("nan")] * 4)
    place = 2 * np.arange(1, n_items + 1) - n_items - 1
    shares = counts / total
    tail = np.ones(n_items, dtype=bool)
    most_popular = np.argsort(-events.astype(np.int64), kind="stable")
    tail[most_popular[: int(np.ceil(head * n_items))]] = False
    return ListMeasures(
        coverage=coverage,
        gini=float(place @ np.sort(counts) / (n_items * total)),
        popularity=float(shares @ events),
        novelty=float(shares @ -np.log2(np.maximum(events, 1) / events.sum())),
        tail_fraction=float(counts[tail].sum() / total),
    )


def _check(counts: np.ndarray, events: np.ndarray, head: float) -> None:
    if counts.ndim != 1 or counts.shape != events.shape or not len(counts):
        raise DataError(
            "measures of lists need two arrays of shape (N,), one count for each item, but "
            f"got {counts.shape} and {events.shape}"
        )
    if min(counts.min(), events.min()) < 0 or not events.sum():
        raise DataError(
            "measures of lists need counts of at least 0 and at least one training event, but "
            f"the least counts are {counts.min()} and {events.min()}, of {events.sum():,} events"
        )
    if not 0 < head < 1:
        raise RecipeError(f"expected a fraction between 0 and 1 for the head, but got {head}")
