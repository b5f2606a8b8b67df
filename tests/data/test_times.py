"""Times stay beside their items on every way from a log to a batch."""

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused, warned
from softrec.data.batches import (
    Padding,
    TrainingBatches,
    Windows,
    case_batches,
    context_batch,
    examples,
    padded_histories,
    training_batch,
)
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Cases, Split, leave_last_out, rows_of

PADDING = 99
SIDES: tuple[Padding, ...] = ("left", "right")
WINDOWS: tuple[Windows, ...] = ("last", "positions", "prefixes", "sliding", "interactions")

lists_of_items = st.lists(st.lists(st.integers(0, 20), max_size=9), min_size=1, max_size=6)
some_example = lists_of_items.filter(lambda lists: any(len(items) >= 2 for items in lists))


def time_of(item):
    """A time that gives its item away, and is never 0, the time of padding."""
    return 2**40 + 7 * item


def timed(lists) -> Sequences:
    plain = Sequences.of(lists)
    return Sequences(plain.offsets, plain.items, time_of(plain.items))


def check_times(history: torch.Tensor, time: torch.Tensor | None) -> None:
    assert time is not None
    assert time.dtype == torch.int64
    expected = torch.where(history == PADDING, 0, time_of(history))
    assert time.tolist() == expected.tolist()


# --- batches ---


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("windows", WINDOWS)
@given(some_example, st.integers(1, 6), st.integers(1, 8), st.integers(1, 9))
def test_times_stand_beside_their_items(windows, side, lists, length, stride, size):
    data = examples(timed(lists), windows, length, stride=stride)
    bare = examples(Sequences.of(lists), windows, length, stride=stride)
    for batch in TrainingBatches(data, size, PADDING, side=side):
        check_times(batch.history, batch.time)
        numbers = batch.example.unique_consecutive().numpy()
        plain = training_batch(bare, numbers, PADDING, side)
        assert plain.time is None
        for with_times, without in zip(batch[:6], plain[:6], strict=True):
            assert (with_times is None) == (without is None)
            assert with_times is None or torch.equal(with_times, without)
    for first in range(0, data.n_contexts, size):
        places = np.arange(first, min(first + size, data.n_contexts))
        batch = context_batch(data, places, PADDING, side)
        check_times(batch.history, batch.time)
        assert context_batch(bare, places, PADDING, side).time is None


@pytest.mark.parametrize("side", SIDES)
def test_an_empty_history_has_the_time_of_padding(side):
    data = examples(timed([[4], [7]]), "interactions", 5)
    batch = training_batch(data, np.array([1, 0]), PADDING, side)
    assert batch.time is not None
    assert batch.time.tolist() == [[0], [0]]


def test_no_event_at_all_has_no_time():
    history, time = padded_histories(timed([[], []]), np.zeros(2, int), np.zeros(2, int), PADDING)
    assert history.tolist() == [[PADDING], [PADDING]]
    assert time is not None
    assert time.tolist() == [[0], [0]]


@pytest.mark.parametrize("side", SIDES)
def test_times_move_to_a_device_with_their_batch(side):
    data = examples(timed([[1, 2, 3], [4, 5]]), "positions", 5)
    batch = training_batch(data, np.array([0, 1]), PADDING, side).to(torch.device("meta"))
    assert batch.time is not None
    assert batch.time.device.type == "meta"
    assert batch.time.shape == batch.history.shape


# --- rows and cases ---


@given(lists_of_items, st.data())
def test_rows_keep_their_times(lists, data):
    rows = np.array(data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=9)), dtype=int)
    taken = rows_of(timed(lists), rows)
    assert [taken[row].tolist() for row in range(len(rows))] == [lists[row] for row in rows]
    assert taken.times is not None
    np.testing.assert_array_equal(taken.times, time_of(taken.items))
    assert rows_of(Sequences.of(lists), rows).times is None


