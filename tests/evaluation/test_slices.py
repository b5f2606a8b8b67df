from collections import Counter
from contextlib import nullcontext
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Cases, leave_last_out
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError
from softrec.evaluation.by_slice import differences_by_slice
from softrec.evaluation.significance import crossed, holm
from softrec.evaluation.slices import column_slices, deciles, label_counts, slices_of

PEOPLE = Vocabulary(pl.Series("raw", ["ann", "bob", "cem", "dan", "eve"]))


def log_of(*rows: str) -> Interactions:
    """A log of users u0, u1, ... with a letter for each item."""
    pairs = [(f"u{u}", item) for u, row in enumerate(rows) for item in row]
    return Interactions.read(pl.DataFrame(pairs, schema=["user", "item"], orient="row"))


def each(numbers) -> Sequences:
    """One item or user for each case."""
    return Sequences.of([[number] for number in numbers])


def range_of(value: int, ranges) -> str:
    (found,) = (name for name, low, high in ranges if low <= value <= high)
    return found


COUNTS = [("0", 0, 0), ("1", 1, 1), ("2", 2, 2), ("3-5", 3, 5), ("6-10", 6, 10), ("11+", 11, 10**9)]
LENGTHS = [("1", 1, 1), ("2", 2, 2), ("3-5", 3, 5), ("6-10", 6, 10), ("11-20", 11, 20),
           ("21-50", 21, 50), ("51+", 51, 10**9)]  # fmt: skip


@pytest.fixture(scope="module")
def split():
    rng = np.random.default_rng(4)
    shares = 1 / np.arange(1, 401) ** 1.3
    rows = []
    for _ in range(300):
        n = int(rng.choice([3, 4, 6, 9, 14, 30, 60]))
        rows.append("".join(chr(0x4E00 + i) for i in rng.choice(400, n, p=shares / shares.sum())))
    return leave_last_out(log_of(*rows), short="keep", cold="keep")


def test_slices_are_those_of_a_loop_over_the_cases(split):
    cases, train = split.cases("test"), split.train
    table = slices_of(cases, train)
    as_label, events = Counter(), Counter()
    for user in range(train.n_users):
        row = train.sequences[user].tolist()
        events.update(row)
        as_label.update(row[1:])
    by_events = sorted(range(train.n_items), key=lambda item: (-events[item], item))
    expected = []
    for case in range(len(cases)):
        (label,) = cases.relevant[case].tolist()
        rank = by_events.index(label)
        expected.append(
            (
                range_of(as_label[label], COUNTS),
                str(next(d for d in range(1, 11) if rank < d * train.n_items / 10)),
                range_of(len(cases.history[case]), LENGTHS),
                "known" if len(train.sequences[cases.user[case]]) else "new",
            )
        )
    assert table.rows() == expected
    assert table.columns == ["label count", "label popularity", "history length", "user"]
    assert table["label count"].n_unique() == 6
    assert table["history length"].n_unique() >= 4


@pytest.mark.parametrize(
    ("count", "name"),
    [(0, "0"), (1, "1"), (2, "2"), (3, "3-5"), (5, "3-5"), (6, "6-10"), (10, "6-10"), (11, "11+"),
     (5000, "11+")],
)  # fmt: skip
def test_where_slices_of_counts_begin(count, name):
    train = log_of("ab", "cd")
    cases = Cases(np.array([0]), each([0]), each([2]))
    assert slices_of(cases, train, labels=np.array([7, 7, count, 7]))["label count"][0] == name


def test_slices_keep_their_order_and_names():
    column = slices_of(Cases(np.array([0]), each([0]), each([1])), log_of("ab"))["label count"]
    assert column.dtype.categories.to_list() == ["0", "1", "2", "3-5", "6-10", "11+"]


def test_a_user_without_a_training_event_is_new():
    train = log_of("ab", "cd").where(np.array([True, True, False, False]))
    cases = Cases(np.array([0, 1]), each([0, 2]), each([3, 3]))
    assert slices_of(cases, train)["user"].to_list() == ["known", "new"]


