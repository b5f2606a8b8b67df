"""The newest of the new events are held out, and nothing of them is trained on."""

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given

from messages import refused
from softrec.data.interactions import Interactions
from softrec.data.newest import newest
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError


def log_of(rows, *, times=True):
    """Events (user, item, time, new) of numbers."""
    frame = pl.DataFrame(
        rows,
        schema={"user": pl.UInt32, "item": pl.UInt32, "time": pl.Int64, "new": pl.Boolean},
        orient="row",
    )
    ids = [Vocabulary(pl.Series("raw", range(20))) for _ in range(2)]
    return Interactions(frame if times else frame.drop("time"), *ids)


def events(part):
    return part.frame.select("user", "item", *(["time"] if part.has_time else [])).rows()


def test_by_time_the_newest_judge_and_those_before_them_choose():
    old = [(user, 0, user, False) for user in range(5)]
    new = [(place % 5, 1 + place, 10 + place, True) for place in range(10)]
    split = newest(log_of(old + new), "time", valid=0.2, test=0.3)
    assert [row[2] for row in events(split.test)] == [17, 18, 19]
    assert [row[2] for row in events(split.valid)] == [15, 16]
    assert len(split.train) == 10
    assert split.name == "newest"
    assert "new" not in split.train.frame.columns


@pytest.mark.parametrize("by", ["time", "last"])
def test_new_events_before_a_known_one_of_their_user_do_not_judge(by):
    """User 1 has a late event at 12; asked for it, its history would have what came at 50."""
    old = [(user, 0, 1, False) for user in range(6)] + [(1, 9, 50, False)]
    new = [(user, 1 + user, 11 + user, True) for user in range(6)] + [(1, 8, 60, True)]
    more = [(user, 10 + user, 20 + user, True) for user in range(1, 6)]
    split = newest(log_of(old + new + more), by, valid=0.3, test=0.3)
    assert (1, 2, 12) in events(split.train)
    assert (1, 8, 60) in events(split.test)
    assert split.before("test").sequences[1].tolist() == [0, 2, 11, 9]


def test_where_all_new_events_precede_known_ones_it_is_said():
    late = [(user, 1, 5, True) for user in range(6)]
    with refused(DataError):
        newest(log_of([(user, 0, 9, False) for user in range(6)] + late), "time")


def test_known_events_are_trained_on_wherever_they_are_in_time():
    old = [(0, 0, 100, False), (1, 0, 1, False)]
    new = [(place % 2, 1 + place, 10 + place, True) for place in range(10)]
    split = newest(log_of(old + new), "time")
    assert (0, 0, 100) in events(split.train)
    assert split.leak() is not None  # and it is told


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.booleans()), min_size=30))
def test_by_time_no_part_is_older_than_the_part_before(rows):
    log = log_of([(user, 1, time, new) for user, time, new in rows])
    try:
        split = newest(log, "time", valid=0.3, test=0.3)
    except DataError:
        return
    last = {user: max(t for u, t, new in rows if u == user and not new)
            for user, _, new in rows if not new}  # fmt: skip
    late = {(u, 1, t) for u, t, _ in rows if t <= last.get(u, -1)}  # and the known ones
    assert not late & {row for part in (split.valid, split.test) for row in events(part)
                       if row[2] < last.get(row[0], -1)}  # fmt: skip
    trained = set(events(split.train)) - late
    latest = max((time for *_, time in trained), default=-1)
    assert latest < min(split.valid.frame["time"]) <= max(split.valid.frame["time"])
    assert max(split.valid.frame["time"]) < min(split.test.frame["time"])
    assert len(split.train) + len(split.valid) + len(split.test) == len(rows)


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=40))
def test_the_last_new_event_of_each_user_is_held_out(rows):
    """Held against a loop over users; items tell the events apart."""
    log = log_of([(user, place % 20, 0, new) for place, (user, new) in enumerate(rows)],
                 times=False)  # fmt: skip
    train, valid, test = [], [], []
    for user in range(10):
        own = [(user, place % 20, new) for place, (u, new) in enumerate(rows) if u == user]
        fresh = [event for event in own if event[2]]
        train += [event[:2] for event in own if not event[2]] + [e[:2] for e in fresh[:-2]]
        if len(fresh) > 1:
            valid.append(fresh[-2][:2])
            test.append(fresh[-1][:2])
        elif fresh:
            (valid if user % 5 == 0 else test).append(fresh[0][:2])
    try:
        split = newest(log, "last")
    except DataError:
        assert not (train and valid and test)
        return
    assert sorted(events(split.train)) == sorted(train)
    assert sorted(events(split.valid)) == sorted(valid)
    assert sorted(events(split.test)) == sorted(test)


def test_items_that_are_asked_before_they_were_trained_on_stay_as_misses():
    old = [(user, 0, user, False) for user in range(5)]
    new = [(place % 5, 1 + place, 10 + place, True) for place in range(10)]
    split = newest(log_of(old + new), "time")
    assert len(split.test) == 2
    assert split.train.item_counts[9] == split.train.item_counts[10] == 0
    assert split.aside.cold_items == 3


@pytest.mark.parametrize("by", ["time", "last"])
def test_too_few_events_are_refused(by):
    rows = [(0, 0, 1, False), (1, 1, 2, False), (1, 2, 3, True)]
    with refused(DataError):
        newest(log_of(rows), by)


def test_without_times_nothing_is_newest():
    with refused(DataError):
        newest(log_of([(0, 0, 0, False), (0, 1, 0, True)], times=False), "time")


def test_a_fraction_of_everything_is_refused():
    with refused(DataError):
        newest(log_of([(0, 0, 0, False), (0, 1, 0, True)]), "time", valid=0.5, test=0.5)


def test_equal_times_are_in_one_part():
    old = [(user, 0, 0, False) for user in range(5)]
    new = [(u, 1 + u, time, True) for time in (10, 20, 30, 40) for u in range(5)]
    split = newest(log_of(old + new), "time", valid=0.2, test=0.2)
    for part, time in ((split.valid, 30), (split.test, 40)):
        assert np.unique(part.frame["time"]).tolist() == [time]


def test_where_new_users_alone_would_judge():
    old = [(user, 0, user, False) for user in range(5)]
    new = [(5 + place, 1, 10 + place, True) for place in range(10)]
    with refused(DataError):
        newest(log_of(old + new), "time").cases("test")
