"""Ranks from tiles: the scores that are at least as high as the label's are counted tile by tile.

The label's score is needed before the tile with the label is reached. It is computed first, for
the label alone, and compared with the one in the tile. If a library rounds the two differently, the
block is counted again with the score of the tile. So it always is a score of the same products.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from softrec.blocks import blocks
from softrec.retrieval.results import Seen
from softrec.retrieval.tiles import Place, Tiles
from softrec.types import Products

ALONE = 64  # labels whose scores are computed at once, of which one in 64 is needed
Reader = Callable[[Place, Tensor], None]


def ranks_of(tiles: Tiles, rows: slice, label: Tensor, read: Reader | None = None) -> Tensor:
    """Return the rank of the label (b,) of each row of a block; rules as of `rank_of`.

    Args:
        tiles: of all rows.
        rows: the block.
        label: (b,) int64.
        read: gets the place and the scores of each tile before they are overwritten.
    """
    guess = _alone(tiles.scores, rows, label, tiles.seen)
    counts, own = _counted(tiles, rows, label, guess, read)
    if not torch.allclose(own, guess, rtol=0, atol=0, equal_nan=True):
        counts, own = _counted(tiles, rows, label, own, None)
    return counts.long().masked_fill_(own.isnan(), tiles.scores.n_items)


def _counted(
    tiles: Tiles, rows: slice, label: Tensor, mark: Tensor, read: Reader | None
) -> tuple[Tensor, Tensor]:
    """Return how many scores are at least `mark` (b,), and the scores of the labels."""
    n_rows = len(label)
    labels = tiles.by_tile(n_rows, torch.arange(n_rows), label)
    marks, found = mark[:, None].split(tiles.height), []
    exact = torch.float64 if tiles.width >= 2**24 else mark.dtype
    counts = mark.new_empty(len(tiles.first), n_rows, dtype=exact)
    of_tile = counts.view(-1).split([len(part) for part in marks] * len(tiles.first))
    for place, tile in tiles.of(rows):
        if read is not None:
            read(place, tile)
        cells = labels.flat[place.number]
        if cells is not None:
            found.append(place.flat.index_select(0, cells))
        # Counted in place, as numbers: a table of booleans is ten times slower to sum on a CPU.
        at_least = tile.ge_(marks[place.rows.start // tiles.height])
        if tiles.repeated[place.items]:
            at_least = at_least[:, tiles.repeated[place.items] :]
        torch.sum(at_least, 1, dtype=exact, out=of_tile[place.number])
    own = torch.empty_like(mark)
    own[labels.order] = torch.cat(found)
    return counts.sum(0, dtype=torch.float64), own


def _alone(scores: Products, rows: slice, label: Tensor, seen: Seen | None) -> Tensor:
    """Return the score of the label of each row, -inf if it was seen, (b,)."""
    users, found = scores.users[rows], torch.empty(len(label), dtype=scores.like.dtype)
    for part in blocks(len(label), ALONE):
        some = Products(users[part], scores.of_items(label[part]))
        square = some.fill(slice(0, len(some)), scores.like.new_empty(len(some), some.n_items))
        found[part] = square.diagonal()
    if seen is not None:
        row, item = seen.of(rows)
        found[row[item == label[row]]] = -torch.inf
    return found
