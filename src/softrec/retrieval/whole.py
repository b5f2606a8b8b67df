"""Rankings from whole rows, one block of rows at a time.

One pass computes the scores of a block and masks seen items. Then it either counts how many items
are ranked above a label (`rank_of`) or keeps the k best items (`top_k`).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from softrec.blocks import blocks
from softrec.limits import LIMITS
from softrec.retrieval.one import GROUP, best_of_one, is_for_numpy, top_k_of_one
from softrec.retrieval.results import Seen, TopK
from softrec.types import Scores, products_of

FEW = 64  # rows


@torch.no_grad()  # scores are written to a buffer, which has no gradient
def score_blocks(
    scores: Scores,
    seen: Seen | None = None,
    allowed: Tensor | None = None,
    among: slice | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, scores (b, N)) for each block of rows; items left out have the score -inf.

    Args:
        scores: of P rows.
        seen: the items to leave out of each row.
        allowed: (N,) bool; all other items are left out of all rows.
        among: the rows, by default all.

    Each block is overwritten by the next one.
    """
    begin, stop = (among.start, among.stop) if among is not None else (0, len(scores))
    size = max(1, min(stop - begin, _most_bytes(scores) // _row_bytes(scores)))
    buffer = scores.like.new_empty(size, scores.n_items)
    left_out = None if allowed is None else _left_out(allowed, scores.like)
    for some in blocks(stop - begin, size):
        rows = slice(begin + some.start, begin + some.stop)
        block = scores.fill(rows, buffer[: rows.stop - rows.start])
        if seen is not None:
            block[seen.of(rows)] = -torch.inf
        if left_out is not None:
            block += left_out
        yield rows, block


def _left_out(allowed: Tensor, like: Tensor) -> Tensor:
    """Return 0 for allowed items and -inf for all others, (N,), to be added to scores.

    Like a bias it costs one pass over a block, however many items are allowed.
    """
    return like.new_zeros(len(allowed)).masked_fill_(~allowed.to(like.device), -torch.inf)


def _row_bytes(scores: Scores) -> int:
    return scores.n_items * scores.tables * scores.like.element_size()


def _most_bytes(scores: Scores) -> int:
    """Return the bytes of a block; of products on a CPU a few tiles, but at least `FEW` rows.

    A product of fewer rows reads the item vectors too often, and a larger block is not in a cache
    when it is read. Threads that share each operation need more.
    """
    if scores.like.device.type != "cpu" or products_of(scores) is None:
        return LIMITS.scores
    some = LIMITS.tile * (8 if torch.get_num_threads() == 1 else 16)
    return min(LIMITS.scores, max(some, FEW * _row_bytes(scores)))


@torch.no_grad()
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


@torch.no_grad()
def top_k(scores: Scores, k: int, seen: Seen | None = None, allowed: Tensor | None = None) -> TopK:
    """Return the k best items of each row; unseen ones, if `seen` is given, and allowed ones.

    Of equal scores the items with the smaller numbers come first, and are listed at the end of a
    list, so that a row has the same list whoever else is asked for. If fewer than k items are left,
    the last places have the score -inf. NaN scores count as -inf, too.

    Args:
        scores: of P rows.
        k: how many, at most N.
        seen: the items to leave out of each row.
        allowed: (N,) bool; all other items are left out of all rows.
    """
    _check(k, scores)
    if len(scores) == 1 and is_for_numpy(scores.like):
        return top_k_of_one(scores, k, seen, allowed)
    best = _room(scores, k)
    for rows, block in score_blocks(scores, seen, allowed):
        best.scores[rows], best.items[rows] = _best_numbers(block, k)
    return best


@torch.no_grad()
def top_k_and_scores(
    scores: Scores,
    k: int,
    items: Tensor,
    among: slice,
    seen: Seen | None = None,
    allowed: Tensor | None = None,
) -> tuple[TopK, Tensor]:
    """Return the result of `top_k` for some rows, and their scores (b, m) of some items.

    Args:
        scores: of P rows.
        k: how many, at most N.
        items: (m,) int64 the items whose scores are returned, -inf where they are left out.
        among: the b rows.
        seen: the items to leave out of each row.
        allowed: (N,) bool; all other items are left out of all rows.
    """
    _check(k, scores)
    best, own = [], []
    for _, block in score_blocks(scores, seen, allowed, among):
        own.append(block[:, items])
        best.append(_best_numbers(block, k))
    values, columns = (torch.cat(parts) for parts in zip(*best, strict=True))
    return TopK(values, columns), torch.cat(own)


@torch.no_grad()
def rank_and_top_k(
    scores: Scores, label: Tensor, k: int, seen: Seen | None = None
) -> tuple[Tensor, TopK]:
    """Return the results of `rank_of` and `top_k`, from one pass over the scores."""
    _check(k, scores)
    ranks, best = torch.empty_like(label), _room(scores, k)
    for rows, block in score_blocks(scores, seen):
        best.scores[rows], best.items[rows] = _best_numbers(block, k)
        ranks[rows] = _ranks(block, label[rows])  # last, because it overwrites the block
    return ranks, best


def _check(k: int, scores: Scores) -> None:
    """Refuse a number of best items that the catalogue does not have."""
    n_items = scores.n_items
    if not 1 <= k <= n_items:
        raise ValueError(f"k must be between 1 and the {n_items} items of the catalogue, got {k}")


def _room(scores: Scores, k: int) -> TopK:
    """Return an empty table for the k best items of each row."""
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
    """Return the k largest values of each row and their columns; NaN counts as -inf.

    Of equal values the first columns are kept, and come first; `topk` has no order among them.
    """
    if len(block) == 1 and is_for_numpy(block):
        return best_of_one(block, k)
    values, columns, more = _best(block, k)
    if values[:, 0].isnan().any():  # topk treats NaN as the largest number, so it is here
        block = block.nan_to_num(-torch.inf, torch.inf, -torch.inf)
        values, columns, more = _best(block, k)
    tied = (values[:, 1:] == values[:, :-1]).any(1) | more
    if tied.any():
        rows = (more & (values[:, -1] > -torch.inf)).nonzero()[:, 0]
        for part in blocks(len(rows), FEW):
            some = rows[part]
            columns[some] = _first_of_equal(block, some, values[some], columns[some])
        columns[tied] = _in_order(values[tied], columns[tied])
    return values, columns


def _in_order(values: Tensor, columns: Tensor) -> Tensor:
    """Return the columns of values that are sorted, of equal values the first column first."""
    columns, order = columns.sort(dim=1)
    place = values.gather(1, order).argsort(dim=1, descending=True, stable=True)
    return columns.gather(1, place)


def _first_of_equal(block: Tensor, rows: Tensor, values: Tensor, columns: Tensor) -> Tensor:
    """Return the columns (b, k) of some rows' largest values, of those equal to the last the first.

    Args:
        block: (B, N).
        rows: (b,) int64 which rows.
        values: (b, k) their largest values, the largest first.
        columns: (b, k) where these are, of equal values anywhere.
    """
    n_items, k = block.shape[1], values.shape[1]
    if is_for_numpy(block):  # half of the time, as a row is read and no table of it is written
        return torch.cat([best_of_one(block[row : row + 1], k)[1] for row in rows.tolist()])
    last = values[:, -1:]
    backwards = torch.arange(n_items - 1, -1, -1, dtype=torch.int32, device=block.device)
    equal = n_items - 1 - torch.where(block[rows] == last, backwards, -1).topk(k).values.long()
    place = torch.arange(k, device=block.device) - (values > last).sum(1, keepdim=True)
    return torch.where(place < 0, columns, equal.gather(1, place.clamp(min=0)))


def _best(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the k largest values of each row, their columns, and whether more equal the last.

    They are in the k groups of columns with the largest maxima, because any other column is below
    at least k group maxima. So after one cheap pass only k groups need to be searched. If another
    group has a column that equals the last value, the maxima of more than k groups reach it.
    """
    rows, n_items = scores.shape
    n_groups = n_items // GROUP
    if n_groups < 4 * k:
        values, columns = scores.topk(min(k + 1, n_items), dim=1)
        more = (values[:, k:] == values[:, k - 1 : k]).any(1)
        return values[:, :k], columns[:, :k], more
    grouped = scores[:, : n_groups * GROUP].unflatten(1, (n_groups, GROUP))
    maxima = grouped.amax(2)
    chosen = maxima.topk(k, dim=1, sorted=False).indices
    inside = torch.arange(GROUP, device=scores.device)
    columns = (chosen[:, :, None] * GROUP + inside).flatten(1)
    if n_items % GROUP:
        tail = torch.arange(n_groups * GROUP, n_items, device=scores.device).expand(rows, -1)
        columns = torch.cat([columns, tail], 1)
    searched = scores.gather(1, columns)
    values, places = searched.topk(k, dim=1)
    last = values[:, -1:]
    more = torch.maximum(_reached(maxima, last), _reached(searched, last)) > k
    return values, columns.gather(1, places), more


def _reached(table: Tensor, mark: Tensor) -> Tensor:
    """Return how many numbers of each row are at least its mark; the table is overwritten."""
    return table.ge_(mark).sum(1, dtype=torch.float32)
