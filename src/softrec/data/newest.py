"""A split of a log that has grown: the newest of the new events are held out.

All known events are trained on, whichever part they had before: they are older than what is asked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import polars as pl

from softrec.data.cold import check_cold
from softrec.data.growing import NEW
from softrec.data.interactions import Interactions
from softrec.data.splits import TEST, TRAIN, VALID, Split, check_fractions
from softrec.errors import DataError

NewestBy = Literal["time", "last"]
NAME = "newest"
ONE_IN = 5  # users with a single new event: of so many one validates, the others are tested


def newest(log: Interactions, by: NewestBy, *, valid: float = 0.1, test: float = 0.2) -> Split:
    """Hold out the newest of the new events for test, and those before them for validation.

    By time, nothing that is trained on is later than what is asked, except known events that are
    later than new ones. By last events, the last new event of each user is asked, and the one
    before it validates; other users may go on meanwhile.

    Args:
        log: a log that has grown, with the column `new`.
        by: "time" or "last".
        valid: by time, the fraction of the new events for validation.
        test: by time, the fraction of the new events for test.

    Raises:
        DataError: if there are no times, or a part is empty.
    """
    check_fractions(valid, test)
    if by == "time":
        frame, role = log.frame, _by_time(log, valid, test)
    else:
        frame = log.ordered
        role = _by_last(frame["user"].to_numpy(), frame[NEW].to_numpy())
    frame = frame.drop(NEW)
    train, held, asked = (
        replace(log, frame=frame.filter(pl.Series(role == part))) for part in (TRAIN, VALID, TEST)
    )
    for part, name in ((train, "training"), (held, "validation"), (asked, "test")):
        if not len(part):
            raise DataError(
                f"the {name} part of the new events is empty: there are {int((role > 0).sum()):,} "
                "to hold out; give more new events, or other fractions"
            )
    return check_cold(Split(train, held, asked, NAME), "keep")


def _by_time(log: Interactions, valid: float, test: float) -> np.ndarray:
    if not log.has_time:
        raise DataError(
            "the log has no times, so what is newest is not known; use --newest-by last"
        )
    time, new = log.frame["time"].to_numpy(), log.frame[NEW].to_numpy()
    if not new.any():
        return np.full(len(time), TRAIN)
    moments = np.quantile(time[new], [1 - valid - test, 1 - test], method="higher")
    role = (time >= moments[0]).astype(np.uint8) + (time >= moments[1])
    return np.where(new, role, TRAIN)


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
