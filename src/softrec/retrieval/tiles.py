"""Tiles of rows and items: products that stay in the cache until they were used.

A product of all items with a block of rows is written to memory and read again by whatever ranks
it, which takes longer than the product. A tile of half a second-level cache is ranked while it is
there. The item vectors of a tile are used for several tiles of rows, one below the other, before
those of the next tile are read. Each of `limits.threads` has a tile of its own, because a cache
belongs to a core.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from softrec.blocks import blocks
from softrec.limits import LIMITS
from softrec.retrieval.results import Seen
from softrec.retrieval.whole import FEW
from softrec.threads import Threads, shared
from softrec.types import Products, Room, write_products

SMALL = 8  # tiles in a table of scores up to which whole rows are as fast
BELOW = 8  # tiles of rows in a block
STEP = 16  # the width of a tile is a multiple of it; `best` compares as many items at once


class Tile(NamedTuple):
    """The shape of a tile."""

    rows: int
    items: int


def tile_of(scores: Products) -> Tile | None:
    """Return the tile for some scores; None where whole rows are faster, or parts impossible.

    Formula: sqrt(M) / 2 rows and 2 sqrt(M) items for M numbers in `limits.tile`, where a row counts
    K times for K interests; more items if there are few rows, and more rows if there are few items.
    A square tile would need the fewest bytes of both factors, but maxima of groups are found fast
    in wide tiles only. A GPU is fastest with large blocks.
    """
    if scores.like.device.type != "cpu" or scores.like.dtype not in (
        torch.float32,
        torch.float64,
    ):
        return None
    numbers = max(LIMITS.tile // scores.like.element_size(), 1)
    n_items, n_rows, per_row = scores.n_items, len(scores), scores.tables
    if n_rows * per_row * n_items <= SMALL * numbers or n_items < 2 * STEP:
        return None
    if FEW * per_row * n_items <= numbers:  # a tile has whole rows
        return None
    if shared():
        return None
    share = -(-n_rows // LIMITS.threads)
    rows = max(1, min(share, math.isqrt(numbers) // 2 // per_row))
    items = numbers // (rows * per_row) // STEP * STEP
    items = min(max(items, STEP), n_items // STEP * STEP)
    return Tile(max(1, min(share, numbers // (items * per_row))), items)


def in_threads(work: Callable[[Iterator[slice]], None], n_rows: int, tile: Tile) -> None:
    """Call `work` in `limits.threads` threads with blocks of rows, so that each is done once.

    A thread takes the next block when it has finished one.
    """
    threads = LIMITS.threads
    parts = list(blocks(n_rows, min(tile.rows * BELOW, -(-n_rows // threads))))
    left = iter(parts)
    Threads(min(threads, len(parts))).run(lambda _: work(left))


class Place(NamedTuple):
    """Where a tile is."""

    items: int  # its number among the tiles of the same rows
    rows: slice  # of the block
    number: int  # among all tiles of the block, in their order
    flat: Tensor  # (b width,) its scores


class ByTile(NamedTuple):
    """Cells of a block of rows, in the order of the tiles."""

    order: Tensor  # (n,) the places of the cells before
    flat: Sequence[Tensor | None]  # for each tile, their places in it, if it has any


class Tiles:
    """The tiles of blocks of rows, each overwritten by the next one.

    All have the same width, so that equal item vectors have equal scores: a product of another
    shape may be computed, and rounded, in another order. The last tile reaches back over items of
    the tile before it.

    Args:
        scores: of P rows.
        seen: items whose score is -inf.
        tile: the shape.

    Attributes:
        room: (rows, width), where the tiles are written to.
        first: the first item of each tile.
        repeated: how many items of each tile were in the tile before.
    """

    def __init__(self, scores: Products, seen: Seen | None, tile: Tile) -> None:
        self.scores, self.seen, self.height, self.width = scores, seen, tile.rows, tile.items
        self.room = scores.like.new_empty(tile)
        begins = range(0, scores.n_items, tile.items)
        self.first = [min(begin, scores.n_items - tile.items) for begin in begins]
        self.repeated = [begin - first for begin, first in zip(begins, self.first, strict=True)]
        self._first = torch.tensor(self.first)
        parts = (slice(first, first + tile.items) for first in self.first)
        self._items = [scores.of_items(part) for part in parts]
        self._products = Room()

    def of(self, rows: slice) -> Iterator[tuple[Place, Tensor]]:
        """Yield the tiles of a block of rows (b, width); a repeated item has the score -inf."""
        n_rows = rows.stop - rows.start
        parts = list(blocks(n_rows, self.height))
        rooms = [self.room[: part.stop - part.start] for part in parts]
        users = self.scores.users[rows].split(self.height)
        below = list(zip(parts, users, rooms, [room.view(-1) for room in rooms], strict=True))
        none = (None,) * (len(parts) * len(self._items))
        masked = none if self.seen is None else self.by_tile(n_rows, *self.seen.of(rows)).flat
        number = 0
        for items, vectors in enumerate(self._items):
            for part, some, tile, flat in below:
                write_products(some, vectors, tile, self._products)
                cells = masked[number]
                if cells is not None:
                    flat.index_fill_(0, cells, -torch.inf)
                if self.repeated[items]:
                    tile[:, : self.repeated[items]] = -torch.inf
                yield Place(items, part, number, flat), tile
                number += 1

    def by_tile(self, n_rows: int, row: Tensor, item: Tensor) -> ByTile:
        """Return cells (row, item) of a block of `n_rows` rows in the order of the tiles."""
        below = -(-n_rows // self.height)
        number, order = (item // self.width * below + row // self.height).sort()
        row, item = row[order], item[order]
        flat = row % self.height * self.width + item - self._first[item // self.width]
        counts = number.bincount(minlength=len(self.first) * below).tolist()
        cells = zip(flat.split(counts), counts, strict=True)
        return ByTile(order, [some if count else None for some, count in cells])
