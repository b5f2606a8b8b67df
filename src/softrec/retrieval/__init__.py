"""From scores to rankings over the full catalogue: how many items beat a label, and the k best.

Evaluation and serving both use this code, so that the rankings that are measured are the ones that
are recommended. There are two ways, with the same results, and the same tests run on both:

whole     one block of whole rows at a time, for any `Scores`: the readable reference
tiled     one tile of rows and items at a time, which stays in the cache until it was used; for
          scores that are computed in parts, such as products of vectors, on a CPU
"""

from __future__ import annotations

import torch
from torch import Tensor

from softrec.retrieval import tiled, whole
from softrec.retrieval.best import is_possible
from softrec.retrieval.results import NOT_RANKED, Seen, TopK, ranks_within
from softrec.retrieval.tiles import tile_of
from softrec.retrieval.whole import GROUP, score_blocks
from softrec.types import Products, Scores

__all__ = [
    "GROUP",
    "NOT_RANKED",
    "Seen",
    "TopK",
    "rank_and_top_k",
    "rank_of",
    "ranks_within",
    "score_blocks",
    "top_k",
]


@torch.no_grad()
def rank_of(scores: Scores, label: Tensor, seen: Seen | None = None) -> Tensor:
    """Return the rank of one item a row among all items, 1 is best, (B,) int64.

    Formula: 1 + number of other items with a score at least as high. Ties count against the label,
    so that a model with equal scores for all items gains nothing. NaN scores rank last, and a label
    whose score is NaN ranks after all items. A seen label ranks last, too: otherwise it would
    compete with new items only, and not with the other items of the history.
    """
    if isinstance(scores, Products):
        tile = tile_of(scores)
        if tile is not None:
            return tiled.rank_of(scores, label, seen, tile)
    return whole.rank_of(scores, label, seen)


@torch.no_grad()
def top_k(scores: Scores, k: int, seen: Seen | None = None) -> TopK:
    """Return the k best items of each row; unseen ones, if `seen` is given.

    If fewer than k items are left, the last places have the score -inf. NaN scores count as -inf,
    too.

    Args:
        scores: of P rows.
        k: how many, at most N.
        seen: the items to leave out.
    """
    whole.check(k, scores)
    if isinstance(scores, Products):
        tile = tile_of(scores)
        if tile is not None and is_possible(k, scores.n_items, tile):
            return tiled.top_k(scores, k, seen, tile)
    return whole.top_k(scores, k, seen)


@torch.no_grad()
def rank_and_top_k(
    scores: Scores, label: Tensor, k: int, seen: Seen | None = None
) -> tuple[Tensor, TopK]:
    """Return the results of `rank_of` and `top_k`, from one pass over the scores."""
    whole.check(k, scores)
    if isinstance(scores, Products):
        tile = tile_of(scores)
        if tile is not None and is_possible(k, scores.n_items, tile):
            return tiled.rank_and_top_k(scores, label, k, seen, tile)
    return whole.rank_and_top_k(scores, label, k, seen)
