"""Evaluation cases: the relevant items of users, and the histories before them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from softrec.blocks import blocks_of_parts
from softrec.data.disk.scratch import scratch
from softrec.data.interactions import Interactions, Sequences
from softrec.limits import LIMITS

Relevant = Literal["all", "first", "last", "random"]
"""Which of a user's events in validation or test are the relevant items."""


@dataclass(frozen=True)
class Cases:
    """Evaluation cases: histories, and the relevant items that should rank high after them.

    Row c of both belongs to user `user[c]`. The history has all events before the part.

    Raises:
        ValueError: if an item is twice among the relevant items of a case.
    """

    user: np.ndarray  # (C,) int64
    history: Sequences  # C rows
    relevant: Sequences  # C rows, none empty, distinct items

    def __post_init__(self) -> None:
        pairs = _pairs(self.relevant, int(self.relevant.items.max(initial=0)) + 1)
        if len(np.unique(pairs)) < len(pairs):
            raise ValueError("the relevant items of a case must be distinct")

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def repeated(self) -> np.ndarray:
        """Return which relevant items are in the history of their case, (R,) bool."""
        highest = max(part.items.max(initial=0) for part in (self.history, self.relevant))
        found = []
        for some in blocks_of_parts(self.history.offsets[1:], LIMITS.sorted):
            rows = np.arange(some.start, some.stop)
            asked, known = (
                _pairs(rows_of(part, rows), int(highest) + 1)
                for part in (self.relevant, self.history)
            )
            found.append(is_in(asked, known))
        return np.concatenate(found) if found else np.zeros(0, dtype=bool)

    def new_only(self) -> Cases:
        """Return the cases with new relevant items only.

        Relevant items in the history are left out, and so are cases without other relevant items.

        Example:
            >>> cases = Cases(
            ...     np.array([4, 7]), Sequences.of([[0, 1], [2]]), Sequences.of([[1], [2, 3]])
            ... )
            >>> new = cases.new_only()
            >>> new.user.tolist(), new.relevant[0].tolist()
            ([7], [3])
        """
        new = ~self.repeated
        if new.all():
            return self
        relevant = chosen(self.relevant, new)
        left = np.flatnonzero(relevant.lengths)
        return replace(self, relevant=relevant).rows(left)

    def rows(self, chosen: np.ndarray) -> Cases:
        """Return some cases by their numbers."""
        parts = rows_of(self.history, chosen), rows_of(self.relevant, chosen)
        return Cases(self.user[chosen], *parts)

    @property
    def single(self) -> bool:
        """Return whether each case has exactly one relevant item."""
        return bool((self.relevant.lengths == 1).all())


def is_in(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return which values are among the known ones, (values,) bool; 30 times faster than `np.isin`.

    Example:
        >>> is_in(np.array([3, 1, 3]), np.array([3, 2])).tolist()
        [True, False, True]
    """
    return pl.Series(values).is_in(pl.Series(known).implode()).to_numpy()


def rows_of(sequences: Sequences, rows: np.ndarray) -> Sequences:
    """Return the given rows of `sequences`, in that order, with their times."""
    if len(rows) == len(sequences) and bool((np.diff(rows) == 1).all()) and not rows[:1].any():
        return sequences  # all of them: a log in files is not copied
    starts = sequences.offsets[:-1][rows]
    lengths = sequences.offsets[1:][rows] - starts
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    items = _room(offsets[-1], sequences.items)
    times = None if sequences.times is None else _room(offsets[-1], sequences.times)
    for some in blocks_of_parts(offsets[1:], LIMITS.sorted):  # else places take most of the memory
        inside = slice(int(offsets[some.start]), int(offsets[some.stop]))
        shift = np.repeat(starts[some] - offsets[some], lengths[some])
        places = np.arange(inside.start, inside.stop) + shift
        items[inside] = sequences.items[places]
        if times is not None and sequences.times is not None:
            times[inside] = sequences.times[places]
    return Sequences(offsets, items, times)


def _room(n: int, like: np.ndarray) -> np.ndarray:
    """Return room for a part of an array: in a file beside that of the array, if it is in one."""
    folder = folder_of(like)
    return np.empty(n, like.dtype) if folder is None else scratch(n, like.dtype, folder)


def folder_of(array: np.ndarray) -> Path | None:
    """Return the folder of the file that an array is a part of; None if it is in memory.

    Example:
        >>> folder_of(np.zeros(3)[1:]) is None
        True
    """
    part: Any = array
    while isinstance(part, np.ndarray):
        if isinstance(part, np.memmap):
            return Path(str(part.filename)).parent
        part = part.base
    return None


def _pairs(sequences: Sequences, n_items: int) -> np.ndarray:
    """Return one number for each (row, item), (total,) int64."""
    return np.repeat(np.arange(len(sequences)), sequences.lengths) * n_items + sequences.items


def _distinct(sequences: Sequences) -> Sequences:
    """Return each row with each item once, at its first place."""
    pairs = _pairs(sequences, int(sequences.items.max(initial=0)) + 1)
    first = np.zeros(len(pairs), dtype=bool)
    first[np.unique(pairs, return_index=True)[1]] = True
    return chosen(sequences, first)


def chosen(sequences: Sequences, keep: np.ndarray) -> Sequences:
    """Return the rows with only the items where `keep` (total,) is true."""
    offsets = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])[sequences.offsets]
    times = None if sequences.times is None else sequences.times[keep]
    return Sequences(offsets, sequences.items[keep], times)


def chosen_events(sequences: Sequences, rows: np.ndarray, which: Relevant, seed: int) -> Sequences:
    """Return the relevant items of some rows, distinct in each row.

    Args:
        sequences: the events of each user in a part, (U rows).
        rows: which rows, (C,); none of them is empty.
        which: all events, or one: the first, the last, or one at random.
        seed: of the random choice, which does not depend on the other rows.
    """
    if which == "all":
        return _distinct(rows_of(sequences, rows))
    place = {
        "first": np.zeros(len(sequences), dtype=np.int64),
        "last": sequences.lengths - 1,
        "random": np.floor(
            np.random.default_rng(seed).random(len(sequences)) * sequences.lengths
        ).astype(np.int64),
    }[which]
    at = sequences.offsets[rows] + place[rows]
    times = None if sequences.times is None else sequences.times[at]
    return Sequences(np.arange(len(rows) + 1), sequences.items[at], times)


def _places_at_random(sequences: Sequences, seed: int, *, but_last: bool = False) -> np.ndarray:
    """Return a random permutation of the places of each row, as one array (total,) int64."""
    key = np.random.default_rng(seed).random(len(sequences.items))
    if but_last:
        key[sequences.offsets[1:][sequences.lengths > 0] - 1] = 1  # larger than all random keys
    return np.lexsort((key, np.repeat(np.arange(len(sequences)), sequences.lengths)))


def in_random_order(sequences: Sequences, seed: int) -> Sequences:
    """Return the rows with their items in random order; the times keep their places."""
    return replace(sequences, items=sequences.items[_places_at_random(sequences, seed)])


def log_in_random_order(log: Interactions, seed: int) -> Interactions:
    """Return the log with the items of each user in random order, except the last one.

    The times of a user keep their places, and each weight stays with its item. The last item is
    not moved, because with `windows: last` it is the label.
    """
    taken = _places_at_random(log.sequences, seed, but_last=True)
    moved = [name for name in log.ordered.columns if name not in ("user", "time")]
    columns = [log.ordered[name].gather(taken) for name in moved]
    return replace(log, frame=log.ordered.with_columns(columns))
