from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
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
from softrec.data.interactions import Sequences
from softrec.data.shuffled import Shuffled
from softrec.data.splits import Cases
from softrec.data.windows import Lazy
from softrec.errors import DataError

PADDING = 99
SIDES: tuple[Padding, ...] = ("left", "right")
WINDOWS: tuple[Windows, ...] = ("last", "positions", "prefixes", "sliding", "interactions")

lists_of_items = st.lists(st.lists(st.integers(0, 20), max_size=12), min_size=1, max_size=6)
some_events = lists_of_items.filter(any)
some_example = lists_of_items.filter(lambda lists: any(len(items) >= 2 for items in lists))


def slow_examples(lists, windows, length, stride):
    """From the definition: (user, history, [(step, label), ...]) of each example."""
    for user, items in enumerate(lists):
        if windows == "interactions":
            for place, item in enumerate(items):
                yield user, items[:place][-length:], [(None, item)]
        elif len(items) < 2:
            continue
        elif windows == "last":
            yield user, items[:-1][-length:], [(None, items[-1])]
        elif windows == "prefixes":
            for place in range(1, len(items)):
                yield user, items[:place][-length:], [(None, items[place])]
        else:
            if windows == "positions":
                stretches = [items[-(length + 1) :]]
            else:
                starts = range(0, len(items) - 1, stride)
                stretches = [items[start : start + length + 1] for start in starts]
            for stretch in stretches:
                yield user, stretch[:-1], list(enumerate(stretch[1:]))


def unpadded(row: torch.Tensor, side: str) -> list[int]:
    """The items of one history; the padding must stand on `side` alone."""
    real = (row != PADDING).tolist()
    count = sum(real)
    assert real == ([True] * count + [False] * (len(real) - count))[:: 1 if side == "right" else -1]
    return row[row != PADDING].tolist()


def read_back(batch, side: str):
    """What a batch says, in the form of `slow_examples`, with the number of each example."""
    histories = [unpadded(row, side) for row in batch.history]
    if batch.row is None:
        assert batch.step is None
        return [
            (number, (user, history, [(None, label)]))
            for number, user, history, label in zip(
                batch.example.tolist(),
                batch.user.tolist(),
                histories,
                batch.label.tolist(),
                strict=True,
            )
        ]
    asked = [[] for _ in histories]
    numbers = [set() for _ in histories]
    for row, step, label, number in zip(
        batch.row.tolist(),
        batch.step.tolist(),
        batch.label.tolist(),
        batch.example.tolist(),
        strict=True,
    ):
        asked[row].append((step, label))
        numbers[row].add(number)
    return [
        (*number, (user, history, pairs))
        for number, user, history, pairs in zip(
            numbers, batch.user.tolist(), histories, asked, strict=True
        )
    ]


# --- windows ---


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("windows", WINDOWS)
@given(some_example, st.integers(1, 6), st.integers(1, 8), st.randoms())
def test_batches_equal_the_definition(windows, side, lists, length, stride, random):
    expected = list(slow_examples(lists, windows, length, stride))
    data = examples(Sequences.of(lists), windows, length, stride=stride)
    assert len(data) == len(expected)
    chosen = random.sample(range(len(expected)), random.randint(1, len(expected)))
    batch = training_batch(data, np.array(chosen), PADDING, side)
    assert read_back(batch, side) == [(number, expected[number]) for number in chosen]
    longest = max(len(expected[number][1]) for number in chosen)
    assert batch.history.shape == (len(chosen), max(longest, 1))
    assert all(part.dtype == torch.int64 for part in batch if part is not None)


@given(some_example, st.integers(1, 6))
def test_pieces_predict_every_item_but_the_first_once_by_default(lists, length):
    data = examples(Sequences.of(lists), "sliding", length)
    labels = training_batch(data, np.arange(len(data)), PADDING).label
    assert labels.tolist() == [item for items in lists for item in items[1:]]
    assert int((data.stop - data.start).max()) <= length + 1


@given(some_example, st.integers(1, 6))
def test_prefixes_hold_every_item_but_the_first_as_a_label_once(lists, length):
    data = examples(Sequences.of(lists), "prefixes", length)
    places = (data.stop - 1).tolist()  # where in the flat array each label stands
    assert len(set(places)) == len(places) == sum(max(len(items) - 1, 0) for items in lists)
    assert (data.stop - data.start >= 2).all()


@given(some_example, st.integers(1, 6))
def test_positions_are_the_last_items_of_each_user(lists, length):
    data = examples(Sequences.of(lists), "positions", length)
    stretches = [
        data.sequences.items[a:b].tolist() for a, b in zip(data.start, data.stop, strict=True)
    ]
    assert stretches == [items[-(length + 1) :] for items in lists if len(items) >= 2]


