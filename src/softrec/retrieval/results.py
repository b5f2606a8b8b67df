"""What a ranking reads and returns: seen items, the best items, and ranks among these."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

NOT_RANKED: int = torch.iinfo(torch.int64).max
"""The rank of an item below the cut-off that was looked at: a miss for every k."""


class Seen(NamedTuple):
    """Items to leave out of the ranking of each user, as pairs sorted by row."""

    offsets: Tensor  # (B + 1,) int64: row b has items[offsets[b]:offsets[b + 1]]
    items: Tensor  # (total,) int64

    def of(self, part: slice) -> tuple[Tensor, Tensor]:
        """Return the pairs (row, item) of some rows, rows counted from the start of `part`."""
        offsets = self.offsets[part.start : part.stop + 1]
        items = self.items[int(offsets[0]) : int(offsets[-1])]
        return torch.repeat_interleave(offsets.diff(), output_size=len(items)), items


class TopK(NamedTuple):
    """The best items of each user, best first."""

    scores: Tensor  # (B, k)
    items: Tensor  # (B, k) int64


def ranks_within(best: TopK, row: Tensor, item: Tensor, k: int) -> Tensor:
    """Return the rank of each pair (row, item) if it is at most `k`, else `NOT_RANKED`, (R,).

    The rank is the same as of `rank_of`, but found among the best items; for users with several
    relevant items. Ties count against the item: its rank is the number of scores that are not below
    its own. An item that was left out is a miss.

    Args:
        best: the result of `top_k`, with at least k + 1 items of each row, or all N.
        row: (R,) int64 the row of each pair.
        item: (R,) int64 the relevant item.
        k: the largest rank of interest.
    """
    scored = best.scores[row]
    place = best.items[row] == item[:, None]
    own = scored.masked_fill(~place, -torch.inf).amax(1, keepdim=True)
    rank = torch.count_nonzero(scored >= own, dim=1)
    # An item that ties with the last of the best scores may tie with items that are not among them.
    unsure = (rank > k) | ~place.any(1)
    return rank.masked_fill(unsure, NOT_RANKED)
