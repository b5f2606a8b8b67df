"""Which events are asked about, and after which histories: worked out here event by event."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from messages import refused
from softrec.data.cases import folder_of, is_in, rows_of
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Split, by_time, leave_last_out
from softrec.errors import DataError

RELEVANT = ["all", "first", "last", "random"]
# user, item, time: few users over few moments, so that some are new and some are gone at the cut
rows = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 5), st.integers(0, 12)), min_size=6, max_size=40
)
fractions = st.sampled_from([(0.1, 0.1), (0.2, 0.3), (0.3, 0.3), (0.1, 0.6)])


def log_of(rows) -> Interactions:
    return Interactions.read(pl.DataFrame(rows, schema=["user", "item", "time"], orient="row"))


def split_by_time(rows, fraction, cold="keep", **protocol):
    split = by_time(log_of(rows), valid=fraction[0], test=fraction[1], cold=cold)
    return Split(split.train, split.valid, split.test, split.name, split.aside, **protocol)


def cuts_of(rows, valid, test):
    """The two moments: the first time that so large a fraction of the events lies before."""
    times = sorted(time for _, _, time in rows)
    places = [(len(times) - 1) * share for share in (1 - valid - test, 1 - test)]
    return [times[int(np.ceil(np.round(place, 9)))] for place in places]


def expected_cases(rows, begin, end, warm=None):
    """For each user with events before and after a cut: history, and all that may be asked."""
    by_user = {}
    for user in sorted({user for user, _, _ in rows}):
        own = sorted((event for event in rows if event[0] == user), key=lambda event: event[2])
        before = [item for _, item, time in own if time < begin]
        after = [item for _, item, time in own if begin <= time < end]
        if warm is not None:
            after = [item for item in after if item in warm]
        if before and after:
            by_user[user] = (before, after)
    return by_user


@pytest.mark.slow
@given(rows, fractions, st.sampled_from(RELEVANT), st.integers(0, 3))
def test_one_cut_through_time_asks_about_later_events_after_earlier_ones(
    rows, fraction, relevant, seed
):
    try:
        split = split_by_time(rows, fraction, relevant=relevant, seed=seed)
    except DataError:
        assume(False)  # too few moments to cut at
    log, (first, second) = split.train, cuts_of(rows, *fraction)
    assert split.train.frame["time"].max() < first
    for part, begin, end in (("valid", first, second), ("test", second, np.inf)):
        expected = expected_cases(rows, begin, end)
        if not expected:
            with refused(DataError):
                split.cases(part)
            continue
        cases = split.cases(part)
        assert log.users.ids(cases.user).to_list() == list(expected)
        for row, (before, after) in enumerate(expected.values()):
            assert log.items.ids(cases.history[row]).to_list() == before
            asked = log.items.ids(cases.relevant[row]).to_list()
            if relevant == "random":
                assert len(asked) == 1
                assert asked[0] in after
            else:
                assert asked == {"all": list(dict.fromkeys(after)), "first": after[:1],
                                 "last": after[-1:]}[relevant]  # fmt: skip
        ends = cases.history.offsets[1:] - 1
        assert cases.history.times is not None
        assert cases.relevant.times is not None
        latest = np.repeat(cases.history.times[ends], cases.relevant.lengths)
        assert (latest < begin).all()
        assert (cases.relevant.times >= begin).all()
        assert (cases.relevant.times < end).all()


@pytest.mark.slow
@given(rows, fractions)
def test_new_users_and_cold_items_are_counted_and_not_asked_about(rows, fraction):
    try:
        split = split_by_time(rows, fraction, cold="drop")
    except DataError:
        assume(False)
    first, second = cuts_of(rows, *fraction)
    warm = {item for _, item, time in rows if time < first}
    tested = {user for user, item, time in rows if time >= second and item in warm}
    known = {user for user, item, time in rows
             if time < first or (time < second and item in warm)}  # fmt: skip
    assert split.new_users() == len(tested - known)
    late = [item for _, item, time in rows if time >= first]
    assert split.aside.cold_items == len(set(late) - warm)
    assert split.aside.cold_events == sum(item not in warm for item in late)


def test_random_events_are_uniform_and_depend_on_the_seed_alone():
    rows = [(user, item, item) for user in range(400) for item in range(5)]
    rows += [(user, 5 + item % 4, 10 + item) for user in range(400) for item in range(4)]
    rows += [(user, 0, 5) for user in range(400) for _ in range(3)]
    log = log_of(rows)
    parts = [log.where(keep) for keep in (pl.col("time") < 5, pl.col("time") == 5,
                                          pl.col("time") > 5)]  # fmt: skip
    zero, again, one = (
        Split(*parts, "time", relevant="random", seed=seed).cases("test").relevant.items
        for seed in (0, 0, 1)
    )
    assert zero.tolist() == again.tolist() != one.tolist()
    drawn = Counter(log.items.ids(zero).to_list())
    assert set(drawn) == {5, 6, 7, 8}
    # 400 draws of 4: 100 each, with a standard deviation of 8.7
    assert all(60 < n < 140 for n in drawn.values())


def test_what_is_drawn_for_a_user_does_not_depend_on_the_others():
    rows = [(user, item, item) for user in range(30) for item in range(9)]
    log = log_of(rows)
    train, valid, test = (log.where(pl.col("time").is_between(*ends)) for ends in
                          ((0, 2), (3, 3), (4, 8)))  # fmt: skip
    whole = Split(train, valid, test, "time", relevant="random").cases("test")
    fewer = train.where(pl.col("user") % 2 == 0), valid.where(pl.col("user") < 0)
    some = Split(*fewer, test, "time", relevant="random").cases("test")
    assert some.user.tolist() == list(range(0, 30, 2))
    assert some.relevant.items.tolist() == whole.relevant.items[::2].tolist()


# --- the control of the order ---

lists = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=9), min_size=1, max_size=6)


@given(lists, st.integers(0, 3), st.booleans())
def test_a_shuffled_control_has_the_same_labels_items_and_times(lists, seed, timed):
    total = sum(map(len, lists))
    times = np.arange(total) * 7 if timed else None
    log = Interactions.from_sequences(Sequences.of(lists), times=times)
    weight = log.frame["item"].cast(pl.Float32) + 0.5
    log = Interactions(log.frame.with_columns(weight=weight), log.users, log.items)
    # The same moments for all, so that leaving the last one out leaks nothing.
    if timed:
        place = pl.int_range(pl.len()).over("user") - pl.len().over("user")
        log = Interactions(log.frame.with_columns(time=place.cast(pl.Int64)), log.users, log.items)
    split = leave_last_out(log, cold="keep")
    control = split.shuffled(seed)
    assert control.valid is split.valid
    assert control.test is split.test
    frame = control.train.frame
    assert (frame["weight"] == frame["item"].cast(pl.Float32) + 0.5).all()
    assert frame.columns == split.train.frame.columns
    for user in range(len(lists)):
        own, mixed = (part.train.sequences[user].tolist() for part in (split, control))
        assert Counter(own) == Counter(mixed)
        assert own[-1:] == mixed[-1:]
    if timed:
        assert control.train.sequences.times.tolist() == split.train.sequences.times.tolist()
    for part in ("valid", "test"):
        asked, mixed = split.cases(part), control.cases(part)
        assert mixed.user.tolist() == asked.user.tolist()
        assert mixed.relevant.items.tolist() == asked.relevant.items.tolist()
        for row in range(len(asked)):
            assert Counter(mixed.history[row].tolist()) == Counter(asked.history[row].tolist())


def test_a_shuffled_order_is_random_and_depends_on_the_seed_alone():
    log = Interactions.from_sequences(Sequences.of([list(range(6))] * 3000))
    split = leave_last_out(log, cold="keep")
    control, again, other = split.shuffled(1), split.shuffled(1), split.shuffled(2)
    assert control.train.frame.equals(again.train.frame)
    assert not control.train.frame.equals(other.train.frame)
    items = control.train.sequences.items.reshape(3000, 4)
    assert (items[:, -1] == 3).all()  # the label of windows: last
    # Each of the other three is as often at each place: 1,000, with a standard deviation of 26.
    for place in range(3):
        assert (abs(np.bincount(items[:, place], minlength=3) - 1000) < 130).all()
    histories = control.cases("test").history.items.reshape(3000, 5)
    for place in range(5):  # the validation item is not the latest any more: 600 each, +- 22
        assert (abs(np.bincount(histories[:, place], minlength=5) - 600) < 110).all()


def test_what_differs_from_the_usual_protocol_is_told():
    split = leave_last_out(Interactions.from_sequences(Sequences.of([[0, 1, 0, 1]] * 2)))
    assert split.protocol() == {}
    assert split.shuffled(3).protocol() == {"order": "shuffled", "seed": 3}
    assert Split(split.train, split.valid, split.test, "given", relevant="last").protocol() == {
        "relevant": "last", "seed": 0,
    }  # fmt: skip


numbers = st.lists(st.integers(-(2**40), 2**40) | st.integers(0, 3), max_size=8)


@given(numbers, numbers)
def test_is_in_is_membership_also_of_none(values, known):
    found = is_in(np.array(values, dtype=np.int64), np.array(known, dtype=np.int64))
    assert found.tolist() == [value in set(known) for value in values]
    assert found.dtype == bool


def test_rows_of_a_log_in_files_are_copied_to_files(tmp_path, limit):
    """So that their memory can be given back; those of a log in memory stay there."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 9, 200)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    parts = {"items": rng.integers(50, size=offsets[-1]).astype(np.int32),
             "times": rng.integers(10**6, size=offsets[-1])}  # fmt: skip
    stored = {}
    for name, values in parts.items():
        values.tofile(tmp_path / name)
        stored[name] = np.asarray(np.memmap(tmp_path / name, dtype=values.dtype, mode="r"))
    rows = np.flatnonzero(rng.random(200) < 0.7)
    in_memory = rows_of(Sequences(offsets, **parts), rows)
    limit(sorted=50)  # fewer events than there are
    found = rows_of(Sequences(offsets, **stored), rows)
    again = rows_of(found, np.arange(0, len(found), 2))
    assert folder_of(found.items) == folder_of(again.times) == tmp_path
    assert folder_of(in_memory.items) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["items", "times"]
    for row, chosen in enumerate(rows):
        place = slice(offsets[chosen], offsets[chosen + 1])
        assert found[row].tolist() == in_memory[row].tolist() == parts["items"][place].tolist()
        assert found.times[found.offsets[row] : found.offsets[row + 1]].tolist() == (
            parts["times"][place].tolist()
        )
    assert [again[row].tolist() for row in range(len(again))] == [
        found[row].tolist() for row in range(0, len(found), 2)
    ]
    limit(sorted=10**6)
    assert folder_of(rows_of(Sequences(offsets, **stored), rows).items) is None
