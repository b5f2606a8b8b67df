"""Drift: how much new events differ from those that are known, beside what chance would do.

A distance between two samples is never 0. What it would be without drift is found by resampling:
stretches of the known histories, as long as those of the new events, are held against the rest.
Whole stretches, because the events of one user are alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from softrec.data.growing import NEW
from softrec.data.interactions import Interactions

DRAWS = 100
LEVEL = 0.95


class Beside(NamedTuple):
    """A measure of the new events, and its value without drift.

    `expected` is the mean over resampled stretches, `low` and `high` have 95 % of them between.
    """

    value: float
    expected: float
    low: float
    high: float

    @property
    def unusual(self) -> bool:
        """Return whether chance alone rarely gives such a value."""
        return not self.low <= self.value <= self.high


def total_variation(p: np.ndarray, q: np.ndarray) -> float:
    """Return 1/2 sum |p_i - q_i| of two rows of counts, each divided by its sum; from 0 to 1.

    Example:
        >>> total_variation(np.array([1, 1, 0]), np.array([2, 1, 1]))
        0.25
    """
    return float(np.abs(p / p.sum() - q / q.sum()).sum() / 2)


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """Return the Jensen-Shannon divergence of two rows of counts, in bits; from 0 to 1.

    H((p + q) / 2) - (H(p) + H(q)) / 2

    Example:
        >>> jensen_shannon(np.array([1, 0]), np.array([0, 3]))
        1.0

    Reference:
        Lin, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 1991.
    """
    p, q = p / p.sum(), q / q.sum()
    return float(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2)


def _entropy(p: np.ndarray) -> np.floating[Any]:
    p = p[p > 0]
    return -(p * np.log2(p)).sum()


def drift(log: Interactions, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Return how new events differ from the known ones, as plain data.

    Args:
        log: a log that has grown, with the column `new`.
        draws: how many times stretches of the known histories are drawn.
        seed: of these.

    Returns:
        popularity: total variation and Jensen-Shannon divergence between the shares of the items in
            known and in new events, each with its value without drift;
        repeats: the fraction of events whose user had the item before, likewise;
        catalogue: the share of new events with an item, or of a user, without a known event;
            the share of the items with known events that have no new one;
        histories: the mean number of known events of a user, and of new events of a user who has
            some.
    """
    events = log.sequences
    new = log.ordered[NEW].to_numpy()
    user, item = log.ordered["user"].to_numpy(), events.items
    repeated = _repeated(user, item, log.n_items)
    known = _Known(user[~new], item[~new], repeated[~new], log.n_items)
    per_user = np.bincount(user[new], minlength=log.n_users)
    counts = np.bincount(item[new], minlength=log.n_items)
    pieces = np.sort(per_user[per_user > 0])
    rng = np.random.default_rng(seed)
    samples = np.array([known.sample(pieces, rng) for _ in range(draws)])
    found = (
        total_variation(known.counts, counts),
        jensen_shannon(known.counts, counts),
        float(repeated[new].mean()),
    )
    told = [_beside(value, column) for value, column in zip(found, samples.T, strict=True)]
    of_known = np.bincount(user[~new], minlength=log.n_users)
    return {
        "popularity": {"total_variation": told[0], "jensen_shannon": told[1]},
        "repeats": told[2],
        "catalogue": {
            "events_of_new_items": float((known.counts[item[new]] == 0).mean()),
            "events_of_new_users": float((of_known[user[new]] == 0).mean()),
            "items_without_new_events": float((counts[known.counts > 0] == 0).mean()),
        },
        "histories": {
            "known_events_of_a_user": float(of_known[of_known > 0].mean()),
            "new_events_of_a_user": float(pieces.mean()),
        },
    }


def _beside(value: float, samples: np.ndarray) -> dict[str, Any]:
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    found = Beside(value, float(samples.mean()), float(low), float(high))
    return {**found._asdict(), "unusual": found.unusual}


def _repeated(user: np.ndarray, item: np.ndarray, n_items: int) -> np.ndarray:
    """Return which events, in order, have an item that the user had before, (E,) bool."""
    _, first = np.unique(user.astype(np.int64) * n_items + item, return_index=True)
    repeated = np.ones(len(item), dtype=bool)
    repeated[first] = False
    return repeated


class _Known:
    """The known events in order of users, from which stretches are drawn."""

    def __init__(
        self, user: np.ndarray, item: np.ndarray, repeated: np.ndarray, n_items: int
    ) -> None:
        self.item, self.repeated, self.n_items = item, repeated, n_items
        self.counts = np.bincount(item, minlength=n_items)
        ends = np.flatnonzero(np.append(user[1:] != user[:-1], True)) + 1
        self.lengths = np.diff(ends, prepend=0)  # of the history of each user who has one
        self.starts = ends - self.lengths

    def sample(self, wanted: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
        """Return both distances and the share of repeats of stretches of these sorted lengths.

        Each stretch is at a random place of the history of another user; the longest are of the
        users with most events, and are shorter only where no history is long enough.
        """
        chosen = rng.permutation(len(self.lengths))[: len(wanted)]
        chosen = chosen[np.argsort(self.lengths[chosen], kind="stable")]
        lengths = np.minimum(wanted[len(wanted) - len(chosen) :], self.lengths[chosen])
        begin = self.starts[chosen] + rng.integers(self.lengths[chosen] - lengths + 1)
        edges = np.zeros(len(self.item) + 1, dtype=np.int64)
        edges[begin] += 1  # no two stretches are of one user
        np.add.at(edges, begin + lengths, -1)
        inside = edges.cumsum()[:-1] > 0
        counts = np.bincount(self.item[inside], minlength=self.n_items)
        rest = self.counts - counts
        if not rest.any():  # more new events than known ones
            rest = self.counts
        repeats = float(self.repeated[inside].mean())
        return total_variation(rest, counts), jensen_shannon(rest, counts), repeats