@given(
    st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=8), min_size=1, max_size=9),
    st.integers(1, 5),
    st.integers(1, 10),
)
def test_case_batches_hold_the_times_of_their_histories(lists, length, size):
    users = np.arange(len(lists))
    relevant = Sequences.of([[0]] * len(lists))
    for _, batch in case_batches(Cases(users, timed(lists), relevant), length, PADDING, size):
        check_times(batch.history, batch.time)
    bare = Cases(users, Sequences.of(lists), relevant)
    assert all(batch.time is None for _, batch in case_batches(bare, length, PADDING, size))


# --- logs ---

rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(-5, 5)), min_size=1, max_size=30
)


def log_of(rows) -> Interactions:
    return Interactions.read(pl.DataFrame(rows, schema=["user", "item", "time"], orient="row"))


def events_of(log: Interactions, sequences: Sequences, row: int) -> list[tuple]:
    assert sequences.times is not None
    part = slice(*sequences.offsets[row : row + 2])
    return list(zip(log.items.ids(sequences[row]), sequences.times[part].tolist(), strict=True))


@pytest.mark.slow
@given(rows)
def test_a_log_gives_the_times_of_its_events_in_order(rows):
    log = log_of(rows)
    assert log.sequences.times is not None
    assert log.sequences.times.dtype == np.int64
    for number, user in enumerate(log.users.raw):
        mine = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])
        assert events_of(log, log.sequences, number) == [row[1:] for row in mine]


def test_times_of_a_log_are_not_copied():
    log = log_of([(user, item, item) for user in range(3) for item in range(100)])
    assert log.sequences.times is not None
    assert np.shares_memory(log.sequences.times, log.ordered["time"].to_numpy())


def test_a_log_without_times_has_none():
    log = Interactions.read(pl.DataFrame({"user": [1, 1], "item": [2, 3]}))
    assert log.sequences.times is None


@given(lists_of_items)
def test_a_log_made_of_sequences_has_their_times(lists):
    times = np.arange(sum(map(len, lists)))
    plain = Sequences.of(lists)
    log = Interactions.from_sequences(Sequences(plain.offsets, plain.items, times))
    assert [log.sequences[user].tolist() for user in range(log.n_users)] == lists
    assert log.sequences.times is not None
    np.testing.assert_array_equal(log.sequences.times, times)


def test_cases_and_known_items_of_a_split_have_times():
    log = log_of([(1, 30, 3), (1, 10, 1), (2, 10, 5), (1, 20, 2), (2, 20, 6), (2, 30, 7)])
    with warned(UserWarning):
        split = leave_last_out(log, cold="keep")
    cases = split.cases("test")
    assert events_of(log, cases.history, 0) == [(10, 1), (20, 2)]
    assert events_of(log, cases.relevant, 1) == [(30, 7)]
    assert events_of(log, split.known(), 1) == [(10, 5), (20, 6), (30, 7)]


def test_known_items_are_those_of_all_parts():
    lists = ([[0], [1], []], [[2], [], []], [[1], [1], [2]])
    users = Interactions.from_sequences(Sequences.of(lists[0])).users
    parts = (Interactions.from_sequences(Sequences.of(part), users=users) for part in lists)
    known = Split(*parts, name="given").known()
    assert [known[user].tolist() for user in range(3)] == [[0, 2, 1], [1, 1], [2]]


@pytest.mark.parametrize("count", [0, 2, 4])
def test_each_item_needs_a_time(count):
    with refused(ValueError):
        Sequences(np.array([0, 3]), np.arange(3), np.arange(count))


def test_times_that_fill_a_wide_range_have_a_unit_of_their_own():
    """Such as milliseconds since a service began, which pass through 10^8, 10^10 and 10^11."""
    since = [3 * 10**8 * n for n in range(1, 1000)]
    log = Interactions.read(pl.DataFrame({"user": 0, "item": range(999), "time": since}))
    assert log.frame["time"].to_list() == since
