import warnings
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from messages import refused
from softrec.data import splits
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import (
    Cases,
    LeakageWarning,
    SetAside,
    by_time,
    by_user_ratio,
    carved,
    check_cold,
    leave_last_out,
    rows_of,
)
from softrec.errors import DataError

# user, item, time; the last column makes each event one of a kind
rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 12)), min_size=3, max_size=40
)
shares = st.sampled_from(
    [(0.1, 0.1), (0.2, 0.3), (0.05, 0.9), (0.45, 0.5), (0.3, 0.05), (0.9, 0.05)]
)


def log_of(rows, *columns: str) -> Interactions:
    log = Interactions.read(pl.DataFrame(rows, schema=list(columns), orient="row"))
    return Interactions(log.frame.with_row_index("event"), log.users, log.items)


def parts_of(split) -> list[pl.DataFrame]:
    return [split.train.frame, split.valid.frame, split.test.frame]


def check_partition(split, log: Interactions) -> None:
    """Each event of the log is in one part, unchanged, and the parts share the vocabularies."""
    together = pl.concat(parts_of(split)).sort("event")
    assert together.equals(log.frame)
    for part in (split.train, split.valid, split.test):
        assert part.users is log.users
        assert part.items is log.items


def told(cut, *arguments, **options):
    """The split, and the text of its warning if there is one."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", LeakageWarning)
        split = cut(*arguments, **options)
    assert len(caught) <= 1
    return split, str(caught[0].message) if caught else ""


def check_leaks(split, warned: str) -> None:
    """Whether and how much a split leaks, counted here event by event."""
    train, valid, test = (part.select("user", "item", "time").rows() for part in parts_of(split))
    if not any(before > time for _, _, time in test for _, _, before in train):
        assert warned == ""
        assert split.leak() is None
        return
    times = sorted(time for _, _, time in test)
    median = times[(len(times) - 1) // 2]
    later = sum(time > median for _, _, time in train) / len(train)
    unheard = sum(
        bool(learned := [before for _, other, before in train if other == item])
        and min(learned) > time
        for _, item, time in test
    )
    own = {
        user
        for user, _, time in test
        if any(other == user and before > time for other, _, before in train + valid)
    }
    leak = split.leak()
    assert leak.trained_later == pytest.approx(later)
    assert (leak.first_seen_later, leak.tested, leak.users) == (unheard, len(test), len(own))
    assert warned.startswith(f"the {split.name} split leaks time: {leak.trained_later:.0%} of the")
    assert f"{unheard:,} of {len(test):,} test events" in warned
    assert (f"{len(own):,} users go on in their own histories" in warned) == bool(own)
    assert "--split time" in warned
    assert "\n" not in warned


# --- leave the last one out ---


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=6), min_size=1, max_size=6))
def test_leave_last_out_tests_on_the_last_and_validates_on_the_one_before(lists):
    log = Interactions.from_sequences(Sequences.of(lists))
    split = leave_last_out(log, cold="keep")
    for user, items in enumerate(lists):
        assert split.train.sequences[user].tolist() == items[:-2]
        assert split.valid.sequences[user].tolist() == items[-2:-1]
        assert split.test.sequences[user].tolist() == items[-1:]


@pytest.mark.slow
@given(rows, st.sampled_from(["keep", "drop"]))
def test_leave_last_out_goes_by_time_and_nothing_gets_lost(rows, short):
    log = log_of(rows, "user", "item", "time")
    assume(log.sequences.lengths.max() >= 3)
    split, warned = told(leave_last_out, log, short=short, cold="keep")
    check_leaks(split, warned)
    lengths = log.sequences.lengths
    if short == "drop":
        log = log.where(lengths[log.frame["user"].to_numpy()] >= 3)
    check_partition(split, log)
    for user in range(log.n_users):
        train, valid, test = (frame.filter(pl.col("user") == user) for frame in parts_of(split))
        if lengths[user] < 3:
            assert (len(valid), len(test)) == (0, 0)
            continue
        assert (len(valid), len(test)) == (1, 1)
        # ties in time go by the order of the rows
        moments = [max(part.select("time", "event").rows()) for part in (train, valid, test)]
        assert moments == sorted(moments)


def test_leave_last_out_names_users_with_too_little():
    log = Interactions.from_sequences(Sequences.of([[0, 1, 0, 1], [0], [0, 1]]))
    with refused(DataError):
        leave_last_out(log, short="error")


def test_leave_last_out_of_short_users_alone_has_nothing_to_test():
    log = Interactions.from_sequences(Sequences.of([[0], [0, 1]]))
    with refused(DataError):
        leave_last_out(log, short="keep")


def test_leave_last_out_without_times_has_nothing_to_warn_of():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leave_last_out(Interactions.from_sequences(Sequences.of([[0, 0, 0]])))


# --- one moment for all ---


@pytest.mark.slow
@given(rows, shares)
def test_by_time_never_learns_from_the_future(rows, share):
    log = log_of(rows, "user", "item", "time")
    try:
        split = by_time(log, valid=share[0], test=share[1], cold="keep")
    except DataError:
        assume(False)  # too few moments to cut at
    check_partition(split, log)
    train, valid, test = (part["time"] for part in parts_of(split))
    assert train.max() < valid.min() <= valid.max() < test.min()


def test_by_time_cuts_at_the_shares():
    rows = [(0, n % 3, n) for n in np.random.default_rng(0).permutation(100).tolist()]
    split = by_time(log_of(rows, "user", "item", "time"), valid=0.2, test=0.1)
    assert [len(part) for part in parts_of(split)] == [70, 20, 10]
    assert split.test.frame["time"].min() == 90


def test_by_time_needs_times():
    log = Interactions.from_sequences(Sequences.of([[0, 1, 2]]))
    with refused(DataError):
        by_time(log)


def test_by_time_of_one_moment():
    log = log_of([(0, 0, 5), (0, 1, 5), (1, 0, 5)], "user", "item", "time")
    with refused(DataError):
        by_time(log)


# --- a share of each user ---


@pytest.mark.slow
@given(rows, shares, st.integers(0, 3))
def test_by_user_ratio_gives_each_part_a_share_of_each_user(rows, share, seed):
    log = log_of(rows, "user", "item", "time")
    assume(log.sequences.lengths.max() >= 3)
    split, warned = told(by_user_ratio, log, valid=share[0], test=share[1], seed=seed, cold="keep")
    check_leaks(split, warned)
    check_partition(split, log)
    counts = [np.bincount(part["user"], minlength=log.n_users) for part in parts_of(split)]
    for train, valid, test in zip(*counts, strict=True):
        total = train + valid + test
        if total < 3:
            assert (valid, test) == (0, 0)
            continue
        assert min(train, valid, test) >= 1
        for part, wanted in ((valid, share[0]), (test, share[1])):
            assert part <= max(1, total * wanted)


@pytest.mark.parametrize(
    ("length", "valid", "test", "counts"),
    [
        (10, 0.2, 0.3, (5, 2, 3)),
        (3, 0.05, 0.9, (1, 1, 1)),  # 0 and 2 by the shares alone
        (10, 0.9, 0.05, (1, 8, 1)),  # 9 and 0, which with one for the test leave nothing to train
        (10, 0.05, 0.9, (1, 1, 8)),  # 0 and 9
        (19, 0.1, 0.1, (17, 1, 1)),
        (20, 0.1, 0.1, (16, 2, 2)),
    ],
)
def test_by_user_ratio_rounds_down_but_never_to_nothing(length, valid, test, counts):
    log = Interactions.from_sequences(Sequences.of([list(range(length))]))
    split = by_user_ratio(log, valid=valid, test=test, cold="keep")
    assert tuple(len(part) for part in (split.train, split.valid, split.test)) == counts


def test_by_user_ratio_keeps_the_order_of_a_log_without_times():
    lists = [list(range(30)), list(range(29, -1, -1))]
    log = Interactions.from_sequences(Sequences.of(lists))
    split = by_user_ratio(log, valid=0.2, test=0.2, cold="keep")
    for part in (split.train, split.valid, split.test):
        assert part.sequences[0].tolist() == sorted(part.sequences[0])
        assert part.sequences[1].tolist() == sorted(part.sequences[1], reverse=True)
    assert sorted(split.test.sequences[0]) != list(range(24, 30))  # random, not the last ones


def test_by_user_ratio_depends_on_the_seed_alone():
    log = Interactions.from_sequences(Sequences.of([list(range(50))] * 3))
    first, again, other = (
        by_user_ratio(log, seed=seed, cold="keep").test.sequences.items.tolist()
        for seed in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("cut", [by_time, by_user_ratio])
@pytest.mark.parametrize(("valid", "test"), [(0, 0.1), (0.1, 1), (0.5, 0.5), (-0.1, 0.2)])
def test_shares_that_leave_nothing(cut, valid, test):
    log = log_of([(0, 0, n) for n in range(9)], "user", "item", "time")
    with refused(DataError):
        cut(log, valid=valid, test=test)


# --- published parts ---


@pytest.mark.slow
@given(rows, st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 3))
def test_carved_validates_on_training_events_and_keeps_the_test_part(rows, share, seed):
    log = log_of(rows, "user", "item", "time")
    test = log.where(pl.col("event") == 0)
    split, warned = told(carved, log, test, valid=share, seed=seed)
    check_leaks(split, warned)
    assert split.test is test
    assert pl.concat([split.train.frame, split.valid.frame]).sort("event").equals(log.frame)
    for part in (split.train, split.valid):
        assert part.frame["event"].is_sorted()
    kept = np.bincount(split.train.frame["user"], minlength=log.n_users)
    held = np.bincount(split.valid.frame["user"], minlength=log.n_users)
    assert (kept >= 1).all()
    assert (held == np.where(kept + held > 1, np.maximum(1, (kept + held) * share // 1), 0)).all()


def test_carved_depends_on_the_seed_alone_and_takes_no_end_of_the_row():
    log = Interactions.from_sequences(Sequences.of([list(range(50))] * 3))
    first, again, other = (
        [carved(log, log, valid=0.2, seed=seed).valid.sequences[user].tolist() for user in range(3)]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    for taken in (*first, *other):
        assert taken not in (list(range(10)), list(range(40, 50)))
    assert first[0] != first[1]


@pytest.mark.parametrize("share", [0, 1, 1.5, -0.5])
def test_carved_needs_a_share(share):
    log = Interactions.from_sequences(Sequences.of([[0, 1]]))
    with refused(DataError):
        carved(log, log, valid=share)


def test_given_files_are_taken_as_they_are():
    tables = [
        pl.DataFrame({"user": users, "item": items})
        for users, items in ((["a", "a", "b"], [1, 2, 3]), (["a"], [3]), (["b", "c"], [1, 2]))
    ]
    split = splits.given(*Interactions.together(tables))
    assert split.name == "given"
    cases = split.cases("test")
    # c has no history; the history of b does not know what a was validated on
    assert cases.user.tolist() == [1]
    assert [cases.history[0].tolist(), cases.relevant[0].tolist()] == [[2], [0]]


# --- items that nobody can have learned ---


def cold_parts() -> tuple[Interactions, Interactions, Interactions]:
    tables = [
        pl.DataFrame({"user": users, "item": items})
        for users, items in (([0, 1], ["a", "b"]), ([0, 1], ["b", "new"]), ([0, 1], ["a", "late"]))
    ]
    train, valid, test = Interactions.together(tables)
    return train, valid, test


def test_cold_items_are_named():
    with refused(DataError):
        splits.given(*cold_parts(), cold="error")


def test_cold_items_are_kept_as_certain_misses():
    split = splits.given(*cold_parts(), cold="keep")
    assert (len(split.train), len(split.valid), len(split.test)) == (2, 2, 2)
    assert split.train.n_items == 4


def test_cold_items_are_dropped_with_their_events():
    split = splits.given(*cold_parts(), cold="drop")
    assert split.valid.items.ids(split.valid.frame["item"]).to_list() == ["b"]
    assert split.test.items.ids(split.test.frame["item"]).to_list() == ["a"]
    assert check_cold(split, "error") is split


@pytest.mark.parametrize("cut", [leave_last_out, partial(by_time, valid=0.3, test=0.2)])
def test_an_item_that_only_the_test_has(cut):
    rows = [(0, "old", 1), (0, "old", 2), (0, "old", 3), (1, "old", 4), (1, "old", 5)]
    log = log_of([*rows, (1, "new", 6)], "user", "item", "time")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakageWarning)
        with refused(DataError):
            cut(log, cold="error")
        kept, dropped = cut(log, cold="keep"), cut(log, cold="drop")
    assert kept.train.n_items == dropped.train.n_items == 2
    assert len(kept.test) == len(dropped.test) + 1
    assert len(kept.valid) == len(dropped.valid)


def test_by_default_little_known_users_and_items_are_set_aside_and_said():
    lists = [[0, 1, 2, 0], [0, 2, 1, 0], [1, 0], [2], [2, 1, 0, 7], [0, 1, 8, 9]]
    split = leave_last_out(Interactions.from_sequences(Sequences.of(lists)))
    assert [split.train.sequences[user].tolist() for user in (2, 3)] == [[1, 0], [2]]
    assert split.cases("test").user.tolist() == [0, 1]  # 7 and 9 are in no training event
    assert split.cases("valid").user.tolist() == [0, 1, 4]  # nor is 8
    assert split.aside == SetAside(2, "keep", 3, 3, "drop")
    assert split.aside.sentence() == (
        "2 users and 3 items set aside, because the users have fewer than 3 events (used for "
        "training, not evaluated), and no training event has the items (their 3 events are removed "
        "from validation and test)"
    )
    assert split.aside.facts() == {
        "short_users": 2, "short": "keep", "cold_items": 3, "cold_events": 3, "cold": "drop",
    }  # fmt: skip


def test_one_of_each_is_told_in_the_singular():
    assert SetAside(1, "keep", 1, 1, "drop", single_users=1).sentence() == (
        "1 user and 1 item and 1 sequence of validation and test set aside, because the user has "
        "fewer than 3 events (used for training, not evaluated), and no training event has the "
        "item (its 1 event is removed from validation and test), and it has one event, so that no "
        "history is left"
    )
    assert SetAside(cold_items=1, cold_events=1, cold="keep").sentence() == (
        "1 item without a training event is kept as a certain miss (1 event)"
    )


def test_what_is_kept_or_dropped_otherwise_is_said_so():
    lists = [[0, 1, 2, 0], [0, 2, 1, 0], [1, 0], [2], [0, 1, 8, 9]]
    log = Interactions.from_sequences(Sequences.of(lists))
    assert leave_last_out(log, short="drop", cold="keep").aside.sentence() == (
        "2 users set aside, because the users have fewer than 3 events (dropped); 2 items without "
        "a training event are kept as certain misses (2 events)"
    )
    few = by_user_ratio(log, short="drop", cold="keep")
    assert few.aside.short_users == 2
    assert few.train.sequences.lengths.tolist()[2:4] == [0, 0]
    with refused(DataError):
        by_user_ratio(log, short="error")
    usual = Interactions.from_sequences(Sequences.of([[0, 1, 1, 0, 0], [1, 0, 0, 1, 1]]))
    assert leave_last_out(usual).aside.sentence() == ""


@pytest.mark.parametrize("cut", [leave_last_out, by_user_ratio])
def test_all_that_is_wrong_with_a_log_is_told_at_once(cut):
    log = Interactions.from_sequences(Sequences.of([[0, 0, 0, 0, 0], [1, 2, 3, 4], [2]]))
    with refused(DataError):
        cut(log, short="error", cold="error")


def test_cold_items_alone_leave_nothing_to_ask():
    log = Interactions.from_sequences(Sequences.of([[0, 0, 1], [2, 2, 3]]))
    with refused(DataError):
        leave_last_out(log)


def test_users_known_from_validation_alone_are_counted():
    tables = [
        pl.DataFrame({"user": users, "item": items})
        for users, items in (
            (["a", "b", "b"], [1, 2, 3]),
            (["a", "c", "d"], [3, 1, 2]),
            (["a", "c", "e"], [2, 2, 1]),
        )
    ]
    split = splits.given(*Interactions.together(tables))
    assert split.untrained_users() == 1  # c; d is not asked about, e has no history at all
    assert split.cases("test").user.tolist() == [0, 2]


# --- cases ---


@pytest.mark.slow
@given(rows)
def test_cases_ask_for_a_part_after_all_that_is_known_before(rows):
    log = log_of(rows, "user", "item", "time")
    try:
        split = by_time(log, valid=0.3, test=0.3, cold="keep")
    except DataError:
        assume(False)
    train, valid, test = (
        [part.sequences[user].tolist() for user in range(log.n_users)]
        for part in (split.train, split.valid, split.test)
    )
    known = [mine + after for mine, after in zip(train, valid, strict=True)]
    for part, histories, asked in (("valid", train, valid), ("test", known, test)):
        expected = {
            user: [history, list(dict.fromkeys(relevant))]  # an item once, at its first place
            for user, (history, relevant) in enumerate(zip(histories, asked, strict=True))
            if history and relevant
        }
        if not expected:
            with refused(DataError):
                split.cases(part)
            continue
        cases = split.cases(part)
        assert cases.user.tolist() == list(expected)
        for row, user in enumerate(cases.user):
            assert [cases.history[row].tolist(), cases.relevant[row].tolist()] == expected[user]
        assert cases.single == all(len(relevant) == 1 for _, relevant in expected.values())


def test_an_item_cannot_be_relevant_twice():
    with refused(ValueError):
        Cases(np.array([0, 1]), Sequences.of([[0], [1]]), Sequences.of([[2], [3, 2, 3]]))


some_rows = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@given(st.lists(st.tuples(some_rows, st.sets(st.integers(0, 6), min_size=1)), max_size=6))
def test_new_cases_ask_for_nothing_of_the_history(rows):
    histories = [history for history, _ in rows]
    asked = [list(relevant) for _, relevant in rows]
    cases = Cases(np.arange(len(rows)) + 7, Sequences.of(histories), Sequences.of(asked))
    repeated = [item in history for history, items in zip(histories, asked, strict=True)
                for item in items]  # fmt: skip
    assert cases.repeated.tolist() == repeated
    new = cases.new_only()
    expected = [
        (user, history, [item for item in relevant if item not in history])
        for user, (history, relevant) in enumerate(zip(histories, asked, strict=True), 7)
        if set(relevant) - set(history)
    ]
    assert new.user.tolist() == [user for user, _, _ in expected]
    for row, (_, history, relevant) in enumerate(expected):
        assert [new.history[row].tolist(), new.relevant[row].tolist()] == [history, relevant]
    assert not new.repeated.any()


def test_cases_keep_the_times_of_what_they_keep():
    log = Interactions.read(
        pl.DataFrame({"user": [1] * 6, "item": [5, 6, 5, 7, 7, 6], "time": [1, 2, 3, 4, 5, 6]})
    )
    split = splits.given(log.where(pl.col("time") < 3), log.where(pl.col("time") == 3),
                         log.where(pl.col("time") > 3), cold="keep")  # fmt: skip
    cases = split.cases("test")
    assert cases.relevant.times is not None
    assert cases.relevant.times.tolist() == [4, 6]
    new = cases.new_only()
    assert new.relevant.times is not None
    assert new.relevant.times.tolist() == [4]
    assert new.history.times is not None
    assert new.history.times.tolist() == [1, 2, 3]


def test_rows_of_takes_rows_in_any_order():
    sequences = Sequences.of([[1, 2], [], [3], [4, 5, 6]])
    taken = rows_of(sequences, np.array([3, 1, 0, 3]))
    assert [taken[row].tolist() for row in range(4)] == [[4, 5, 6], [], [1, 2], [4, 5, 6]]
    assert len(rows_of(sequences, np.array([], dtype=np.int64))) == 0
