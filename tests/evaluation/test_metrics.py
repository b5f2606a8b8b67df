from math import log2

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.errors import DataError, RecipeError
from softrec.evaluation.metrics import (
    METRICS,
    NOT_RANKED,
    Ranks,
    evaluate,
    hit_rate,
    mrr,
    ndcg,
    parse_metric,
    precision,
    recall,
)


def flat(*cases: list[int], relevant: list[int] | None = None) -> Ranks:
    """Ranks from one list of ranks per case."""
    return Ranks(
        case=np.repeat(np.arange(len(cases)), [len(ranks) for ranks in cases]),
        rank=np.array([rank for ranks in cases for rank in ranks], dtype=np.int64),
        relevant=np.array(relevant or [len(ranks) for ranks in cases], dtype=np.int64),
    )


# --- golden values, as formulas ---


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (recall, [1, 1, 0, 0]),
        (hit_rate, [1, 1, 0, 0]),
        (precision, [1 / 5, 1 / 5, 0, 0]),
        (ndcg, [1 / log2(1 + 1), 1 / log2(5 + 1), 0, 0]),
        (mrr, [1 / 1, 1 / 5, 0, 0]),
    ],
)
def test_one_relevant_item(metric, expected):
    ranks = flat([1], [5], [6], [NOT_RANKED])
    np.testing.assert_allclose(metric(ranks, 5), expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (recall, 2 / 4),
        (hit_rate, 1),
        (precision, 2 / 3),
        (
            ndcg,
            (1 / log2(1 + 1) + 1 / log2(3 + 1))
            / (1 / log2(1 + 1) + 1 / log2(2 + 1) + 1 / log2(3 + 1)),
        ),
        (mrr, 1 / 1),
    ],
)
def test_more_relevant_items_than_places(metric, expected):
    np.testing.assert_allclose(metric(flat([7, 3, 1, NOT_RANKED]), 3), [expected], rtol=1e-15)


def test_fewer_relevant_items_than_places():
    ranks = flat([2, 4])
    ideal = 1 / log2(1 + 1) + 1 / log2(2 + 1)
    np.testing.assert_allclose(
        ndcg(ranks, 10), [(1 / log2(2 + 1) + 1 / log2(4 + 1)) / ideal], rtol=1e-15
    )
    np.testing.assert_allclose(recall(ranks, 10), [1.0])
    np.testing.assert_allclose(precision(ranks, 10), [2 / 10])
    np.testing.assert_allclose(mrr(ranks, 10), [1 / 2])


def test_relevant_items_that_could_not_be_ranked_count_as_misses():
    ranks = flat([1], [], relevant=[4, 1])
    np.testing.assert_allclose(recall(ranks, 10), [1 / 4, 0])
    np.testing.assert_allclose(mrr(ranks, 10), [1, 0])


def test_no_case_gives_no_value():
    ranks = flat()
    assert all(metric(ranks, 10).shape == (0,) for metric in METRICS.values())


# --- against an independent, slow reference, on the ranks of random scores with ties ---


def slow(name: str, places: list[int], relevant: int, k: int) -> float:
    """The metric of one case, straight from its definition."""
    hits = sorted(place for place in places if place <= k)
    if name == "recall":
        return len(hits) / relevant
    if name == "hit_rate":
        return 1.0 if hits else 0.0
    if name == "precision":
        return len(hits) / k
    if name == "ndcg":
        ideal = sum(1 / log2(place + 1) for place in range(1, min(k, relevant) + 1))
        return sum(1 / log2(place + 1) for place in hits) / ideal
    return 1 / hits[0] if hits else 0.0


@st.composite
def ranked_cases(draw, max_relevant: int = 4):
    """Pessimistic ranks of relevant items in lists of tied scores, some cut off."""
    cases = []
    for _ in range(draw(st.integers(1, 6))):
        scores = draw(st.lists(st.integers(0, 5), min_size=max_relevant, max_size=30))
        count = draw(st.integers(1, max_relevant))
        looked_at = draw(st.integers(1, 30))
        places = [sum(other >= score for other in scores) for score in scores[:count]]
        cases.append([place if place <= looked_at else NOT_RANKED for place in places])
    return cases


@pytest.mark.slow
@given(cases=ranked_cases(), k=st.integers(1, 32), order=st.randoms())
def test_equals_the_definition_in_any_order_and_stays_in_bounds(cases, k, order):
    ranks = flat(*cases)
    shuffled = list(range(len(ranks.case)))
    order.shuffle(shuffled)
    ranks = Ranks(ranks.case[shuffled], ranks.rank[shuffled], ranks.relevant)
    for name, metric in METRICS.items():
        values = metric(ranks, k)
        assert values.dtype == np.float64
        assert values.shape == (len(cases),)
        expected = [slow(name, places, len(places), k) for places in cases]
        np.testing.assert_allclose(values, expected, rtol=1e-12, err_msg=name)
        assert np.all((values >= 0) & (values <= 1)), name


