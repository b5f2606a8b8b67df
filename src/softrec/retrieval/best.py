"""The best items from tiles: a guess of a score that few items reach, and the items that reach it.

One in `SAMPLED` items is scored first. A high score among these is reached by few items of the
catalogue, but by k of them almost surely. Every tile is searched for items that reach it, by the
maxima of groups. At least k of them contain the k best, exactly. For the few rows where there are
less, the search is repeated with a lower guess, and then whole rows are searched.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from softrec.retrieval.tiles import STEP, Tile, Tiles
from softrec.types import Products

SAMPLED = 20  # one item in as many is scored for the guess
CROWD = 4  # if more than one group in as many has an item that reaches the guess, it is useless


def place_of(k: int, n_items: int, sample: int) -> int:
    """Return the place in a sample that is almost surely below the place k of all items.

    Of the k best, a number near k sample / n_items is in the sample, with a standard deviation of
    at most its square root.

    Example:
        >>> place_of(20, 43_229, 2048)
        4
    """
    expected = k * sample / n_items
    return math.ceil(expected + 3 * math.sqrt(expected))


def sampled(scores: Products, tile: Tile) -> Products:
    """Return the scores of a sample of the items: whole tiles, evenly over the catalogue."""
    n_items = scores.n_items
    size = max(1, round(n_items / SAMPLED / tile.items)) * tile.items
    return Products(scores.users, scores.of_items(torch.arange(size) * n_items // size))


class Best:
    """The k best items of the rows of one block after another.

    Args:
        k: how many.
        tiles: of all rows; `read` is called with each tile of a block.
        sample: the result of `sampled`.
        place: in the sample, of the score that is guessed.
    """

    def __init__(self, k: int, tiles: Tiles, sample: Products, place: int) -> None:
        self.k, self.tiles, self.place = k, tiles, place
        self.sample = Tiles(sample, None, Tile(*tiles.room.shape))
        self.groups = tiles.width // STEP
        self.inside = np.arange(STEP) * self.groups  # the items of a group
        self.numbers = tiles.room.view(-1).numpy()
        self.room = tiles.room.new_empty(len(tiles.room), self.groups)

    def begin(self, rows: slice) -> None:
        """Guess a score for each row of a block."""
        maxima = [self._maxima(tile).copy() for _, tile in self.sample.of(rows)]
        some = np.concatenate(maxima, 1)
        below = some.shape[1] - self.place
        self.guess = np.partition(some, below, 1)[:, below, None]
        self.guess[self.guess == -np.inf] = np.nan  # it is reached by all, and NaN by none
        self.found: list[tuple[np.ndarray, np.ndarray]] = []
        self.firsts: list[int] = []
        self.crowded = False

    def _maxima(self, tile: torch.Tensor) -> np.ndarray:
        """Return the maxima of the groups: every item whose number has the same remainder."""
        groups = tile.view(len(tile), STEP, self.groups)
        return torch.amax(groups, 1, out=self.room[: len(tile)]).numpy()

    def read(self, number: int, tile: torch.Tensor) -> None:
        """Keep the items of a tile that reach the guess."""
        if self.crowded:
            return
        below = self._maxima(tile) < self.guess
        # A maximum that is NaN, which is not below either, may hide an item.
        reaching = np.logical_not(below, out=below).ravel().nonzero()[0]
        if len(reaching) > below.size // CROWD:
            self.crowded = True
            return
        row = reaching // self.groups
        cells = (reaching + row * (self.tiles.width - self.groups))[:, None] + self.inside
        values = self.numbers.take(cells)
        kept = (values >= self.guess[row]).ravel().nonzero()[0]
        self.found.append((values.ravel()[kept], cells.ravel()[kept]))
        self.firsts.append(self.tiles.first[number])

    def end(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows (r,) with at least k items, and their best scores and items (r, k)."""
        n_rows, k = len(self.guess), self.k
        if self.crowded:
            empty = np.empty((0, k))
            return np.empty(0, dtype=np.int64), empty, empty
        values = np.concatenate([value for value, _ in self.found])
        cells = np.concatenate([cell for _, cell in self.found])
        firsts = np.repeat(self.firsts, [len(cell) for _, cell in self.found])
        row, column = np.divmod(cells, self.tiles.width)
        counts = np.bincount(row, minlength=n_rows)
        order = np.argsort(row.astype(np.uint16 if n_rows <= 2**16 else np.int64), kind="stable")
        row, values, items = row[order], values[order], (column + firsts)[order]
        place = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
        shape = n_rows, max(int(counts.max(initial=0)), k)
        table, numbers = np.full(shape, -np.inf, dtype=values.dtype), np.zeros(shape, np.int64)
        table[row, place], numbers[row, place] = values, items
        enough = np.flatnonzero(counts >= k)
        table, numbers = table[enough], numbers[enough]
        chosen = np.argpartition(table, shape[1] - k, 1)[:, shape[1] - k :]
        table, numbers = (np.take_along_axis(part, chosen, 1) for part in (table, numbers))
        sorting = np.argsort(-table, 1, kind="stable")
        table, numbers = (np.take_along_axis(part, sorting, 1) for part in (table, numbers))
        return enough, table, numbers


def is_possible(k: int, n_items: int, tile: Tile) -> bool:
    """Return whether a sample has enough groups for a guess, also for the second, lower one."""
    size = max(1, round(n_items / SAMPLED / tile.items)) * tile.items
    return 2 * LOWER * place_of(k, n_items, size) <= size // STEP


LOWER = 4  # the second guess is at a place so many times as low