def test_of_several_relevant_items_the_lower_median_counts():
    train = log_of("ab", "cd")
    labels = np.array([0, 2, 4, 20])
    relevant = Sequences.of([[0, 1, 3], [3, 0], [3, 2, 1, 0], [3]])
    cases = Cases(np.array([0, 0, 1, 1]), each([0] * 4), relevant)
    found = slices_of(cases, train, labels=labels)["label count"].to_list()
    assert found == ["2", "0", "2", "11+"]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
def test_deciles(events):
    found = deciles(np.array(events))
    assert found.min() == 1
    assert found.max() <= 10
    sizes = np.bincount(found, minlength=11)[1:]
    assert sizes.max() - sizes.min() <= 1
    for i in range(len(events)):
        for j in range(i):
            assert found[i] <= found[j] or events[i] <= events[j]
            if events[i] == events[j]:
                assert found[j] <= found[i]  # ties by number


def test_label_counts_leave_out_the_first_event_and_empty_users():
    rows = Sequences.of([[], [0, 1, 1], [], [1], [2, 0], []])
    assert label_counts(rows, 4).tolist() == [1, 2, 0, 0]
    assert label_counts(Sequences.of([[], []]), 2).tolist() == [0, 0]


GOODS = Vocabulary(pl.Series("raw", list("abcdef")))


