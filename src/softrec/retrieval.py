"""From scores to rankings over the full catalogue, one block of rows at a time.

One pass computes the scores of a block and masks seen items. Then it either counts how many items
are ranked above a label (`rank_of`) or keeps the k best items (`top_k`). Evaluation and serving
both use this code, so that the rankings that are measured are the ones that are recommended. It
works for any `Scores`, whether products of vectors or counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from softrec.blocks import blocks
from softrec.limits import LIMITS
from softrec.types import Scores

GROUP = 64  # columns in a group; the first step of top_k compares the maxima of the groups
NOT_RANKED: int = torch.iinfo(torch.int64).max
"""The rank of an item below the cut-off that was looked at: a miss for every k."""


class Seen(NamedTuple):
    """Items to leave out of the ranking of each user, as pairs sorted by row."""

    offsets: Tensor  # (B + 1,) int64: row b has items[offsets[b]:offsets[b + 1]]
    items: Tensor  # (total,) int64

    def of(self, part: slice) -> tuple[Tensor, Tensor]:
        """Return the pairs (row, item) of some rows, rows counted from the start of `part`."""
        offsets = self.offsets[part.start : part.stop + 1]
        lengths = offsets.diff()
        rows = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
        return rows, self.items[int(offsets[0]) : int(offsets[-1])]


class TopK(NamedTuple):
    """The best items of each user, best first."""

    scores: Tensor  # (B, k)
    items: Tensor  # (B, k) int64


@torch.no_grad()  # scores are written to a buffer, which has no gradient
def score_blocks(scores: Scores, seen: Seen | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, scores (b, N)) for each block of rows; seen items have the score -inf.

    Args:
        scores: of P rows.
        seen: the items to leave out.

    Each block is overwritten by the next one.
    """
    row_bytes = scores.n_items * scores.tables * scores.like.element_size()
    size = max(1, min(len(scores), LIMITS.scores // row_bytes))
    buffer = scores.like.new_empty(size, scores.n_items)
    for rows in blocks(len(scores), size):
        block = scores.fill(rows, buffer[: rows.stop - rows.start])
        if seen is not None:
            block[seen.of(rows)] = -torch.inf
        yield rows, block


def rank_of(scores: Scores, label: Tensor, seen: Seen | None = None) -> Tensor:
    """Return the rank of one item a row among all items, 1 is best, (B,) int64.

    Formula: 1 + number of other items with a score at least as high. Ties count against the label,
    so that a model with equal scores for all items gains nothing. NaN scores rank last, and a label
    whose score is NaN ranks after all items. A seen label ranks last, too: otherwise it would
    compete with new items only, and not with the other items of the history.
    """
    ranks = torch.empty_like(label)
    for rows, block in score_blocks(scores, seen):
        ranks[rows] = _ranks(block, label[rows])
    return ranks


def top_k(scores: Scores, k: int, seen: Seen | None = None) -> TopK:
    """Return the k best items of each row; unseen ones, if `seen` is given.

    If fewer than k items are left, the last places have the score -inf. NaN scores count as -inf,
    too.

    Args:
        scores: of P rows.
        k: how many, at most N.
        seen: the items to leave out.
    """
    best = _room(scores, k)
    for rows, block in score_blocks(scores, seen):
        best.scores[rows], best.items[rows] = _best_numbers(block, k)
    return best


def rank_and_top_k(
    scores: Scores, label: Tensor, k: int, seen: Seen | None = None
) -> tuple[Tensor, TopK]:
    """Return the results of `rank_of` and `top_k`, from one pass over the scores."""
    ranks, best = torch.empty_like(label), _room(scores, k)
    for rows, block in score_blocks(scores, seen):
        best.scores[rows], best.items[rows] = _best_numbers(block, k)
        ranks[rows] = _ranks(block, label[rows])  # last, because it overwrites the block
    return ranks, best


def _room(scores: Scores, k: int) -> TopK:
    n_items = scores.n_items
    if not 1 <= k <= n_items:
        raise ValueError(f"k must be between 1 and the {n_items} items of the catalogue, got {k}")
    return TopK(
        scores.like.new_empty(len(scores), k),
        torch.empty(len(scores), k, dtype=torch.int64, device=scores.like.device),
    )


def _ranks(block: Tensor, label: Tensor) -> Tensor:
    """Return the rank of the label in each row of a block, which is overwritten."""
    exact = torch.float64 if block.shape[1] >= 2**24 else torch.float32
    mark = block.gather(1, label[:, None])
    # The label itself is at least as good, unless its score is NaN, which equals nothing.
    # Counted in place, as numbers: a table of booleans is ten times slower to sum on a CPU.
    at_least = block.ge_(mark).sum(1, dtype=exact).long()
    return at_least.masked_fill_(mark.isnan().squeeze(1), block.shape[1])


def _best_numbers(block: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest values of each row and their columns; NaN counts as -inf."""
    values, columns = _best(block, k)
    if values[:, 0].isnan().any():  # topk treats NaN as the largest number, so it is here
        return _best(block.nan_to_num(-torch.inf, torch.inf, -torch.inf), k)
    return values, columns


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest values of each row and their columns, exactly.

    They are in the k groups of columns with the largest maxima, because any other column is below
    at least k group maxima. So after one cheap pass only k groups need to be searched.
    """
    rows, n_items = scores.shape
    n_groups = n_items // GROUP
    if n_groups < 4 * k:
        values, columns = scores.topk(k, dim=1)
        return values, columns
    grouped = scores[:, : n_groups * GROUP].unflatten(1, (n_groups, GROUP))
    chosen = grouped.amax(2).topk(k, dim=1, sorted=False).indices
    inside = torch.arange(GROUP, device=scores.device)
    tail = torch.arange(n_groups * GROUP, n_items, device=scores.device).expand(rows, -1)
    columns = torch.cat([(chosen[:, :, None] * GROUP + inside).flatten(1), tail], 1)
    values, places = scores.gather(1, columns).topk(k, dim=1)
    return values, columns.gather(1, places)


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
