"""The prior of an export, in NumPy alone: numbers added to the scores of a few items of a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
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


def added(first: Offsets, second: Offsets) -> Offsets:
    """Return the sum of two tables of the same rows.

    Example:
        >>> one = Offsets(np.array([0, 2]), np.array([1, 3]), np.ones(2))
        >>> two = Offsets(np.array([0, 2]), np.array([0, 3]), np.ones(2))
        >>> added(one, two)[1:]
        (array([0, 1, 3]), array([1., 1., 2.]))
    """
    rows, items, values = (
        np.concatenate(parts)
        for parts in zip(*((part.rows, part.items, part.values) for part in (first, second)),
                         strict=True)
    )  # fmt: skip
    width = int(items.max(initial=0)) + 1
    keys, place = np.unique(rows * width + items, return_inverse=True)
    sums = np.bincount(place, values, minlength=len(keys)).astype(first.values.dtype)
    return Offsets(np.searchsorted(keys // width, np.arange(len(first.starts))), keys % width, sums)


class Term(NamedTuple):
    """A counted model: its table (N, N) by rows, and how it is read."""

    offsets: np.ndarray  # (N + 1,) int64
    columns: np.ndarray  # (nnz,) int32
    values: np.ndarray  # (nnz,) float32
    strength: float
    recency: float


PARTS = Term._fields[:3]
"""The arrays of a term in the file of an export, with its number before them."""


class ExportedPrior:
    """What is counted about the items of a history, as `softrec.models.prior.Prior` has it.

    Args:
        terms: the counted models.
        floor, last, items: as there.
    """

    def __init__(self, terms: Sequence[Term], *, floor: float, last: int, items: int) -> None:
        self.terms, self.floor, self.last, self.items = terms, floor, last, items

    @classmethod
    def read(cls, path: Path, settings: Mapping[str, Any]) -> ExportedPrior:
        """Return the prior in the file of an export, with what the manifest says of it."""
        arrays = load_file(path)
        terms = [
            Term(**{name: arrays[f"{number}.{name}"] for name in PARTS}, **told)
            for number, told in enumerate(settings["terms"])
        ]
        return cls(terms, **{name: value for name, value in settings.items() if name != "terms"})

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
        read, ages = histories.items[places], stop[owner] - 1 - places
        return reduce(added, (self._of(term, counts, read, ages) for term in self.terms))

    def _of(self, term: Term, counts: np.ndarray, read: np.ndarray, ages: np.ndarray) -> Offsets:
        """Return the numbers of a term.

        Args:
            term: the term.
            counts: (B,) how many items are read of each history.
            read: these items, of all histories.
            ages: of each, how many items come after it.
        """
        owner = np.repeat(np.arange(len(counts)), counts)
        weights = np.float32(term.recency) ** ages.astype(np.float32)
        ends = np.concatenate([[0], np.cumsum(np.diff(term.offsets)[read])])[np.cumsum(counts)]
        parts = []
        for rows in blocks_of_parts(ends, LIMITS.products):
            inside = slice(*np.searchsorted(owner, (rows.start, rows.stop)))
            parts.append(self._rows(term, owner[inside] - rows.start, read[inside],
                                    weights[inside], rows.stop - rows.start))  # fmt: skip
        if not parts:
            return Offsets(np.zeros(1, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        lengths, items, values = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Offsets(np.concatenate([[0], np.cumsum(lengths)]), items, values)

    def _rows(
        self, term: Term, owner: np.ndarray, read: np.ndarray, weights: np.ndarray, n_rows: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return how many entries each row has, and their items and values."""
        n_items = len(term.offsets) - 1
        lengths = np.diff(term.offsets)[read]
        places = np.arange(lengths.sum()) + np.repeat(
            term.offsets[read] - np.cumsum(lengths) + lengths, lengths
        )
        keys = np.repeat(owner * n_items, lengths) + term.columns[places]
        found, inverse = np.unique(keys, return_inverse=True)
        scores = np.bincount(
            inverse, np.repeat(weights, lengths) * term.values[places], minlength=len(found)
        )
        found, scores = found[scores != 0], scores[scores != 0]
        rows = found // n_items
        total = np.bincount(rows, scores, minlength=n_rows)
        probs = scores / total[rows]
        kept = _largest(rows, probs.astype(np.float32), self.items)
        values = term.strength * np.log1p(probs[kept] / self.floor)
        entries = np.bincount(rows[kept], minlength=n_rows)
        return entries, found[kept] % n_items, values.astype(np.float32)


def _largest(rows: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    """Return which values are among the k largest of their row; of equal ones the first."""
    order = np.lexsort((-values, rows))
    begin = np.searchsorted(rows, rows)
    kept = np.zeros(len(rows), bool)
    kept[order] = np.arange(len(rows)) - begin < k
    return kept
