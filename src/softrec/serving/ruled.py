"""Lists that keep rules, from the best items: pinned ones first, and at most some of a kind.

A limit of a kind may leave out any number of the best items, so that a longer and longer list of
these is read until the result is certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import NamedTuple, Protocol, SupportsIndex

import numpy as np

from softrec.limits import LIMITS
from softrec.serving.items import NO_VALUE, Items
from softrec.serving.rules import Rules

FIRST, MORE = 4, 8
"""How many times k items are read at first if kinds are limited, and how many times more then."""


class Best(NamedTuple):
    """The best items of some users; a place for which no item is left has the score -inf."""

    items: np.ndarray  # (B, k) int64
    scores: np.ndarray  # (B, k)


class Ranking(Protocol):
    """The scores of B users; -inf for items that they have seen, where these are left out."""

    def best(
        self, rows: slice, k: int, allowed: np.ndarray | None, also: np.ndarray
    ) -> tuple[Best, np.ndarray]:
        """Return the k best allowed items of some users, and the scores (b, p) of other items.

        Args:
            rows: which users.
            k: how many, at most N.
            allowed: (N,) bool; all others have the score -inf.
            also: (p,) int64 the other items; they have the score -inf, too, if they are left out.
        """
        ...


def ruled(ranking: Ranking, n_users: int, k: int, rules: Rules, items: Items) -> Best:
    """Return the k best items of each user that keep the rules, (B, k).

    It is the list that results if the pinned items, then all others from the highest score to the
    lowest, are added one after the other, unless an item is left out, or a kind has its number.
    """
    allowed, pinned, limits = items.allowed(rules), items.pinned(rules), items.limits(rules)
    everybody = slice(0, n_users)
    if not limits and not len(pinned):
        return ranking.best(everybody, k, allowed, pinned)[0]
    chosen = Best(np.zeros((n_users, k), np.int64), np.full((n_users, k), -np.inf, np.float32))
    depth = min(len(items), (FIRST if limits else 1) * k + len(pinned))
    longest = min([k, *(_longest(kind, most, allowed) for kind, most in limits)])
    todo = [everybody]
    while todo:
        uncertain = []
        for rows in todo:
            found, first = ranking.best(rows, depth, allowed, pinned)
            certain = _choose(chosen, rows, found, (pinned, first), limits, longest)
            if depth < len(items):
                uncertain += (rows.start + np.flatnonzero(~certain)).tolist()
        depth = min(len(items), depth * MORE)
        todo = _together(uncertain, max(1, LIMITS.paired // depth))
    return chosen


def _longest(kind: np.ndarray, most: int, allowed: np.ndarray | None) -> int:
    """Return how many items a list can have at most, if no more than `most` are of a kind.

    A shorter list than asked for would otherwise be certain at the end of the catalogue only.
    """
    counts = np.bincount((kind if allowed is None else kind[allowed]) - NO_VALUE, minlength=1)
    return int(counts[0] + counts[1:].clip(max=most).sum())


def _choose(
    chosen: Best,
    rows: slice,
    found: Best,
    first: tuple[np.ndarray, np.ndarray],
    limits: Sequence[tuple[np.ndarray, int]],
    longest: int,
) -> np.ndarray:
    """Choose from the best items of some rows; return of which rows the list is certain, (b,)."""
    pinned, own = first
    listed = np.hstack([np.broadcast_to(pinned, own.shape), found.items])
    scores = np.hstack([own, found.scores])
    free = scores > -np.inf
    free[:, len(pinned) :] &= ~np.isin(found.items, pinned)
    kinds = [(numbers[listed], most) for numbers, most in limits]
    places = greedy(free, kinds, chosen.items.shape[1])
    there = places >= 0
    own_rows = np.arange(len(places))[:, None]
    chosen.items[rows] = np.where(there, listed[own_rows, places], 0)
    chosen.scores[rows] = np.where(there, scores[own_rows, places], -np.inf)
    return (there.sum(1) >= longest) | ~(found.scores[:, -1] > -np.inf)


def greedy(free: np.ndarray, kinds: Sequence[tuple[np.ndarray, int]], k: int) -> np.ndarray:
    """Return the places of up to k items of each row, the first free ones, (b, k); -1 for none.

    Args:
        free: (b, m) bool, which items may be chosen; it is overwritten.
        kinds: for each limit the kind (b, m) of each item, and how many of a kind may be chosen;
            the kind `NO_VALUE` is not limited.
        k: how many.

    Example:
        >>> greedy(np.ones((1, 4), bool), [(np.array([[7, 7, 7, 8]]), 2)], 3)
        array([[0, 1, 3]])
    """
    rows = np.arange(len(free))
    places = np.full((len(free), k), -1)
    for place in range(k):
        first = free.argmax(1)
        there = free[rows, first]
        if not there.any():
            break
        places[there, place] = first[there]
        free[rows, first] = False
        so_far = places[:, : place + 1]
        for kind, most in kinds:
            own = kind[rows, first]
            same = (kind[rows[:, None], so_far] == own[:, None]) & (so_far >= 0)
            full = np.flatnonzero(there & (own != NO_VALUE) & (same.sum(1) >= most))
            free[full] &= kind[full] != own[full, None]
    return places


def _together(rows: Sequence[int], size: int) -> list[slice]:
    """Return slices of at most `size` rows that have all of these rows, and none between them."""
    slices: list[slice] = []
    for row in rows:
        last = slices[-1] if slices else None
        if last is not None and last.stop == row and row - last.start < size:
            slices[-1] = slice(last.start, row + 1)
        else:
            slices.append(slice(row, row + 1))
    return slices


def places(k: int, n_items: int, name: str = "k") -> int:
    """Return how many places a list has: k, or all items if there are fewer.

    Args:
        k: how many are asked for.
        n_items: size N of the catalogue.
        name: of the argument, for messages.

    Raises:
        ValueError: if k is below 1, or no whole number.
    """
    if not isinstance(k, SupportsIndex) or index(k) < 1:
        raise ValueError(
            f"{name} must be a whole number of at least 1, got {k!r}; a list has at most the "
            f"{n_items:,} items of the catalogue"
        )
    return min(index(k), n_items)
