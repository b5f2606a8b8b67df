"""A split of whole sequences by time: for sessions, most of which lie on one side of any moment."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl

from softrec.data.aside import SetAside, check_fractions
from softrec.data.interactions import Interactions
from softrec.data.splits import Choice, Split, check_cold
from softrec.errors import DataError

Moment = Literal["last", "first"]
"""The event of a sequence whose time decides about the whole sequence."""
NAME = "session-time"
FEW = 0.1
"""A split by time asks about few users if fewer of those with test events have earlier ones."""


class FewUsersWarning(UserWarning):
    """A split asks about few of the users that have test events."""


def by_session_time(
    log: Interactions,
    *,
    valid: float = 0.1,
    test: float = 0.1,
    moment: Moment = "last",
    cold: Choice = "drop",
) -> Split:
    """Assign each user's whole sequence to a part, by the time of its last event.

    The last event of a sequence of validation or test is the label, those before it are the
    history. Nothing else of these users is known, and nothing of them is learned from. By the last
    event no training event is later than the last one of such a sequence. The label is that event,
    or an earlier one where items are cold and dropped.

    Args:
        log: a log with times; its users are sessions.
        valid: the fraction of the sequences in the validation part, before the test part.
        test: the fraction of the sequences in the test part, the latest ones.
        moment: the event whose time decides, the last or the first one.
        cold: what to do with items that occur in no training sequence: "drop" removes their events
            from histories and labels, "keep" counts labels as misses, "error" names the items.

    Raises:
        DataError: if there are no times, or a part is empty.
    """
    if not log.has_time:
        raise DataError(
            f"the split {NAME} needs times; name their column with --time, or use --split "
            "leave-last-out"
        )
    check_fractions(valid, test)
    offsets, there = log.sequences.offsets, np.flatnonzero(log.user_counts)
    at = offsets[1:][there] - 1 if moment == "last" else offsets[:-1][there]
    time = log.ordered["time"].to_numpy()[at]
    cuts = np.quantile(time, [1 - valid - test, 1 - test], method="higher")
    part = np.zeros(log.n_users, dtype=np.int64)
    part[there] = np.searchsorted(cuts, time, side="right")
    return of_whole_sequences(log, part, cold=cold)


def of_whole_sequences(log: Interactions, part: np.ndarray, *, cold: Choice = "drop") -> Split:
    """Return the split in which each user's sequence belongs to one part.

    Args:
        log: the whole log.
        part: (U,) of each user: 0 for training, 1 for validation, 2 for test.
        cold: see `by_session_time`.

    Raises:
        DataError: if a part is empty.
    """
    ordered, user = log.ordered, log.ordered["user"].to_numpy()
    role, item = part[user], log.ordered["item"].to_numpy()
    known = np.bincount(item[role == 0], minlength=log.n_items) > 0
    lost = ~known[item] & (role > 0)
    kept = ~lost if cold == "drop" else np.ones(len(ordered), dtype=bool)
    lengths = np.bincount(user[kept], minlength=log.n_users)
    asked = (lengths > 1) & (part > 0)
    left = kept & asked[user]
    places = np.flatnonzero(left)
    last = np.zeros(len(ordered), dtype=bool)
    last[places[np.diff(user[places], append=-1) != 0]] = True
    parts = [
        replace(log, frame=ordered.filter(pl.Series(which)))
        for which in (role == 0, last & (role == 1), last & (role == 2), left & ~last)
    ]
    for found, kind in zip(parts, ("training", "validation", "test"), strict=False):
        if not len(found):
            raise DataError(
                f"the {kind} part of the {NAME} split has no sequence of two events or more; the "
                f"log is too small for it ({log.n_users:,} sequences)"
            )
    single = int(((log.user_counts > 0) & (part > 0) & ~asked).sum())
    aside = SetAside(single_users=single)
    if cold == "drop":
        cold_items = len(np.unique(item[lost]))
        aside = replace(aside, cold_items=cold_items, cold_events=int(lost.sum()))
    train, held, asked_of, context = parts
    split = Split(train, held, asked_of, NAME, aside, context=context)
    return split if cold == "drop" else check_cold(split, cold)


def warn_of_few_users(split: Split) -> Split:
    """Return a split by time; warn if it asks about few of the users with test events."""
    tested, asked = int((split.test.user_counts > 0).sum()), split.asked_users("test")
    if asked < FEW * tested:
        warnings.warn(
            f"only {asked:,} of the {tested:,} users with test events "
            f"{'has' if asked == 1 else 'have'} an earlier event, so that nothing is asked "
            f"about the others; --split {NAME} assigns whole sequences to "
            "the parts and asks for the last item of each",
            FewUsersWarning,
            stacklevel=3,
        )
    return split