@given(st.lists(st.lists(st.integers(0, 5), min_size=1), min_size=1, max_size=4))
def test_a_number_of_several_items_is_the_lower_median_of_the_known_ones(rows):
    """Of at most four cases, each value is a slice: no two are between the same quartiles."""
    prices = pl.DataFrame({"id": GOODS.raw, "price": [7, 1, 9, 3, 5, None]})
    found = column_slices(prices, GOODS, Sequences.of(rows), "item")["price"]
    for row, got in zip(rows, found, strict=True):
        known = sorted(price for item in row for price in [prices["price"][item]] if price)
        assert got == (str(known[(len(known) - 1) // 2]) if known else "missing")


@given(st.lists(st.lists(st.integers(0, 5), min_size=1), min_size=1, max_size=6))
def test_a_category_of_several_items_is_the_most_frequent_and_first(rows):
    kinds = pl.DataFrame({"id": GOODS.raw, "kind": list("yxzxyx")})
    found = column_slices(kinds, GOODS, Sequences.of(rows), "item")["kind"]
    for row, got in zip(rows, found, strict=True):
        own = [kinds["kind"][item] for item in row]
        assert got == min(own, key=lambda kind: (-own.count(kind), kind))


def test_columns_of_text_are_slices_as_they_are():
    table = pl.DataFrame(
        {
            "id": ["dan", "nobody", "ann", "bob"],
            "city": ["Ulm", "Rom", None, "Bonn"],
            "member": [True, True, False, None],
            "kind": pl.Series(["x", "y", "x", "x"], dtype=pl.Categorical),
        }
    )
    found = column_slices(table, PEOPLE, each([0, 1, 2, 3, 3]), "user")
    assert found["city"].to_list() == ["missing", "Bonn", "missing", "Ulm", "Ulm"]
    assert found["city"].dtype.categories.to_list() == ["Bonn", "Ulm", "missing"]  # of the log
    assert found["member"].to_list() == ["false", "missing", "missing", "true", "true"]
    assert found["kind"].to_list() == ["x", "x", "missing", "x", "x"]


def test_numbers_are_cut_at_the_quartiles_of_the_cases():
    ages = pl.DataFrame({"id": PEOPLE.raw, "age": [20, 30, 30, 50, None]})
    asked = each([0, 0, 1, 2, 3, 3, 3, 3, 4])
    # ages of the cases 20 20 30 30 50 50 50 50, quartiles 20 30 50 50
    found = column_slices(ages, PEOPLE, asked, "user")["age"]
    assert found.to_list() == ["20", "20", "30", "30", "50", "50", "50", "50", "missing"]


def test_quartiles_are_of_equal_size_and_in_order():
    people = Vocabulary(pl.Series("raw", np.arange(100)))
    rng = np.random.default_rng(0)
    values = rng.permutation(100) / 2
    table = pl.DataFrame({"id": people.raw, "x": values, "nan": np.full(100, np.nan)})
    found = column_slices(table, people, each(range(100)), "user")
    counts = dict(zip(*np.unique(found["x"].to_list(), return_counts=True), strict=True))
    assert counts == {"0 to 12": 25, "12.5 to 24.5": 25, "25 to 37": 25, "37.5 to 49.5": 25}
    assert found["x"].sort().to_list()[::25] == ["0 to 12", "12.5 to 24.5", "25 to 37",
                                                 "37.5 to 49.5"]  # fmt: skip
    assert found["nan"].unique().to_list() == ["missing"]


def test_dates_are_shown_as_dates():
    days = [date(2020, 1, 1), date(2020, 1, 2), date(2021, 5, 5), date(2021, 5, 6)]
    table = pl.DataFrame({"id": ["ann", "bob", "cem", "dan"], "since": days})
    found = column_slices(table, PEOPLE, each([0, 1, 2, 3, 4]), "user")["since"]
    assert found.to_list() == ["2020-01-01", "2020-01-02", "2021-05-05", "2021-05-06", "missing"]


def test_decimals_are_cut_by_their_value_and_not_by_how_they_are_stored():
    prices = pl.Series(["0.99", "1.99", "2.99", "10.5"]).cast(pl.Decimal(10, 2))
    table = pl.DataFrame({"id": ["ann", "bob", "cem", "dan"], "price": prices})
    found = column_slices(table, PEOPLE, each([0, 1, 2, 3, 4]), "user")["price"]
    assert found.to_list() == ["0.99", "1.99", "2.99", "10.5", "missing"]


def test_numbers_written_alike_stay_apart():
    people = Vocabulary(pl.Series("raw", np.arange(4)))
    table = pl.DataFrame({"id": people.raw, "x": 1 + np.arange(4) * 1e-9})
    found = column_slices(table, people, each(range(4)), "user")["x"]
    assert found.n_unique() == 4
    assert found[2] == "quartile 3: 1"


def test_tables_of_users_and_items_are_ways_to_slice():
    train = log_of("ab", "cd")
    cases = Cases(np.array([0, 1]), each([0, 2]), Sequences.of([[3, 0, 1], [2, 3]]))
    users = pl.DataFrame({"who": ["u1", "u0"], "city": ["Ulm", "Bonn"]})
    items = pl.DataFrame({"what": list("abcd"), "shelf": ["low", "low", "top", "top"],
                          "price": [4, 1, 9, 2]})  # fmt: skip
    table = slices_of(cases, train, user_table=users, item_table=items)
    assert table["user: city"].to_list() == ["Bonn", "Ulm"]
    assert table["item: shelf"].to_list() == ["low", "top"]  # low twice of three
    assert table["item: price"].to_list() == ["2", "2"]  # medians of 2 4 1, and of 9 2 the lower


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"id": ["ann"]}),
        pl.DataFrame({"id": ["ann", "ann"], "x": [1, 2]}),
        pl.DataFrame({"id": ["ann", None], "x": [1, 2]}),
        pl.DataFrame({"x": ["Ulm"], "id": ["ann"]}),
        pl.DataFrame({"id": ["ann"], "x": [[1, 2]]}),
    ],
    ids=["no column", "twice", "null", "other ids", "lists"],
)
def test_what_cannot_be_sliced_is_refused(table):
    with refused(DataError):
        column_slices(table, PEOPLE, each(range(5)), "user")


@pytest.mark.parametrize("extra", [0, 1])
def test_more_than_fifty_values_are_refused(extra, caplog):
    people = Vocabulary(pl.Series("raw", [f"u{n}" for n in range(50 + extra)]))
    table = pl.DataFrame({"id": people.raw, "x": people.raw.str.to_uppercase()})
    with refused(DataError) if extra else nullcontext():
        column_slices(table, people, each(range(len(people))), "user")
    if extra:
        both = table.with_columns(half=pl.Series(["a", "b", "b"] * 17))
        with caplog.at_level("INFO"):
            found = column_slices(both, people, each(range(len(people))), "user")
        assert list(found) == ["half"]
        assert "column 'x' of the table of users has 51 values" in caplog.text


