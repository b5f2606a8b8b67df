"""The best items of an index, with exact scores; the exact ranking where an index is no help."""

from __future__ import annotations

import numpy as np

from softrec.blocks import blocks
from softrec.limits import LIMITS
from softrec.serving.exact import ExactRanking, ItemScores, Seen, sorted_best
from softrec.serving.index.kinds import Index
from softrec.serving.prior import Offsets
from softrec.serving.ruled import Best

FEW = 8
"""An index is asked for at most an eighth of the items; for more all items are scored."""


class IndexRanking:
    """The ranking of B users by the items that an index finds.

    What a user has seen and what rules leave out is asked for in addition, and left out afterwards.
    Where this would be a large part of all items, or fewer items are left than asked for, all items
    are scored. So a list is never shorter than the exact one.

    Items with an offset are scored in any case. Offsets only raise scores, so that the others among
    the k best are among the k best without offsets, too.

    Args:
        index: of all items.
        table: the items.
        users: (B, D) or (B, K, D).
        seen: the items to leave out of the list of each user.
        offsets: what is added to the scores of some items of each user.
    """

    def __init__(
        self,
        index: Index,
        table: ItemScores,
        users: np.ndarray,
        seen: Seen | None = None,
        offsets: Offsets | None = None,
    ) -> None:
        self.index, self.table, self.users, self.seen = index, table, users, seen
        self.offsets = offsets
        self.exact = ExactRanking(table, users, seen, offsets)

    def best(
        self, rows: slice, k: int, allowed: np.ndarray | None, also: np.ndarray
    ) -> tuple[Best, np.ndarray]:
        """Return about the k best allowed items of some users, and exact scores of other items.

        The arguments are those of `ExactRanking.best`.
        """
        depth = self._depth(rows, k, allowed)
        if depth * FEW > len(self.table) or not np.isfinite(self.users[rows]).all():
            return self.exact.best(rows, k, allowed, also)
        interests = self.users.shape[1] if self.users.ndim == 3 else 1
        width = depth * interests + self._raised(rows)
        size = LIMITS.gathered // (width * self.users.shape[-1])
        parts = [
            self._found(slice(rows.start + some.start, rows.start + some.stop), k, depth, allowed)
            for some in blocks(rows.stop - rows.start, max(1, size))
        ]
        items, scores = (np.concatenate(part) for part in zip(*parts, strict=True))
        return self._filled_up(Best(items, scores), rows, k, allowed), self._own(
            rows, also, allowed
        )

    def _raised(self, rows: slice) -> int:
        """Return how many items of a user have an offset, at most."""
        if self.offsets is None:
            return 0
        return int(np.diff(self.offsets.starts[rows.start : rows.stop + 1]).max(initial=0))

    def _depth(self, rows: slice, k: int, allowed: np.ndarray | None) -> int:
        """Return how many items to ask for, so that k are probably left."""
        depth = k
        if self.seen is not None:
            depth += int(np.diff(self.seen.offsets[rows.start : rows.stop + 1]).max(initial=0))
        if allowed is not None:
            depth = int(2 * depth * len(allowed) / max(1, np.count_nonzero(allowed)))
        return depth

    def _found(self, rows: slice, k: int, depth: int, allowed: np.ndarray | None) -> Best:
        users = self.users[rows]
        flat = users.reshape(-1, users.shape[-1])
        items = self.index.search(flat, depth).reshape(len(users), -1)
        if self.offsets is not None:
            items = np.hstack([items, self.offsets.listed(rows)])
        items = np.sort(items, axis=1)
        items[:, 1:][items[:, 1:] == items[:, :-1]] = -1  # found by several interests
        scores = self._scores(rows, items)
        scores[(items < 0) | self._left_out(rows, items, allowed)] = -np.inf
        return sorted_best(scores, items.clip(min=0), k)

    def _scores(self, rows: slice, items: np.ndarray) -> np.ndarray:
        """Return the scores of the items (b, m) of some users."""
        scores = self.table.at(self.users[rows], items)
        return scores if self.offsets is None else scores + self.offsets.at(rows, items)

    def _left_out(self, rows: slice, items: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
        """Return which of the items (b, m) are seen or not allowed."""
        out = np.zeros(items.shape, bool) if allowed is None else ~allowed[items]
        if self.seen is not None:
            row, seen = self.seen.of(rows)
            own = np.arange(len(items))[:, None] * len(self.table) + items
            out |= np.isin(own, row * len(self.table) + seen)
        return out

    def _own(self, rows: slice, also: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
        """Return the scores (b, p) of other items; those that are left out have -inf."""
        items = np.broadcast_to(also, (rows.stop - rows.start, len(also)))
        if not len(also):
            return np.empty(items.shape, np.float32)
        scores = self._scores(rows, items)
        scores[self._left_out(rows, items, allowed)] = -np.inf
        return scores

    def _filled_up(self, best: Best, rows: slice, k: int, allowed: np.ndarray | None) -> Best:
        """Return the lists, those with fewer than k items from the exact ranking."""
        for short in np.flatnonzero(~(best.scores[:, -1] > -np.inf)).tolist():
            row = rows.start + short
            whole, _ = self.exact.best(slice(row, row + 1), k, allowed, np.empty(0, np.int64))
            best.items[short], best.scores[short] = whole.items[0], whole.scores[0]
        return best
