"""A split of a log that has grown: the newest of the new events are held out.

All known events are trained on, whichever part they had before. So a new event that precedes a
known one of its user is trained on, too: asked for it, a model would read the future in the
history.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl

from softrec.data.aside import check_fractions
from softrec.data.cold import check_cold
from softrec.data.growing import NEW
from softrec.data.interactions import Interactions
from softrec.data.splits import TEST, TRAIN, VALID, Split
from softrec.errors import DataError

NewestBy = Literal["time", "last"]
NAME = "newest"
ONE_IN = 5  # users with a single new event: of so many one validates, the others are tested


def newest(log: Interactions, by: NewestBy, *, valid: float = 0.1, test: float = 0.2) -> Split:
    """Hold out the newest of the new events for test, and those before them for validation.

    By time, nothing that is trained on is later than what is asked, except known events of other
    users that are later than new ones; `Split.leak` counts them. By last events, the last new event
    of each user is asked, and the one before it validates; other users may go on meanwhile. New
    events that precede a known one of their user are not held out, see `is_late`.

    Args:
        log: a log that has grown, with the column `new`.
        by: "time" or "last".
        valid: by time, the fraction of the new events for validation.
        test: by time, the fraction of the new events for test.

    Raises:
        DataError: if there are no times, or a part is empty.
    """
    check_fractions(valid, test)
    if by == "last":
        log = replace(log, frame=log.ordered)
    late = is_late(log)
    asked = (log.frame[NEW] & ~late).to_numpy()
    if by == "time":
        role = _by_time(log, asked, valid, test)
    else:
        role = _by_last(log.frame["user"].to_numpy(), asked)
    frame = log.frame.drop(NEW)
    train, held, test_part = (
        replace(log, frame=frame.filter(pl.Series(role == part))) for part in (TRAIN, VALID, TEST)
    )
    for part, name in ((train, "training"), (held, "validation"), (test_part, "test")):
        if not len(part):
            precede = f" ({late.sum():,} precede known ones of their user)" if late.any() else ""
            raise DataError(
                f"the {name} part of the new events is empty: there are {int((role > 0).sum()):,} "
                f"to hold out{precede}; give more new events, or other fractions"
            )
    return check_cold(Split(train, held, test_part, NAME), "keep")


def is_late(log: Interactions) -> pl.Series:
    """Return for each event of a log that has grown whether it is new and precedes a known one.

    Without times new events follow all known ones.

    Example:
        >>> from softrec.data.growing import grown
        >>> known = Interactions.read(pl.DataFrame({"user": [1], "item": [2], "time": [9]}))
        >>> more = pl.DataFrame({"user": [1, 1], "item": [3, 4], "time": [8, 10]})
        >>> is_late(grown(known, more).log).to_list()
        [False, True, False]
    """
    if not log.has_time:
        return pl.repeat(False, len(log), eager=True)
    last = pl.when(~pl.col(NEW)).then("time").max().over("user")
    return log.frame.select((pl.col(NEW) & (pl.col("time") < last)).fill_null(False)).to_series()


def _by_time(log: Interactions, asked: np.ndarray, valid: float, test: float) -> np.ndarray:
    """Return the part of each event; all but those that may be asked are trained on."""
    if not log.has_time:
        raise DataError(
            "the log has no times, so what is newest is not known; use --newest-by last"
        )
    time = log.frame["time"].to_numpy()
    if not asked.any():
        return np.full(len(time), TRAIN)
    moments = np.quantile(time[asked], [1 - valid - test, 1 - test], method="higher")
    role = (time >= moments[0]).astype(np.uint8) + (time >= moments[1])
    return np.where(asked, role, TRAIN)


def _by_last(user: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return the part of each event of a log in order."""
    role = np.full(len(user), TRAIN, dtype=np.uint8)
    places = np.flatnonzero(new)
    owner = user[places]
    last, before_last = np.ones(len(owner), dtype=bool), np.zeros(len(owner), dtype=bool)
    last[:-1] = owner[1:] != owner[:-1]
    before_last[:-1] = last[1:] & ~last[:-1]
    role[places[last]] = TEST
    role[places[before_last]] = VALID
    single = last.copy()
    single[1:] &= ~before_last[:-1]
    role[places[single & (owner % ONE_IN == 0)]] = VALID
    return role
