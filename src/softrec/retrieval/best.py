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

from softrec.retrieval.tiles import STEP, Place, Tile, Tiles
from softrec.types import Products

SAMPLED = 20  # one item in as many is scored for the guess
CROWD = 4  # times as many groups as expected reach a guess that is useless


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
        # (rows, groups, STEP): an item's group is the remainder of its number
        self.by_group = tiles.room.numpy().reshape(-1, STEP, self.groups).transpose(0, 2, 1)
        self.room = tiles.room.new_empty(len(tiles.room), self.groups)
        self.maxima = self.room.numpy()
        self.below = np.empty(self.room.shape, dtype=bool)

    def begin(self, rows: slice) -> None:
        """Guess a score for each row of a block."""
        shape = rows.stop - rows.start, len(self.sample.first), self.groups
        maxima = np.empty(shape, dtype=self.by_group.dtype)
        for place, tile in self.sample.of(rows):
            maxima[place.rows, place.items] = self._maxima(tile)
        some = maxima.reshape(len(maxima), -1)
        below = some.shape[1] - self.place
        self.guess = np.partition(some, below, 1)[:, below, None]
        self.guess[self.guess == -np.inf] = np.nan  # it is reached by all, and NaN by none
        self.found: list[tuple[Place, np.ndarray, np.ndarray, np.ndarray]] = []
        expected = self.place * self.tiles.scores.n_items / self.sample.scores.n_items
        self.left = int(CROWD * expected * shape[0])  # so that memory is bounded

    def _maxima(self, tile: torch.Tensor) -> np.ndarray:
        """Return the maxima of the groups: every item whose number has the same remainder."""
        n_rows = tile.shape[0]
        groups = tile.view(n_rows, STEP, self.groups)
        torch.amax(groups, 1, out=self.room[:n_rows])
        return self.maxima[:n_rows]

    def read(self, place: Place, tile: torch.Tensor) -> None:
        """Keep the items of a tile that reach the guess."""
        if self.left < 0:
            return
        guess = self.guess[place.rows]
        below = np.less(self._maxima(tile), guess, out=self.below[: len(guess)])
        # A maximum that is NaN, which is not below either, may hide an item.
        reaching = np.logical_not(below, out=below).ravel().nonzero()[0]
        self.left -= len(reaching)
        row, group = np.divmod(reaching.astype(np.int32), np.int32(self.groups))
        self.found.append((place, row, group, self.by_group[row, group]))

    def end(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the rows (r,) with at least k items, and their best scores and items (r, k)."""
        n_rows, k = len(self.guess), self.k
        if self.left < 0:
            empty = np.empty((0, k))
            return np.empty(0, dtype=np.int64), empty, empty
        places, rows, groups, scores = zip(*self.found, strict=True)
        sizes = [len(row) for row in rows]
        row = np.concatenate(rows) + np.repeat([place.rows.start for place in places], sizes)
        first = np.repeat([self.tiles.first[place.items] for place in places], sizes)
        # What reaches the guess: most items of a group do not.
        scored = np.concatenate(scores)
        reaching = (scored >= self.guess[row]).ravel().nonzero()[0]
        at, member = np.divmod(reaching, STEP)
        row, values = row[at], scored.ravel()[reaching]
        items = (np.concatenate(groups) + first)[at] + member * self.groups
        # By row, and within a row the best first.
        order = np.argsort(-values)
        rows_sorted = row[order].astype(np.uint16 if n_rows <= 2**16 else np.int64)
        order = order[np.argsort(rows_sorted, kind="stable")]
        counts = np.bincount(row, minlength=n_rows)
        enough = np.flatnonzero(counts >= k)
        best = order[(np.cumsum(counts) - counts)[enough, None] + np.arange(k)]
        return enough, values[best], items[best]


def is_possible(k: int, n_items: int, tile: Tile) -> bool:
    """Return whether a sample has enough groups for a guess, also for the second, lower one."""
    size = max(1, round(n_items / SAMPLED / tile.items)) * tile.items
    return 2 * LOWER * place_of(k, n_items, size) <= size // STEP


LOWER = 4  # the second guess is at a place so many times as low
