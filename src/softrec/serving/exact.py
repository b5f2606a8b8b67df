"""The best items by inner products of vectors, in NumPy alone: the scores of an export."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Return the k largest of each row of scores (b, N), best first.

    Of equal ones the first items are kept, and come first, as in `softrec.retrieval.top_k`.

    They are in the k groups of items with the largest maxima: after one cheap pass only these are
    searched. A group has the items with the same remainder, because maxima of neighbours take
    longer. If another group has an item that equals the last one, the maxima of more than k groups
    reach it.

    Example:
        >>> best_of(np.array([[1.0, 3.0, 2.0, 3.0]]), 3)
        Best(items=array([[1, 3, 2]]), scores=array([[3., 3., 2.]]))
    """
    rows, n_items = scores.shape
    n_groups = n_items // GROUP
    if n_groups < 4 * k:
        return _with_first_of_equal(sorted_best(scores, None, k), scores, [scores])
    maxima = scores[:, : n_groups * GROUP].reshape(rows, GROUP, n_groups).max(1)
    chosen = np.argpartition(maxima, n_groups - k, axis=1)[:, n_groups - k :]
    starts = np.arange(0, n_groups * GROUP, n_groups)
    inside = (chosen[:, None, :] + starts[:, None]).reshape(rows, -1)
    rest = np.broadcast_to(np.arange(n_groups * GROUP, n_items), (rows, n_items % GROUP))
    items = np.hstack([inside, rest])
    searched = np.take_along_axis(scores, items, 1)
    return _with_first_of_equal(sorted_best(searched, items, k), scores, [maxima, searched])


def _with_first_of_equal(best: Best, scores: np.ndarray, tables: Sequence[np.ndarray]) -> Best:
    """Return the best, of items as good as the last one those with the smallest numbers.

    Args:
        best: items whose order is right, but that may have been chosen among others as good.
        scores: (b, N) of all items.
        tables: (b, m) each; in one of them more than k numbers reach the last one of a row that has
            others as good.
    """
    k, last = best.items.shape[1], best.scores[:, -1:]
    more = np.max([(table >= last).sum(1) for table in tables], axis=0) > k
    for row in np.flatnonzero(more & (last[:, 0] > -np.inf)):
        above = np.count_nonzero(best.scores[row] > last[row])
        best.items[row, above:] = np.flatnonzero(scores[row] == last[row])[: k - above]
    return best


def sorted_best(scores: np.ndarray, items: np.ndarray | None, k: int) -> Best:
    """Return the k largest of each row, and the items in their places; equal ones by number."""
    width = scores.shape[1]
    places = np.argpartition(scores, width - k, axis=1)[:, width - k :]
    values = np.take_along_axis(scores, places, 1)
    found = places if items is None else np.take_along_axis(items, places, 1)
    order = np.lexsort((found, -values), axis=1)
    return Best(np.take_along_axis(found, order, 1), np.take_along_axis(values, order, 1))