@given(cases=ranked_cases(max_relevant=1), k=st.integers(1, 32))
def test_with_one_relevant_item_hit_rate_is_recall_and_bounds_the_others(cases, k):
    ranks = flat(*cases)
    np.testing.assert_array_equal(hit_rate(ranks, k), recall(ranks, k))
    assert np.all(mrr(ranks, k) <= ndcg(ranks, k) + 1e-12)
    assert np.all(ndcg(ranks, k) <= hit_rate(ranks, k) + 1e-12)


@given(cases=ranked_cases(max_relevant=1), k1=st.integers(1, 30), more=st.integers(1, 10))
def test_consistency_bound_between_two_cut_offs(cases, k1, more):
    """(H2 - H1) / log2(K2 + 1) <= N2 - N1 <= (H2 - H1) / log2(K1 + 2), for single relevant items"""
    ranks, k2 = flat(*cases), k1 + more
    h = recall(ranks, k2).mean() - recall(ranks, k1).mean()
    n = ndcg(ranks, k2).mean() - ndcg(ranks, k1).mean()
    assert h / log2(k2 + 1) - 1e-12 <= n <= h / log2(k1 + 2) + 1e-12


@given(cases=ranked_cases(), k=st.integers(1, 30))
def test_a_later_cut_off_loses_no_hit(cases, k):
    ranks = flat(*cases)
    for metric in (recall, hit_rate, mrr):
        assert np.all(metric(ranks, k + 1) >= metric(ranks, k))


@pytest.mark.parametrize("shift", range(5))
def test_the_best_ranking_is_worth_one_exactly(shift):
    """Whatever the order in which its gains come: their sums may differ in the last digit."""
    for count in (3, 7, 20, 101):
        places = np.roll(np.random.default_rng(count).permutation(count) + 1, shift)
        assert ndcg(flat(places.tolist()), 200).tolist() == [1.0]


def test_the_best_ranking_is_worth_one():
    ranks = flat([1], [1, 2], [1, 2, 3, 4, 5], [5, 4, 3, 2, 1])
    np.testing.assert_allclose(ndcg(ranks, 3), 1.0, rtol=1e-15)
    np.testing.assert_allclose(mrr(ranks, 3), 1.0)


# --- names and tables ---


def test_evaluate_has_a_column_per_metric_and_cut_off():
    ranks = flat([1], [12], [NOT_RANKED])
    table = evaluate(ranks, ["recall@10", "recall@20", "mrr@10", "mrr@20"])
    assert table.columns == ["recall@10", "recall@20", "mrr@10", "mrr@20"]
    assert table["recall@20"].to_list() == [1.0, 1.0, 0.0]
    assert table["mrr@20"].to_list() == [1.0, 1 / 12, 0.0]
    assert set(table.dtypes) == {pl.Float64}


@pytest.mark.parametrize("name", list(METRICS))
def test_every_metric_is_found_by_its_name(name):
    assert parse_metric(f"{name}@20") == (METRICS[name], 20)


@pytest.mark.parametrize("name", ["ncdg@10", "", "@10", "NDCG@10"])
def test_an_unknown_metric_is_refused_with_the_known_ones(name):
    with refused(RecipeError):
        parse_metric(name)


@pytest.mark.parametrize("name", ["ndcg", "ndcg@", "ndcg@0", "ndcg@-5", "ndcg@ten", "ndcg@1.5"])
def test_a_cut_off_that_is_none_is_refused(name):
    with refused(RecipeError):
        parse_metric(name)


@pytest.mark.parametrize(
    ("case", "rank", "relevant"),
    [
        ([0], [0], [1]),
        ([1], [1], [1]),
        ([-1], [1], [1]),
        ([0, 0], [1], [2]),
        ([[0, 1]], [[1, 1]], [1, 1]),
        ([0, 1], [1, 1], [[1], [1]]),
        ([0, 0], [1, 2], [1]),
        ([0], [1], [1, 0]),
        # an item that is relevant twice: precision@1 would be 2, NDCG 1.23
        ([0, 1, 0], [1, 4, 1], [2, 1]),
        ([0, 1, 1, 1], [1, 2, 2, 2], [1, 3]),
    ],
)
def test_ranks_that_do_not_fit_together_are_refused(case, rank, relevant):
    with refused(DataError):
        Ranks(np.array(case), np.array(rank), np.array(relevant))