@given(some_events, st.integers(1, 6))
def test_interactions_are_the_events_in_order(lists, length):
    data = examples(Sequences.of(lists), "interactions", length)
    assert (data.stop - 1).tolist() == list(range(sum(map(len, lists))))
    assert data.user.tolist() == [user for user, items in enumerate(lists) for _ in items]


@pytest.mark.parametrize("side", SIDES)
def test_interactions_of_users_with_one_event_have_an_empty_history(side):
    data = examples(Sequences.of([[4], [], [7]]), "interactions", 5)
    batch = training_batch(data, np.array([1, 0]), PADDING, side)
    assert batch.history.tolist() == [[PADDING], [PADDING]]
    assert batch.label.tolist() == [7, 4]
    assert batch.user.tolist() == [2, 0]


@pytest.mark.parametrize("lists", [[], [[]], [[], []]])
def test_interactions_need_an_event(lists):
    with refused(DataError):
        examples(Sequences.of(lists), "interactions", 5)


@pytest.mark.parametrize("windows", WINDOWS[:-1])
def test_users_with_one_item_or_none_give_no_example(windows):
    data = examples(Sequences.of([[1], [], [2, 3], [4]]), windows, 5)
    assert data.user.tolist() == [2]
    with refused(DataError):
        examples(Sequences.of([[1], [], [4]]), windows, 5)


@pytest.mark.parametrize("length", [0, -1])
def test_a_length_must_be_at_least_one(length):
    with refused(DataError):
        examples(Sequences.of([[1, 2]]), "last", length)


@pytest.mark.parametrize("stride", [0, -2])
def test_a_stride_must_be_at_least_one(stride):
    with refused(DataError):
        examples(Sequences.of([[1, 2]]), "sliding", 3, stride=stride)


def test_unknown_windows_are_refused_with_the_known_ones():
    with refused(DataError):
        examples(Sequences.of([[1, 2]]), "all", 3)  # pyright: ignore[reportArgumentType]


# --- contexts ---


def slow_contexts(lists, windows, length, stride):
    """From the definition: (example, user, history, label) of each context, in order."""
    return [
        (number, user, history if step is None else history[: step + 1], label)
        for number, (user, history, pairs) in enumerate(
            slow_examples(lists, windows, length, stride)
        )
        for step, label in pairs
    ]


