"""Cleaning steps on a log in files: the events to keep are marked, then written once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from softrec.data.disk.rows import Rows, Writer, read_ids, write_ids
from softrec.data.disk.scratch import scratch
from softrec.data.interactions import no_weights, none_left
from softrec.data.vocabulary import Vocabulary

Mark = Callable[[Rows, np.ndarray, float], None]
"""Marks the events to drop: sets `keep` (E,) to false; the number is that of the step."""


def drop_duplicates(rows: Rows, keep: np.ndarray, _number: float) -> None:
    """Keep the earliest event of each user with each item."""
    n_items = len(rows.item_counts)
    for users, some in rows.blocks():
        own = rows.columns["user"][some].astype(np.int64) - users.start
        pairs = own * n_items + rows.columns["item"][some]
        _, first = np.unique(pairs, return_index=True)
        here = np.zeros(some.stop - some.start, dtype=bool)
        here[first] = True
        keep[some] = here


def min_weight(rows: Rows, keep: np.ndarray, least: float) -> None:
    """Keep the events with a weight of at least `least`."""
    if "weight" not in rows.columns:
        raise no_weights()
    for _, some in rows.blocks():
        keep[some] = (pl.Series(rows.columns["weight"][some]) >= least).to_numpy()


def min_item(rows: Rows, keep: np.ndarray, least: float) -> None:
    """Keep the items with at least so many events."""
    few = rows.item_counts < least
    for _, some in rows.blocks():
        keep[some] = ~few[rows.columns["item"][some]]


def min_user(rows: Rows, keep: np.ndarray, least: float) -> None:
    """Keep the users with at least so many events."""
    few = np.diff(rows.offsets) < least
    for _, some in rows.blocks():
        keep[some] = ~few[rows.columns["user"][some]]


def k_core(rows: Rows, keep: np.ndarray, k: float) -> None:
    """Keep the largest log in which every user and every item has at least `k` events."""
    per_user, per_item = np.diff(rows.offsets), rows.item_counts
    while bool(((per_user < k) & (per_user > 0)).any() or ((per_item < k) & (per_item > 0)).any()):
        few_users, few_items = per_user < k, per_item < k
        per_user, per_item = np.zeros_like(per_user), np.zeros_like(per_item)
        for users, some in rows.blocks():
            user, item = rows.columns["user"][some], rows.columns["item"][some]
            left = keep[some] & ~few_users[user] & ~few_items[item]
            keep[some] = left
            per_user[users] = np.bincount(
                user[left] - np.uint32(users.start), minlength=users.stop - users.start
            )
            per_item += np.bincount(item[left], minlength=len(per_item))


STEPS: dict[str, Mark] = {
    "drop-duplicates": drop_duplicates, "min-weight": min_weight, "k-core": k_core,
    "min-user": min_user, "min-item": min_item,
}  # fmt: skip


def clean(folder: Path, step: str, number: float, out: Path) -> None:
    """Apply a cleaning step to the log in a folder, and write the result to another one.

    Raises:
        DataError: if nothing is left, or the log has no weights.
    """
    rows = Rows.read(folder)
    keep = scratch(len(rows), bool, out.parent)
    keep[:] = True
    STEPS[step](rows, keep, number)
    _compacted(rows, keep, *read_ids(folder), out)


def _compacted(
    rows: Rows, keep: np.ndarray, users: Vocabulary, items: Vocabulary, out: Path
) -> None:
    """Write the events to keep, with numbers for only those users and items that occur."""
    per_user, per_item = np.zeros(len(users), dtype=np.int64), np.zeros(len(items), dtype=np.int64)
    for _, some in rows.blocks():
        left = keep[some]
        per_user += np.bincount(rows.columns["user"][some][left], minlength=len(users))
        per_item += np.bincount(rows.columns["item"][some][left], minlength=len(items))
    if not per_user.any():
        raise none_left()
    fresh, known = {}, []
    for kind, counts, vocabulary in (("user", per_user, users), ("item", per_item, items)):
        fresh[kind] = np.cumsum(counts > 0, dtype=np.uint32) - np.uint32(1)
        known.append(Vocabulary(vocabulary.ids(np.flatnonzero(counts > 0))))
    out.mkdir(parents=True, exist_ok=True)
    write_ids(out, *known)
    with Writer(out, rows.columns, *map(len, known)) as writer:
        for _, some in rows.blocks():
            left = keep[some]
            columns = {kind: values[some][left] for kind, values in rows.columns.items()}
            writer.add(columns | {kind: fresh[kind][columns[kind]] for kind in fresh})