# --- differences ---


@pytest.fixture
def judged():
    rng = np.random.default_rng(1)
    slices = pl.DataFrame(
        {
            "size": pl.Series(rng.choice(["b", "a", "c"], 90)).cast(pl.Enum(["b", "c", "a", "d"])),
            "half": ["left"] * 45 + ["right"] * 45,
        }
    )
    base = rng.random((3, 90))
    return slices, {"one-hot": base, "soft": base + 0.1 * rng.standard_normal((3, 90)),
                    "better": base + 0.2 + 0.1 * rng.standard_normal((3, 90))}  # fmt: skip


def test_each_slice_is_compared_as_if_it_were_all(judged):
    slices, values = judged
    table = differences_by_slice(slices, values)
    assert len(table) == 3 * (3 + 2)
    p_values = []
    for row in table.iter_rows(named=True):
        inside = (slices[row["slicing"]].cast(pl.String) == row["slice"]).to_numpy()
        own = values[row["variant"]][:, inside]
        assert row["n"] == inside.sum()
        assert row["mean"] == pytest.approx(own.mean())
        if row["variant"] == "one-hot":
            assert [row[name] for name in table.columns[5:]] == [None] * 7
            continue
        expected = crossed(values["one-hot"][:, inside], own)
        assert (row["difference"], row["low"], row["high"], row["p"]) == pytest.approx(
            (expected.mean, expected.low, expected.high, expected.p)
        )
        assert (row["low_users"], row["high_users"]) == (expected.users.low, expected.users.high)
        p_values.append(row["p"])
    found = table["p_holm"].drop_nulls().to_list()
    assert len(found) == 10
    assert found == pytest.approx(holm(p_values).tolist())
    assert max(a / b for a, b in zip(found, p_values, strict=True)) > 5


def test_slices_stand_in_their_order_and_empty_ones_are_left_out(judged):
    table = differences_by_slice(*judged)
    order = table.filter(pl.col("slicing") == "size")["slice"].unique(maintain_order=True)
    assert order.to_list() == ["b", "c", "a"]


@pytest.mark.parametrize("slicing", ["size", "half"])
def test_slices_partition_the_cases(judged, slicing):
    slices, values = judged
    table = differences_by_slice(slices, values).filter(pl.col("slicing") == slicing)
    for name, own in values.items():
        rows = table.filter(pl.col("variant") == name)
        assert rows["n"].sum() == 90
        assert (rows["n"] * rows["mean"]).sum() / 90 == pytest.approx(own.mean())


def test_of_one_seed_the_interval_over_cases_alone_is_left(judged):
    slices, values = judged
    table = differences_by_slice(slices, {name: own[:1] for name, own in values.items()})
    rest = table.filter(pl.col("variant") != "one-hot")
    assert rest["low_users"].null_count() == 0
    assert rest.select("low", "high", "p", "p_holm").null_count().row(0) == (10,) * 4


def test_values_of_other_cases_are_refused(judged):
    slices, values = judged
    with refused(DataError):
        differences_by_slice(slices, {"a": values["soft"][:, 1:]})
    with refused(DataError):
        differences_by_slice(slices, {})


def test_a_counted_variant_is_the_same_in_every_training(judged):
    slices, values = judged
    counted = {"one-hot": values["one-hot"], "popularity": values["soft"][:1]}
    table = differences_by_slice(slices, counted, deterministic=["popularity"])
    (row,) = table.filter(pl.col("slice") == "left", pl.col("variant") == "popularity").rows(
        named=True
    )
    expected = crossed(values["one-hot"][:, :45], values["soft"][:1, :45], deterministic=True)
    assert (row["low"], row["p"]) == pytest.approx((expected.low, expected.p))