def rows_of(batch, side: str):
    """What a batch of one prediction a row says, in the form of `slow_contexts`."""
    assert batch.row is None
    assert batch.step is None
    assert all(part.dtype == torch.int64 for part in batch[:4])
    histories = [unpadded(row, side) for row in batch.history]
    parts = (batch.example.tolist(), batch.user.tolist(), histories, batch.label.tolist())
    return list(zip(*parts, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("windows", WINDOWS)
@given(some_example, st.integers(1, 6), st.integers(1, 8))
def test_contexts_equal_the_definition(windows, lists, length, stride):
    data = examples(Sequences.of(lists), windows, length, stride=stride)
    expected = slow_contexts(lists, windows, length, stride)
    assert data.n_contexts == len(expected)
    start, stop = data.histories()
    assert start.dtype == stop.dtype == np.int64
    histories = [data.sequences.items[a:b].tolist() for a, b in zip(start, stop, strict=True)]
    assert histories == [history for _, _, history, _ in expected]
    assert data.sequences.items[stop].tolist() == [label for *_, label in expected]


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("windows", WINDOWS)
@given(some_example, st.integers(1, 6), st.integers(1, 8), st.integers(1, 9), st.integers(0, 99))
def test_contexts_are_what_training_shows(windows, side, lists, length, stride, size, seed):
    """Each prediction of an epoch has its own context, with its history, label and user."""
    data = examples(Sequences.of(lists), windows, length, stride=stride)
    asked = []
    for batch in TrainingBatches(data, size, PADDING, seed=seed, side=side):
        step = None if batch.step is None else batch.step.numpy()
        contexts = data.contexts(batch.example.numpy(), step)
        assert contexts.dtype == np.int64
        shown = []
        for number, (user, history, pairs) in read_back(batch, side):
            for place, label in pairs:
                cut = history if place is None else history[: place + 1]
                shown.append((number, user, cut, label))
        assert rows_of(context_batch(data, contexts, PADDING, side), side) == shown
        asked += contexts.tolist()
    assert sorted(asked) == list(range(data.n_contexts))


@pytest.mark.slow
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("windows", WINDOWS)
@given(some_example, st.integers(1, 6), st.integers(1, 9))
def test_contexts_in_batches_of_any_size(windows, side, lists, length, size):
    data = examples(Sequences.of(lists), windows, length, stride=2)
    seen = []
    for first in range(0, data.n_contexts, size):
        places = np.arange(first, min(first + size, data.n_contexts))
        batch = context_batch(data, places, PADDING, side)
        assert len(batch.label) == len(places)
        longest = max(len(history) for _, _, history, _ in rows_of(batch, side))
        assert batch.history.shape[1] == max(longest, 1)
        seen += rows_of(batch, side)
    assert seen == slow_contexts(lists, windows, length, 2)


@pytest.mark.parametrize("windows", ["positions", "prefixes"])
def test_any_contexts_in_any_order_even_twice(windows):
    data = examples(Sequences.of([[1, 2, 3], [4], [5, 6]]), windows, 4)
    batch = context_batch(data, np.array([2, 0, 2]), PADDING)
    assert batch.history.tolist() == [[5], [1], [5]]
    assert batch.label.tolist() == [6, 2, 6]
    assert batch.user.tolist() == [2, 0, 2]
    assert len(context_batch(data, np.empty(0, dtype=np.int64), PADDING).label) == 0


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("wrong", [-1, 5])
def test_contexts_that_do_not_exist_are_refused(windows, wrong):
    data = examples(Sequences.of([[1, 2, 3], [5, 6]]), windows, 4)
    with refused(ValueError):
        context_batch(data, np.array([0, wrong]), PADDING)


def test_steps_are_given_where_every_position_is_asked_and_only_there():
    numbers = np.array([0])
    every, once = (examples(Sequences.of([[1, 2]]), name, 4) for name in ("positions", "last"))
    with refused(ValueError):
        every.contexts(numbers, None)
    with refused(ValueError):
        once.contexts(numbers, numbers)


# --- padding ---


@given(st.lists(st.lists(st.integers(0, 20), max_size=5), min_size=1), st.sampled_from(SIDES))
def test_padded_equals_row_by_row(lists, side):
    sequences = Sequences.of(lists)
    start, stop = sequences.offsets[:-1], sequences.offsets[1:]
    table, time = padded_histories(sequences, start, stop, PADDING, side)
    assert time is None
    width = max(1, *map(len, lists))
    expected = []
    for items in lists:
        rest = [PADDING] * (width - len(items))
        expected.append(items + rest if side == "right" else rest + items)
    assert table.tolist() == expected


# --- evaluation cases ---


@pytest.mark.slow
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(0, 20), min_size=1, max_size=8),
            st.lists(st.integers(0, 20), min_size=1, max_size=3, unique=True),
        ),
        min_size=1,
        max_size=9,
    ),
    st.integers(1, 5),
    st.integers(1, 10),
)
def test_case_batches_hold_the_last_items_of_each_case_in_order(rows, length, size):
    histories, relevant = zip(*rows, strict=True)
    user = np.arange(len(rows)) * 3
    cases = Cases(user, Sequences.of(histories), Sequences.of(relevant))
    seen = []
    for place, batch in case_batches(cases, length, PADDING, size):
        assert place.stop - place.start <= size
        assert batch.example.tolist() == list(range(place.start, place.stop))
        seen += zip(
            [unpadded(row, "right") for row in batch.history],
            batch.label.tolist(),
            batch.user.tolist(),
            strict=True,
        )
    assert seen == [
        (history[-length:], asked[0], number)
        for history, asked, number in zip(histories, relevant, user.tolist(), strict=True)
    ]


# --- epochs ---


def batches(
    seed: int = 0, batch_size: int = 4, windows: Windows = "prefixes", side: Padding = "right"
) -> TrainingBatches:
    lists = [list(range(user, user + 2 + user % 5)) for user in range(9)]
    data = examples(Sequences.of(lists), windows, 3)
    return TrainingBatches(data, batch_size, PADDING, seed=seed, side=side)


def order(epoch) -> list[list[int]]:
    return [batch.example.unique_consecutive().tolist() for batch in epoch]


def flat(epoch: list[list[int]]) -> list[int]:
    return [number for batch in epoch for number in batch]


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("batch_size", [1, 4, 7, 1000])
def test_each_example_comes_once_an_epoch(windows, batch_size):
    source = batches(windows=windows, batch_size=batch_size)
    for _ in range(2):
        epoch = order(source)
        assert sorted(flat(epoch)) == list(range(len(source.data)))
        assert len(epoch) == len(source)
        assert all(len(batch) == batch_size for batch in epoch[:-1])


def test_each_epoch_has_an_order_of_its_own():
    source = batches()
    first, second = flat(order(source)), flat(order(source))
    assert first != second != sorted(second)
    assert flat(order(batches(seed=1))) not in (first, second)


def test_the_order_depends_on_seed_and_epoch_alone():
    walked, jumped = batches(seed=3), batches(seed=3)
    order(walked)
    next(iter(walked))  # begun and left: the rest of epoch 1 is still there
    jumped.load_state_dict({"epoch": 1, "position": 0})
    assert order(walked) == order(jumped)[1:]
    assert order(walked) == order(jumped)
    # nor on the size of the batches, nor on how histories are padded
    assert flat(order(batches(batch_size=5, side="left"))) == flat(order(batches()))


