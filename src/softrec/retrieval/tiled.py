"""Rankings from tiles that stay in the cache: the results of `whole`, for products on a CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from softrec.retrieval import whole
from softrec.retrieval.best import LOWER, Best, is_possible, place_of, sampled
from softrec.retrieval.counts import ranks_of
from softrec.retrieval.results import Seen, TopK
from softrec.retrieval.tiles import Tile, Tiles, in_threads, tile_of
from softrec.types import Products


def rank_of(scores: Products, label: Tensor, seen: Seen | None, tile: Tile) -> Tensor:
    """Return the result of `softrec.retrieval.rank_of`."""
    ranks = torch.empty_like(label)

    def work(parts: Iterator[slice]) -> None:
        tiles = Tiles(scores, seen, tile)
        for rows in parts:
            ranks[rows] = ranks_of(tiles, rows, label[rows])

    in_threads(work, len(scores), tile)
    return ranks


def top_k(scores: Products, k: int, seen: Seen | None, tile: Tile) -> TopK:
    """Return the result of `softrec.retrieval.top_k`."""
    return _best(scores, k, seen, tile, None)[1]


def rank_and_top_k(
    scores: Products, label: Tensor, k: int, seen: Seen | None, tile: Tile
) -> tuple[Tensor, TopK]:
    """Return the results of both, from one pass over the scores."""
    return _best(scores, k, seen, tile, label)


def _best(
    scores: Products, k: int, seen: Seen | None, tile: Tile, label: Tensor | None, lower: int = 1
) -> tuple[Tensor, TopK]:
    """Return the ranks, if there are labels, and the best items.

    Args:
        scores: of P rows.
        k: how many items.
        seen: the items to leave out.
        tile: the shape.
        label: (P,) int64, or None.
        lower: factor of the place of the guess.
    """
    best, sample = whole.room(scores, k), sampled(scores, tile)
    place = lower * place_of(k, scores.n_items, sample.n_items)
    ranks = torch.empty(len(scores) if label is not None else 0, dtype=torch.int64)
    missing = torch.ones(len(scores), dtype=torch.bool)

    def work(parts: Iterator[slice]) -> None:
        tiles = Tiles(scores, seen, tile)
        reader = Best(k, tiles, sample, place)
        for rows in parts:
            reader.begin(rows)
            if label is not None:
                ranks[rows] = ranks_of(tiles, rows, label[rows], reader.read)
            else:
                for at, scored in tiles.of(rows):
                    reader.read(at, scored)
            enough, values, items = reader.end()
            at = torch.from_numpy(enough + rows.start)
            best.scores[at] = torch.from_numpy(values).to(best.scores.dtype)
            best.items[at] = torch.from_numpy(items.astype(np.int64, copy=False))
            missing[at] = False

    in_threads(work, len(scores), tile)
    left = missing.nonzero()[:, 0]
    if len(left):
        again = _again(scores.chosen(left), k, None if seen is None else seen.chosen(left), lower)
        best.scores[left], best.items[left] = again
    return ranks, best


def _again(scores: Products, k: int, seen: Seen | None, lower: int) -> TopK:
    """Return the best items of the rows for which a guess was too high or useless."""
    tile = tile_of(scores)
    if tile is None or lower > 1 or not is_possible(k, scores.n_items, tile):
        return whole.top_k(scores, k, seen)
    return _best(scores, k, seen, tile, None, LOWER)[1]
