import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.data.interactions import Interactions, Sequences
from softrec.data.vocabulary import UNKNOWN, Vocabulary
from softrec.errors import DataError

NUMBERS = Vocabulary.of(pl.Series([30, 12, 7, 12]))
TEXTS = Vocabulary.of(pl.Series(["tea", "jam", "12"]))
DAYS = Vocabulary.of(pl.Series([datetime.date(2024, 1, 2), datetime.date(2023, 1, 1)]))

ids = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.lists(st.text(max_size=5), min_size=1),
    st.lists(st.dates(), min_size=1),
)


@pytest.mark.slow
@given(ids, st.randoms())
def test_there_and_back_and_the_order_is_the_sorted_one(values, random):
    vocabulary = Vocabulary.of(pl.Series(values))
    shuffled = random.sample(values, len(values))
    assert vocabulary.raw.to_list() == Vocabulary.of(pl.Series(shuffled)).raw.to_list()
    assert len(vocabulary) == len(set(values))
    assert vocabulary.raw.to_list() == sorted(
        set(values), key=lambda value: value.encode() if isinstance(value, str) else value
    )
    numbers = vocabulary.numbers(values)
    assert numbers.dtype == np.int64
    assert vocabulary.ids(numbers).to_list() == values
    np.testing.assert_array_equal(vocabulary.numbers(vocabulary.raw), np.arange(len(vocabulary)))


def test_an_order_of_the_caller_is_kept():
    vocabulary = Vocabulary(pl.Series(["b", "a"]))
    assert vocabulary.numbers(["a", "b", "c"]).tolist() == [1, 0, UNKNOWN]


many = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=20, max_size=60, unique=True),
    st.lists(st.text(max_size=5), min_size=20, max_size=60, unique=True),
    st.lists(st.dates(), min_size=20, max_size=60, unique=True),
)


@pytest.mark.slow
@given(many, st.integers(1, 4))
def test_one_id_is_found_as_many_are(values, left_out):
    """One by one or all at once, in an order of the caller's, with some that are not there."""
    vocabulary = Vocabulary(pl.Series(values[left_out:]))
    expected = [UNKNOWN] * left_out + list(range(len(values) - left_out))
    assert vocabulary.numbers(values).tolist() == expected
    assert [int(vocabulary.numbers([value])[0]) for value in values] == expected
    assert Vocabulary.of(pl.Series(values)).numbers(
        pl.Series([None], dtype=vocabulary.raw.dtype)
    ) == [UNKNOWN]


@pytest.mark.parametrize("kind", [pl.String, pl.Int64, pl.UInt8, pl.Float64, pl.Binary, pl.Date])
@pytest.mark.parametrize("order", [1, -1])
def test_ids_one_by_one_are_those_of_a_table(kind, order):
    values = pl.Series([3, 10, 7, 200, 41, 99, 5, 120, 64, 8])
    texts = kind in (pl.String, pl.Binary)
    column = (values.cast(pl.String).cast(kind) if texts else values.cast(kind)).sort()
    vocabulary = Vocabulary(column[::order].alias("raw"))
    for wanted in column.to_list():
        expected = vocabulary.raw.to_list().index(wanted)
        assert vocabulary.numbers(pl.Series([wanted], dtype=kind)).tolist() == [expected]
        assert vocabulary.numbers(pl.Series([wanted] * 9, dtype=kind)).tolist() == [expected] * 9


def test_ids_that_are_missing_beyond_either_end_or_null_are_unknown():
    vocabulary = Vocabulary(pl.Series(["é", "b", "z"]))
    assert vocabulary.numbers(["", "a", "c", "zz", "é", "ê"]).tolist() == [-1, -1, -1, -1, 0, -1]
    assert vocabulary.numbers(["b", None]).tolist() == [1, -1]


@pytest.mark.parametrize(
    ("vocabulary", "wanted", "expected"),
    [
        (NUMBERS, [12, 7, 99], [1, 0, UNKNOWN]),
        (NUMBERS, ["12", "99"], [1, UNKNOWN]),
        (NUMBERS, np.array([30, 7], dtype=np.int32), [2, 0]),
        (NUMBERS, [12.0, None], [1, UNKNOWN]),
        (NUMBERS, pl.Series("any name", [7], dtype=pl.UInt8), [0]),
        (NUMBERS, (number for number in (7, 7)), [0, 0]),
        (NUMBERS, ["12.0", "7.00", None], [1, 0, UNKNOWN]),
        (Vocabulary.of(pl.Series([True, False])), [True], [1]),
        (TEXTS, ["tea", "milk", None], [2, UNKNOWN, UNKNOWN]),
        (TEXTS, [12, 13], [0, UNKNOWN]),
        (TEXTS, ["tea", 12], [2, 0]),
        (TEXTS, pl.Series(["jam"], dtype=pl.Categorical), [1]),
        (DAYS, [datetime.date(2023, 1, 1), datetime.date(2020, 1, 1)], [0, UNKNOWN]),
        (DAYS, ["2024-01-02", "2024-01-03"], [1, UNKNOWN]),
        (DAYS, [datetime.datetime(2024, 1, 2)], [1]),
        (NUMBERS, [], []),
        (TEXTS, pl.Series([], dtype=pl.Int64), []),
    ],
)
def test_numbers_of_ids_of_the_same_kind(vocabulary, wanted, expected):
    assert vocabulary.numbers(wanted).tolist() == expected


