import datetime
from collections import Counter

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.data.interactions import Interactions, Sequences
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError

pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40)


def log_of(rows, *columns: str) -> Interactions:
    return Interactions.read(pl.DataFrame(rows, schema=list(columns), orient="row"))


def raw_rows(log: Interactions) -> list[tuple]:
    """The rows of a log with raw ids, as they stand."""
    return log.frame.with_columns(
        user=log.users.ids(log.frame["user"]), item=log.items.ids(log.frame["item"])
    ).rows()


def check_compact(log: Interactions) -> None:
    """Every user and item of the vocabularies occurs, and numbers follow the sorted raw ids."""
    for column, vocabulary in (("user", log.users), ("item", log.items)):
        assert sorted(set(log.frame[column])) == list(range(len(vocabulary)))
        assert vocabulary.raw.to_list() == sorted(vocabulary.raw)
        assert log.frame.schema[column] == pl.UInt32


# --- sequences ---


def test_sequences_are_rows_of_one_flat_array():
    sequences = Sequences.of([[3, 1], [], [2]])
    assert len(sequences) == 3
    assert sequences.lengths.tolist() == [2, 0, 1]
    assert [sequences[user].tolist() for user in range(3)] == [[3, 1], [], [2]]
    assert len(Sequences.of([])) == 0


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6))
def test_a_log_made_of_sequences_has_them(lists):
    log = Interactions.from_sequences(Sequences.of(lists))
    assert [log.sequences[user].tolist() for user in range(log.n_users)] == lists
    assert log.n_users == len(lists)
    assert log.n_items == max([item for items in lists for item in items], default=-1) + 1
    assert not log.has_time


def test_a_log_made_of_sequences_takes_times_and_vocabularies():
    names = Vocabulary(pl.Series(["z", "y"]))
    log = Interactions.from_sequences(
        Sequences.of([[0, 1]]),
        times=np.array([5, 2]),
        users=Vocabulary(pl.Series(["u"])),
        items=names,
    )
    assert log.sequences[0].tolist() == [1, 0]
    assert raw_rows(log) == [("u", "z", 5), ("u", "y", 2)]


# --- reading ---


def test_rows_keep_the_order_of_the_source_and_sequences_that_of_time():
    log = log_of([("b", 9, 3), ("a", 7, 2), ("b", 5, 1), ("b", 7, 3)], "user", "item", "time")
    assert raw_rows(log) == [("b", 9, 3), ("a", 7, 2), ("b", 5, 1), ("b", 7, 3)]
    assert log.items.raw.to_list() == [5, 7, 9]
    assert [log.items.ids(log.sequences[user]).to_list() for user in (0, 1)] == [[7], [5, 9, 7]]


def test_without_times_the_order_of_the_rows_is_the_order_of_events():
    log = log_of([("b", 9), ("a", 7), ("b", 5), ("b", 7)], "user", "item")
    assert not log.has_time
    assert log.items.ids(log.sequences[1]).to_list() == [9, 5, 7]


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(0, 3)), min_size=1))
def test_sequences_equal_a_stable_sort_of_each_users_rows(rows):
    log = log_of(rows, "user", "item", "time")
    assert log.sequences.offsets[0] == 0
    assert len(log.sequences) == log.n_users == len({user for user, _, _ in rows})
    for number, user in enumerate(log.users.raw):
        mine = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])
        assert log.items.ids(log.sequences[number]).to_list() == [item for _, item, _ in mine]


@pytest.mark.slow
@given(pairs)
def test_item_counts(rows):
    log = log_of(rows, "user", "item")
    counted = Counter(item for _, item in rows)
    assert dict(zip(log.items.raw, log.item_counts, strict=True)) == counted


def test_several_files_share_vocabularies():
    tables = [pl.DataFrame({"user": [u], "item": [i]}) for u, i in (("b", 2), ("a", 2), ("b", 1))]
    logs = Interactions.together(tables)
    assert [raw_rows(log) for log in logs] == [[("b", 2)], [("a", 2)], [("b", 1)]]
    assert all(log.users is logs[0].users and log.items is logs[0].items for log in logs)


def test_files_with_different_columns_are_refused():
    train = pl.DataFrame({"user": [1], "item": [2], "time": [3]})
    with refused(DataError):
        Interactions.together([train, train.drop("time")])


# --- the fingerprint ---


def test_the_fingerprint_is_of_the_catalogue_alone():
    log = log_of([("a", 1), ("b", 2)], "user", "item")
    same = log_of([("c", 2), ("c", 1), ("c", 1)], "user", "item")
    assert log.fingerprint == same.fingerprint
    assert len(log.fingerprint) == 16


@pytest.mark.parametrize(
    "raw",
    [
        [1, 3],
        [1, 2, 3],
        [2, 1],
        ["1", "2"],
        ["12", ""],
        [datetime.date(1970, 1, 2), datetime.date(1970, 1, 3)],
    ],
)
def test_another_catalogue_has_another_fingerprint(raw):
    logs = [
        Interactions.from_sequences(Sequences.of([[0, 1]]), items=Vocabulary(pl.Series(ids)))
        for ids in ([1, 2], raw)
    ]
    assert logs[0].fingerprint != logs[1].fingerprint


