"""The best items by inner products of vectors, in NumPy alone: the scores of an export."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softrec.blocks import blocks
from softrec.limits import LIMITS
from softrec.serving.prior import Offsets
from softrec.serving.ruled import Best

GROUP = 64  # items in a group; first the maxima of the groups are compared
FEW = 64  # rows for which a product with all items is worth reading them


class Seen(NamedTuple):
    """Items to leave out of the list of each user, as pairs sorted by row."""

    offsets: np.ndarray  # (B + 1,) int64: row b has items[offsets[b]:offsets[b + 1]]
    items: np.ndarray  # (total,) int64

    def of(self, rows: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the pairs (row, item) of some rows, rows counted from the start of `rows`."""
        offsets = self.offsets[rows.start : rows.stop + 1]
        row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        return row, self.items[offsets[0] : offsets[-1]]


class ItemScores(NamedTuple):
    """Items with vectors (N, D) and perhaps a bias (N,); a score is users @ vectors.T + bias."""

    vectors: np.ndarray
    bias: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Return the scores (B, N) of users (B, D), or the highest over K of (B, K, D).

        A user without finite numbers has the score -inf for all items.
        """
        flat = users.reshape(-1, users.shape[-1])
        table = flat @ self.vectors.T
        if users.ndim == 3:
            table = table.reshape(len(users), users.shape[1], -1).max(1)
        if self.bias is not None:
            table += self.bias
        broken = ~np.isfinite(flat).all(1)
        if broken.any():
            table[broken.reshape(len(users), -1).any(1)] = -np.inf
        return table

    def at(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Return the scores (B, m) of some items (B, m) of each user."""
        interests = users if users.ndim == 3 else users[:, None]
        found = np.einsum("bkd,bmd->bkm", interests, self.vectors[items], optimize=True).max(1)
        return found if self.bias is None else found + self.bias[items]


class ExactRanking:
    """The ranking of B users by all items.

    Args:
        table: the items.
        users: (B, D) or (B, K, D).
        seen: the items to leave out of the list of each user.
        offsets: what is added to the scores of some items of each user.
    """

    def __init__(
        self,
        table: ItemScores,
        users: np.ndarray,
        seen: Seen | None = None,
        offsets: Offsets | None = None,
    ) -> None:
        self.table, self.users, self.seen, self.offsets = table, users, seen, offsets

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
        found, own = [], []
        for block in blocks(rows.stop - rows.start, self._rows_at_once()):
            some = slice(rows.start + block.start, rows.start + block.stop)
            scores = self.table.scores(self.users[some])
            if self.offsets is not None:
                self.offsets.add(some, scores)
            if self.seen is not None:
                scores[self.seen.of(some)] = -np.inf
            if allowed is not None:
                scores[:, ~allowed] = -np.inf
            own.append(scores[:, also])
            found.append(best_of(scores, k))
        items, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return Best(items, values), np.concatenate(own)

    def _rows_at_once(self) -> int:
        interests = self.users.shape[1] if self.users.ndim == 3 else 1
        size = 4 * len(self.table) * interests
        return max(1, min(LIMITS.scores, max(8 * LIMITS.tile, FEW * size)) // size)


def best_of(scores: np.ndarray, k: int) -> Best:
    """Return the k largest of each row of scores (b, N), best first; equal ones in any order.

    They are in the k groups of items with the largest maxima: after one cheap pass only these are
    searched. A group has the items with the same remainder, because maxima of neighbours take
    longer.

    Example:
        >>> best_of(np.array([[1.0, 3.0, 2.0]]), 2)
        Best(items=array([[1, 2]]), scores=array([[3., 2.]]))
    """
    rows, n_items = scores.shape
    n_groups = n_items // GROUP
    if n_groups < 4 * k:
        return sorted_best(scores, None, k)
    maxima = scores[:, : n_groups * GROUP].reshape(rows, GROUP, n_groups).max(1)
    chosen = np.argpartition(maxima, n_groups - k, axis=1)[:, n_groups - k :]
    starts = np.arange(0, n_groups * GROUP, n_groups)
    inside = (chosen[:, None, :] + starts[:, None]).reshape(rows, -1)
    rest = np.broadcast_to(np.arange(n_groups * GROUP, n_items), (rows, n_items % GROUP))
    items = np.hstack([inside, rest])
    return sorted_best(np.take_along_axis(scores, items, 1), items, k)


def sorted_best(scores: np.ndarray, items: np.ndarray | None, k: int) -> Best:
    """Return the k largest of each row, and the items in their places."""
    width = scores.shape[1]
    places = np.argpartition(scores, width - k, axis=1)[:, width - k :]
    values = np.take_along_axis(scores, places, 1)
    order = np.argsort(-values, axis=1, kind="stable")
    places = np.take_along_axis(places, order, 1)
    found = places if items is None else np.take_along_axis(items, places, 1)
    return Best(found, np.take_along_axis(values, order, 1))