@pytest.mark.parametrize(
    ("vocabulary", "wanted", "named"),
    [
        (NUMBERS, ["12", "tea"], "'tea'"),
        (NUMBERS, ["12", "012"], "'012'"),
        (NUMBERS, ["+7"], "'+7'"),
        (NUMBERS, ["007.0"], "'007.0'"),
        (NUMBERS, [True], "True"),
        (NUMBERS, [7, True], "True"),
        (TEXTS, ["tea", False], "False"),
        (NUMBERS, [12.5], "12.5"),
        (NUMBERS, [float("nan")], "nan"),
        (NUMBERS, [2**70], str(2**70)),
        (NUMBERS, [[12]], "12"),
        (DAYS, ["yesterday"], "'yesterday'"),
        (DAYS, [19724], "19724"),
        (DAYS, [datetime.datetime(2024, 1, 2, 3)], "datetime.datetime(2024, 1, 2, 3, 0)"),
    ],
)
def test_ids_of_another_kind_are_refused_not_lost(vocabulary, wanted, named):
    with refused(DataError) as caught:
        vocabulary.numbers(wanted)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_with_zeros_in_front_is_another_id_where_the_unknown_is_told():
    known, unknown = NUMBERS.sorted_out(["7", "07", "012", "12"])
    assert (known, unknown) == (["7", "12"], ["07", "012"])
    assert NUMBERS.known(pl.Series([True, None])).tolist() == [UNKNOWN, UNKNOWN]


def test_ids_of_numbers_that_do_not_exist_are_an_error():
    assert NUMBERS.ids([]).to_list() == []
    for number in (UNKNOWN, 3):
        with refused(IndexError):
            NUMBERS.ids([0, number])


far = st.sampled_from([0, 2**40, 2**63 - 1, -(2**63)])
columns_of = st.one_of(
    st.lists(st.lists(st.integers(-9, 30)), min_size=1, max_size=3),
    st.lists(st.lists(st.one_of(far, st.integers(0, 3))), min_size=1, max_size=3),
    st.lists(st.lists(st.text(max_size=3)), min_size=1, max_size=3),
    st.lists(st.lists(st.dates()), min_size=1, max_size=3),
)


@given(columns_of)
def test_columns_are_numbered_by_their_sorted_ids(columns):
    kind = next((type(value) for ids in columns for value in ids), int)
    dtype = {int: pl.Int64, str: pl.String}.get(kind, pl.Date)
    given_ids = [pl.Series(ids, dtype=dtype) for ids in columns]
    vocabulary, numbers = Vocabulary.numbering(given_ids)
    distinct = sorted({value for ids in columns for value in ids})
    assert vocabulary.raw.to_list() == distinct
    assert vocabulary.raw.dtype == dtype
    assert vocabulary.raw.name == "raw"
    expected = [[distinct.index(value) for value in ids] for ids in columns]
    assert [part.to_list() for part in numbers] == expected
    assert {part.dtype for part in numbers} == {pl.UInt32}


def test_ids_beyond_int64_are_numbered():
    ids = pl.Series([2**64 - 1, 2**64 - 2, 2**64 - 1], dtype=pl.UInt64)
    vocabulary, (numbers,) = Vocabulary.numbering([ids])
    assert vocabulary.raw.to_list() == [2**64 - 2, 2**64 - 1]
    assert numbers.to_list() == [1, 0, 1]


def test_a_log_of_nobody_keeps_the_type_of_its_users():
    nobody = Vocabulary(pl.Series("raw", [], dtype=pl.String))
    log = Interactions.from_sequences(Sequences.of([]), users=nobody)
    assert log.users is nobody
    assert log.users.numbers(["u1"]).tolist() == [UNKNOWN]
    with refused(DataError):
        Vocabulary(pl.Series("raw", [], dtype=pl.Int64)).numbers(["u1"])