@given(st.integers(0, 25))
def test_a_saved_state_goes_on_exactly(drawn):
    source = batches()
    assert len(source) == 7

    def stream(source):
        while True:
            yield from source

    running = stream(source)
    for _ in range(drawn):
        next(running)
    state = source.state_dict()
    assert state == {"epoch": drawn // 7, "position": drawn % 7}
    resumed = batches()
    resumed.load_state_dict(state)
    again = stream(resumed)
    for _ in range(9):
        for one, other in zip(next(running), next(again), strict=True):
            if one is None or other is None:
                assert one is other
            else:
                assert torch.equal(one, other)


# --- very many examples: limits make few of them many ---


@given(
    n=st.integers(0, 60), seed=st.integers(0, 9), block=st.integers(1, 9), some=st.integers(1, 5),
    cuts=st.lists(st.integers(0, 60), max_size=4),
)  # fmt: skip
def test_blocks_are_shuffled_completely_and_can_be_entered_anywhere(n, seed, block, some, cuts):
    order = Shuffled(n, (seed, 3), block=block, blocks=some)
    whole = order.at(0, n + 7)
    assert sorted(whole.tolist()) == list(range(n))
    edges = sorted({0, n, *(min(cut, n) for cut in cuts)})
    for begin, stop in reversed(list(pairwise(edges))):
        again = Shuffled(n, (seed, 3), block=block, blocks=some)
        assert again.at(begin, stop).tolist() == whole[begin:stop].tolist()
        assert order.at(begin, stop).tolist() == whole[begin:stop].tolist()


def test_blocks_are_far_apart_and_differ_by_seed():
    order = Shuffled(100_000, (1, 0), block=100, blocks=50)
    first = order.at(0, 5_000)
    assert len(np.unique(first // 100)) == 50  # all of a few blocks
    assert np.abs(np.diff(first)).mean() > 10_000  # one beside the other at random
    assert np.ptp(np.unique(first // 100)) > 500
    others = [
        Shuffled(100_000, seed, block=100, blocks=50).at(0, 5_000) for seed in ((1, 1), (2, 0))
    ]
    assert all((first != other).mean() > 0.9 for other in others)
    assert (others[0] != others[1]).mean() > 0.9


@pytest.mark.parametrize("windows", ["prefixes", "interactions"])
def test_ranges_that_are_computed_are_those_of_arrays(limit, windows):
    rows = Sequences.of([[1, 2, 3, 4, 5, 6], [7], [], [8, 9], [], [3, 2, 1, 0]])
    for length in (1, 3, 9):
        held = examples(rows, windows, length)
        limit(windows=1)
        lazy = examples(rows, windows, length)
        limit(windows=100)
        assert isinstance(lazy.start, Lazy)
        assert not isinstance(held.start, Lazy)
        assert len(lazy) == len(held)
        chosen = np.random.default_rng(0).permutation(len(held))
        for name in ("start", "stop", "user"):
            assert getattr(lazy, name)[chosen].tolist() == getattr(held, name)[chosen].tolist()
        assert lazy.n_contexts == held.n_contexts
        assert [part.tolist() for part in lazy.histories()] == [
            part.tolist() for part in held.histories()
        ]


@pytest.mark.parametrize("windows", WINDOWS)
def test_labels_are_counted_in_blocks(limit, windows):
    data = batches(windows=windows).data
    _, stop = data.histories()
    wanted = np.bincount(data.sequences.items[stop], minlength=PADDING)
    assert data.label_counts(PADDING).tolist() == wanted.tolist()
    limit(windows=3)
    assert data.label_counts(PADDING).tolist() == wanted.tolist()


def test_an_epoch_of_many_examples_is_complete_and_resumed_exactly(limit):
    limit(shuffled=10, windows=10)
    source, again = batches(batch_size=5), batches(batch_size=5)
    first, second = flat(order(source)), flat(order(source))
    assert sorted(first) == sorted(second) == list(range(len(source.data)))
    assert first != second
    again.load_state_dict({"epoch": 1, "position": 2})
    assert flat(order(again)) == second[10:]


def test_items_of_32_bits_give_the_same_batches():
    rows = Sequences.of([[1, 2, 3, 4], [5, 6, 7]])
    small = Sequences(rows.offsets, rows.items.astype(np.int32), rows.times)
    for windows in WINDOWS:
        both = [
            next(iter(TrainingBatches(examples(one, windows, 3), 9, PADDING)))
            for one in (rows, small)
        ]
        for one, other in zip(*both, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)
            assert one is None or one.dtype == other.dtype
