"""New events of a known log: what is new, what is known, and how ids and times are matched."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from messages import refused
from softrec.data.growing import grown, read_new
from softrec.data.interactions import Interactions
from softrec.data.values import FRACTIONS
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError

COLUMNS = dict.fromkeys(("user", "item", "time", "weight"))


def table(*rows, schema=("user", "item", "time")):
    return pl.DataFrame(rows, schema=list(schema)[: len(rows[0])], orient="row")


def added(known, *rows):
    """The grown log of raw rows, as a frame of raw ids."""
    log = Interactions.read(known)
    found = grown(log, read_new(table(*rows), log, COLUMNS))
    return found, found.log


KNOWN = table(("ann", "tea", 1), ("ann", "jam", 2), ("bob", "tea", 3))


def raw(log):
    frame = log.frame
    users, items = log.users.ids(frame["user"]), log.items.ids(frame["item"])
    return list(zip(users, items, frame["time"], frame["new"], strict=True))


def test_new_events_come_after_the_known_ones():
    found, log = added(KNOWN, ("cat", "oat", 5), ("ann", "ale", 4))
    assert raw(log) == [
        ("ann", "tea", 1, False), ("ann", "jam", 2, False), ("bob", "tea", 3, False),
        ("cat", "oat", 5, True), ("ann", "ale", 4, True),
    ]  # fmt: skip
    assert (found.duplicates, found.doubtful) == (0, 0)


def test_known_ids_keep_their_numbers_and_new_ones_follow():
    """`ale` sorts before all others and is still the last but one."""
    _, log = added(KNOWN, ("cat", "oat", 5), ("ann", "ale", 4))
    assert log.items.raw.to_list() == ["jam", "tea", "ale", "oat"]
    assert log.users.raw.to_list() == ["ann", "bob", "cat"]


def test_exact_repeats_of_known_events_are_left_out_and_others_kept():
    found, log = added(KNOWN, ("ann", "tea", 1), ("ann", "tea", 9), ("bob", "jam", 3))
    assert found.duplicates == 1
    assert [row[:3] for row in raw(log)[3:]] == [("ann", "tea", 9), ("bob", "jam", 3)]


def test_the_whole_log_may_be_given_again():
    rows = [*KNOWN.rows(), ("bob", "oat", 4)]
    found, log = added(KNOWN, *rows)
    assert (found.duplicates, len(log)) == (3, 4)


def test_without_times_a_pair_is_known_where_no_user_has_an_item_twice():
    found, log = added(KNOWN.drop("time"), ("ann", "tea"), ("ann", "oat"))
    assert (found.duplicates, found.doubtful, len(log)) == (1, 0, 4)


def test_without_times_what_precedes_a_known_event_of_its_user_is_not_new():
    """The run had left out ann's ale and bob's ale; in the whole log only what follows is new."""
    known = KNOWN.drop("time")  # ann: tea, jam; bob: tea
    again = [
        ("ann", "tea"), ("bob", "ale"), ("ann", "ale"), ("ann", "jam"), ("ann", "oat"),
        ("bob", "tea"), ("cat", "ale"), ("bob", "jam"),
    ]  # fmt: skip
    found, log = added(known, *again)
    assert (found.duplicates, found.earlier, found.doubtful) == (3, 2, 0)
    new = log.frame.filter("new")
    assert log.users.ids(new["user"]).to_list() == ["ann", "cat", "bob"]
    assert log.items.ids(new["item"]).to_list() == ["oat", "ale", "jam"]


def test_with_times_an_event_that_precedes_a_known_one_is_new():
    found, log = added(KNOWN, ("ann", "ale", 1), *KNOWN.rows())
    assert (found.duplicates, found.earlier, len(log)) == (3, 0, 4)


def test_a_log_without_times_with_nothing_new_says_what_was_left_out():
    with refused(DataError):
        added(KNOWN.drop("time"), ("ann", "tea"), ("ann", "oat"), ("ann", "jam"))


def test_without_times_a_log_with_repeats_gets_one_more():
    repeats = pl.concat([KNOWN, KNOWN[:1]]).drop("time")
    found, log = added(repeats, ("ann", "tea"), ("ann", "oat"))
    assert (found.duplicates, found.doubtful, len(log)) == (0, 1, 6)


def test_new_events_of_a_log_without_times_are_taken_in_the_order_of_theirs():
    _, log = added(KNOWN.drop("time"), ("bob", "oat", 9), ("bob", "ale", 7))
    assert "time" not in log.frame.columns
    assert log.items.ids(log.sequences[1]).to_list() == ["tea", "ale", "oat"]


@pytest.mark.parametrize(
    ("known", "new"),
    [([7, 8], ["8", "9"]), (["007", "8"], ["8", "009"]), (["7", "8"], [9, 8])],
)
def test_ids_are_matched_in_the_type_of_the_log(tmp_path, known, new):
    log = Interactions.read(pl.DataFrame({"user": ["a", "a"], "item": known, "time": [1, 2]}),
                            text_ids=isinstance(known[0], str))  # fmt: skip
    path = tmp_path / "new.csv"
    pl.DataFrame({"user": ["a", "a"], "item": new, "time": [3, 4]}).write_csv(path)
    found = grown(log, read_new(str(path), log, COLUMNS))
    assert found.log.items.raw.dtype == log.items.raw.dtype
    assert found.log.items.raw.to_list()[:2] == log.items.raw.to_list()
    kind = type(known[0])
    events = found.log.items.ids(found.log.frame["item"])
    assert events.to_list() == known + [kind(value) for value in new]


def test_a_vocabulary_that_is_not_sorted_grows_too():
    names = Vocabulary(pl.Series("raw", ["tea", "jam"])).grown(pl.Series(["oat", "tea", "ale"]))
    assert names.raw.to_list() == ["tea", "jam", "ale", "oat"]
    assert names.numbers(["ale", "tea", "oat", "no"]).tolist() == [2, 0, 3, -1]
    same = names.grown(pl.Series(["jam"]))
    assert same.raw.to_list() == names.raw.to_list()


@pytest.mark.parametrize(
    "rows",
    [
        [("ann", "tea", 1), ("bob", "tea", 3)],
        [("ann", "oat")],
        [("ann", "oat", 1_700_000_000_000)],
    ],
    ids=["nothing new", "no times", "milliseconds"],
)
def test_what_cannot_be_added_is_refused(rows):
    known = KNOWN
    if len(rows[0]) == 3 and rows[0][2] > 10**12:
        known = KNOWN.with_columns(time=pl.col("time") + 1_700_000_000)
    with refused(DataError):
        added(known, *rows)


def test_text_does_not_fit_numbers():
    log = Interactions.read(pl.DataFrame({"user": [1, 2], "item": [3, 4]}))
    with refused(DataError):
        grown(log, read_new(table(("ann", 3)), log, COLUMNS))


def test_numbers_of_the_log_are_as_wide_as_before():
    _, log = added(KNOWN, ("cat", "oat", 5))
    assert log.frame["user"].dtype == log.frame["item"].dtype == pl.UInt32
    assert log.frame["time"].to_numpy().dtype == np.int64


SECONDS = ["12.5", "100.25", "200"]


def timed(times):
    items = ["tea", "jam", "oat", "ale"][: len(times)]
    return pl.DataFrame({"user": ["ann"] * len(times), "item": items, "time": times})


def with_times(known, new):
    """The times of a grown log; the new event is one of `rye`."""
    log = Interactions.read(timed(known))
    rows = pl.DataFrame({"user": ["ann"], "item": ["rye"], "time": [new]})
    found = grown(log, read_new(rows, log, COLUMNS)).log
    assert found.times == log.times
    return found.frame["time"].to_list(), found.items.ids(found.sequences[0]).to_list()


@pytest.mark.parametrize("new", ["300", "300.0", "300.000000"])
def test_whole_seconds_follow_fractions_of_seconds(new):
    """The known ones are microseconds; 300 would come before all of them."""
    times, items = with_times(SECONDS, new)
    assert times == [12_500_000, 100_250_000, 200_000_000, 300_000_000]
    assert items == ["tea", "jam", "oat", "rye"]


def test_whole_numbers_that_look_like_the_microseconds_of_dates_are_these():
    moment = 1_727_587_344_000_000
    times, _ = with_times(["2024-09-29T05:22:24Z", "2024-09-29T05:22:25Z"], moment + 5_000_000)
    assert times == [moment, moment + 10**6, moment + 5 * 10**6]


def test_dates_have_one_unit_before_1973_too():
    assert with_times(["1971-01-01", "1971-01-02"], "1975-01-01")[1] == ["tea", "jam", "rye"]


@pytest.mark.parametrize(
    ("known", "new"),
    [
        (["7", "8"], "8.5"),
        (["2024-09-29T05:22:24Z"], "2024-09-29T14:22:24"),
        (["2024-09-29T05:22:24"], "2024-09-29T14:22:24+09:00"),
        (["2024-09-29T05:22:24"], "5"),
        (["2024-09-29T05:22:24"], "1727587344"),
        (["1727587344"], "2024-09-29T05:22:24"),
        (["1727587344.5"], "1727587344000"),
    ],
)
def test_times_of_another_kind_are_refused(known, new):
    with refused(DataError):
        with_times(known, new)


def test_a_log_that_does_not_tell_the_kind_of_its_times_has_a_unit():
    log = replace(Interactions.read(timed(["1727587344.5"])), times=None)
    with refused(DataError):
        read_new(timed(["1727587345"]), log, COLUMNS)


def test_cleaning_keeps_the_kind_of_times():
    log = Interactions.read(timed(SECONDS))
    assert log.times == log.drop_duplicates().times == log.pieces(2).times == FRACTIONS


def test_ids_of_one_column_are_numbers_beside_text_in_the_other():
    """As a program writes whole numbers that may be missing."""
    rows = pl.DataFrame({"user": ["1.0", "2.0"], "item": ["007", "8"]})
    log = Interactions.read(rows)
    assert [log.users.raw.to_list(), log.items.raw.to_list()] == [[1, 2], ["007", "8"]]
    new = pl.DataFrame({"user": ["2.0", "3.0"], "item": ["9", "8"]})
    found = grown(log, read_new(new, log, COLUMNS)).log
    assert found.users.raw.to_list() == [1, 2, 3]
    assert found.items.raw.to_list() == ["007", "8", "9"]


def test_a_number_with_zeros_in_front_is_another_id():
    log = Interactions.read(pl.DataFrame({"user": [1, 2], "item": [7, 8]}))
    with refused(DataError):
        new = pl.DataFrame({"user": [1, 2], "item": ["007", "9"]})
        grown(log, read_new(new, log, COLUMNS))