# --- cleaning ---


@pytest.mark.slow
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), min_size=1),
    st.integers(1, 4),
)
def test_pieces_are_cut_from_the_oldest_on_and_rows_keep_their_order(rows, length):
    order = sorted(range(len(rows)), key=lambda place: (rows[place][2], place))
    seen: Counter = Counter()
    names = {}
    for place in order:
        user = rows[place][0]
        names[place] = f"{user}/{seen[user] // length + 1}"
        seen[user] += 1
    expected = [(names[place], *row[1:]) for place, row in enumerate(rows)]
    cut = log_of(rows, "user", "item", "time").pieces(length)
    assert raw_rows(cut) == expected
    check_compact(cut)


def test_a_piece_has_an_event():
    with refused(DataError):
        log_of([(0, 0)], "user", "item").pieces(0)


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)), min_size=1))
def test_drop_duplicates_keeps_the_earliest_and_the_order(rows):
    best = {}
    for place, (user, item, time) in enumerate(rows):
        best[user, item] = min(best.get((user, item), (time, place)), (time, place))
    expected = [row for place, row in enumerate(rows) if best[row[:2]] == (row[2], place)]
    assert raw_rows(log_of(rows, "user", "item", "time").drop_duplicates()) == expected


@given(pairs)
def test_drop_duplicates_without_times_keeps_the_first_row(rows):
    assert raw_rows(log_of(rows, "user", "item").drop_duplicates()) == list(dict.fromkeys(rows))


def slow_k_core(rows: list[tuple], k: int) -> list[tuple]:
    while True:
        users, items = (Counter(row[side] for row in rows) for side in (0, 1))
        kept = [row for row in rows if users[row[0]] >= k and items[row[1]] >= k]
        if kept == rows:
            return rows
        rows = kept


@given(pairs, st.integers(1, 4))
def test_k_core_equals_the_slow_reference(rows, k):
    expected = slow_k_core(rows, k)
    log = log_of(rows, "user", "item")
    if not expected:
        with refused(DataError):
            log.k_core(k)
        return
    core = log.k_core(k)
    assert raw_rows(core) == expected
    check_compact(core)


def test_k_core_takes_as_many_rounds_as_it_needs():
    # A chain: each round takes away one user, which leaves the next item with too little.
    chain = [(0, 0), *((n, n - step) for n in range(1, 20) for step in (0, 1))]
    square = [(user, item) for user in (100, 101) for item in (100, 101)]
    assert raw_rows(log_of(chain + square, "user", "item").k_core(2)) == square


@pytest.mark.slow
@given(pairs, st.integers(1, 4), st.integers(1, 4))
def test_min_counts_filters_items_and_then_users_once(rows, user, item):
    items = Counter(row[1] for row in rows)
    kept = [row for row in rows if items[row[1]] >= item]
    users = Counter(row[0] for row in kept)
    kept = [row for row in kept if users[row[0]] >= user]
    log = log_of(rows, "user", "item")
    if not kept:
        with refused(DataError):
            log.min_counts(user=user, item=item)
        return
    cleaned = log.min_counts(user=user, item=item)
    assert raw_rows(cleaned) == kept
    check_compact(cleaned)


def test_min_weight_keeps_what_is_at_least_the_bound():
    log = log_of([("a", 1, 3.5), ("b", 2, 4.0), ("c", 3, 4.5)], "user", "item", "rating")
    kept = log.min_weight(4)
    assert raw_rows(kept) == [("b", 2, 4.0), ("c", 3, 4.5)]
    check_compact(kept)
    assert len(log) == 3  # the log itself is as it was


def test_min_weight_needs_a_weight():
    with refused(DataError):
        log_of([("a", 1)], "user", "item").min_weight(4)


def test_where_keeps_the_vocabularies():
    log = log_of([("a", 1), ("b", 2), ("b", 1)], "user", "item")
    for keep in (pl.col("user") == 1, np.array([False, True, True])):
        part = log.where(keep)
        assert raw_rows(part) == [("b", 2), ("b", 1)]
        assert (part.n_users, part.n_items) == (2, 2)
        assert part.sequences.lengths.tolist() == [0, 2]


# --- a history of raw ids ---


def test_history_numbers_keep_the_order_and_tell_what_is_unknown():
    log = log_of([("a", 10), ("a", 30), ("a", 20)], "user", "item")
    numbers, unknown = log.history_numbers([30, 99, "10", 7])
    assert numbers.tolist() == [2, 0]
    assert unknown == [99, 7]
    numbers, unknown = log.history_numbers([])
    assert (numbers.tolist(), unknown) == ([], [])


def test_the_text_of_a_log_is_short():
    assert repr(log_of([("a", "tea"), ("b", "jam")], "user", "item")) == (
        "Interactions(2 events, 2 users, 2 items such as 'jam', 'tea')"
    )
