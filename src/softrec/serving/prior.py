"""The prior of an export, in NumPy alone: numbers added to the scores of a few items of a user."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file

from softrec.blocks import blocks_of_parts
from softrec.data.interactions import Sequences
from softrec.limits import LIMITS


class Offsets(NamedTuple):
    """A sparse table (B, N): row b adds `values` to the scores of `items`, all others are 0.

    The entries of a row are at `starts[b] .. starts[b + 1]`, with items in ascending order, each
    once. No value is below 0.

    Example:
        >>> offsets = Offsets(np.array([0, 2, 3]), np.array([1, 3, 0]), np.ones(3))
        >>> offsets.add(slice(1, 2), np.zeros((1, 4)))
        array([[1., 0., 0., 0.]])
        >>> offsets.at(slice(0, 1), np.array([[3, 2]]))
        array([[1., 0.]])
    """

    starts: np.ndarray  # (B + 1,) int64
    items: np.ndarray  # (E,) int64
    values: np.ndarray  # (E,) float32

    def of(self, rows: slice) -> Offsets:
        """Return the entries of some rows, as a table of these rows."""
        starts = self.starts[rows.start : rows.stop + 1]
        inside = slice(starts[0], starts[-1])
        return Offsets(starts - starts[0], self.items[inside], self.values[inside])

    @property
    def rows(self) -> np.ndarray:
        """Return the row of each entry, (E,) int64."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def add(self, rows: slice, scores: np.ndarray) -> np.ndarray:
        """Add some rows of the table to scores (b, N), and return these."""
        some = self.of(rows)
        scores[some.rows, some.items] += some.values
        return scores

    def at(self, rows: slice, items: np.ndarray) -> np.ndarray:
        """Return the numbers of items (b, m) of some rows, 0 where a row has no entry."""
        some = self.of(rows)
        if not len(some.items) or not items.size:
            return np.zeros(items.shape, self.values.dtype)
        width = int(max(some.items.max(), items.max())) + 1
        keys = some.rows * width + some.items
        asked = np.arange(len(items))[:, None] * width + items
        places = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
        return np.where(keys[places] == asked, some.values[places], 0)

    def listed(self, rows: slice) -> np.ndarray:
        """Return the items with an entry of some rows (b, m), filled up with -1."""
        some = self.of(rows)
        columns = np.arange(np.diff(some.starts).max(initial=0))
        places = some.starts[:-1, None] + columns
        items = some.items.take(places, mode="clip") if len(some.items) else places
        return np.where(places < some.starts[1:, None], items, -1)


def stacked(parts: Sequence[Offsets]) -> Offsets:
    """Return the rows of several tables, one after the other."""
    lengths = np.concatenate([[0], *(np.diff(part.starts) for part in parts)])
    columns = ([part.items for part in parts], [part.values for part in parts])
    return Offsets(np.cumsum(lengths), *map(np.concatenate, columns))


class ExportedPrior:
    """What is counted about the items of a history, as `softrec.models.prior.Prior` has it.

    Args:
        table: the counted table (N, N) by rows: offsets, columns, values.
        strength, floor, last, items, recency: as there.
    """

    def __init__(
        self,
        table: dict[str, np.ndarray],
        *,
        strength: float,
        floor: float,
        last: int,
        items: int,
        recency: float,
    ) -> None:
        self.begins, self.columns, self.values = (
            table[name] for name in ("offsets", "columns", "values")
        )
        self.strength, self.floor, self.recency = strength, floor, recency
        self.last, self.items = last, items

    @classmethod
    def read(cls, path: Path, settings: dict[str, Any]) -> ExportedPrior:
        """Return the prior in the file of an export, with what the manifest says of it."""
        return cls(load_file(path), **settings)

    def __call__(self, histories: Sequences, length: int) -> Offsets:
        """Return the numbers that are added to the scores of each history.

        Args:
            histories: the items, oldest first.
            length: the longest history that the model reads.
        """
        stop = histories.offsets[1:]
        start = np.maximum(histories.offsets[:-1], stop - min(self.last, length))
        counts = stop - start
        owner = np.repeat(np.arange(len(stop)), counts)
        places = np.arange(len(owner)) + np.repeat(start - np.cumsum(counts) + counts, counts)
        weights = np.float32(self.recency) ** (stop[owner] - 1 - places).astype(np.float32)
        read = histories.items[places]
        terms = np.diff(self.begins)[read]
        ends = np.concatenate([[0], np.cumsum(terms)])[np.cumsum(counts)]
        parts = []
        for rows in blocks_of_parts(ends, LIMITS.products):
            inside = slice(*np.searchsorted(owner, (rows.start, rows.stop)))
            parts.append(self._rows(owner[inside] - rows.start, read[inside], weights[inside],
                                    rows.stop - rows.start))  # fmt: skip
        if not parts:
            return Offsets(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        lengths, items, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Offsets(np.concatenate([[0], np.cumsum(lengths)]), items, values)

    def _rows(
        self, owner: np.ndarray, read: np.ndarray, weights: np.ndarray, n_rows: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how many entries each row has, and their items and values."""
        n_items = len(self.begins) - 1
        terms = np.diff(self.begins)[read]
        places = np.arange(terms.sum()) + np.repeat(
            self.begins[read] - np.cumsum(terms) + terms, terms
        )
        keys = np.repeat(owner * n_items, terms) + self.columns[places]
        found, inverse = np.unique(keys, return_inverse=True)
        scores = np.bincount(
            inverse, np.repeat(weights, terms) * self.values[places], minlength=len(found)
        )
        found, scores = found[scores != 0], scores[scores != 0]
        rows = found // n_items
        total = np.bincount(rows, scores, minlength=n_rows)
        probs = scores / total[rows]
        kept = _largest(rows, probs.astype(np.float32), self.items)
        values = self.strength * np.log1p(probs[kept] / self.floor)
        lengths = np.bincount(rows[kept], minlength=n_rows)
        return lengths, found[kept] % n_items, values.astype(np.float32)


def _largest(rows: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    """Return which values are among the k largest of their row; of equal ones the first."""
    order = np.lexsort((-values, rows))
    begin = np.searchsorted(rows, rows)
    kept = np.zeros(len(rows), bool)
    kept[order] = np.arange(len(rows)) - begin < k
    return kept
