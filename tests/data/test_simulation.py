"""The simulated shop: its dials, its log, and the exactness of what it calls the truth."""

from dataclasses import replace
from itertools import pairwise, product
from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from messages import refused
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Cases, by_time, leave_last_out, rows_of
from softrec.errors import DataError, RecipeError
from softrec.simulation import (
    Shop,
    best_items,
    best_ranks,
    expected_metrics,
    make_shop,
    next_item,
    simulate,
)


def tiny(**dials) -> Shop:
    """Five items in two categories, two moods: small enough to enumerate everything."""
    chosen = dict(n_complements=2, drift=0.3, noise=0.1, seed=3) | dials
    return make_shop(5, 2, 2, 1, **chosen)


def cases_of(log: Interactions) -> Cases:
    return leave_last_out(log, cold="keep").cases("test")


def truth(the_shop: Shop, lists, **options) -> np.ndarray:
    blocks = [block for _, block in next_item(the_shop, Sequences.of(lists), **options)]
    return np.concatenate(blocks)


# --- the definition once more, in plain Python, without any recursion over moods ---


def wish(world: Shop, mood: int, past: list[int]) -> list[float]:
    """The distribution of one wish, before anything is rejected."""
    n = len(world.category)
    pulls = [(past[-1], 1.0)] if past else []
    if len(past) > 1:
        pulls = [(past[-1], 1 - world.memory), (past[-2], world.memory)]
    sticky = world.stickiness if past else 0.0
    chances = []
    for item in range(n):
        taste = world.tastes[mood, world.category[item]] * world.within[item]
        pull = 0.0
        for recent, weight in pulls:
            if world.category[recent] == world.category[item]:
                pull += weight * (1 - world.complementarity) * world.within[item]
            for paired, share in zip(
                world.complements[recent], world.complement_weight, strict=True
            ):
                if paired == item:
                    pull += weight * world.complementarity * share
        chances.append((1 - world.noise) * ((1 - sticky) * taste + sticky * pull) + world.noise / n)
    return chances


def logged(world: Shop, mood: int, past: list[int], exposed: bool) -> list[float]:
    """The distribution of the next logged item of a user whose mood is known."""
    shown = world.exposure if exposed else [1.0] * world.n_items
    chances = [
        0.0 if item in past else chance * shown[item]
        for item, chance in enumerate(wish(world, mood, past))
    ]
    return [chance / sum(chances) for chance in chances]


def enumerated(world: Shop, history: list[int], exposed: bool) -> np.ndarray:
    """The next item given the history: a sum over every path of moods."""
    total = np.zeros(world.n_items)
    for path in product(range(len(world.prior)), repeat=len(history) + 1):
        weight = world.prior[path[0]]
        for before, after in pairwise(path):
            weight *= (1 - world.drift) * (before == after) + world.drift * world.prior[after]
        for step, item in enumerate(history):
            weight *= logged(world, path[step], history[:step], exposed=True)[item]
        total += weight * np.array(logged(world, path[-1], history, exposed))
    return total / total.sum()


HISTORIES = [[], [2], [0, 4], [4, 0], [3, 1, 0], [1, 2, 4], [0, 1, 2, 3]]


@pytest.mark.parametrize("exposed", [False, True])
@pytest.mark.parametrize(
    "dials",
    [
        {},
        {"drift": 0.0},
        {"drift": 1.0},
        {"stickiness": 1.0, "complementarity": 1.0},
        {"stickiness": 0.9, "memory": 0.0, "complementarity": 0.2, "skew": 0.0},
        {"noise": 1.0},
        {"noise": 1e-3, "exposure_floor": 0.01, "skew": 2.0},
    ],
    ids=str,
)
def test_truth_is_the_sum_over_all_paths_of_moods(dials, exposed):
    world = replace(tiny(**dials), prior=np.array([0.7, 0.3]))
    got = truth(world, HISTORIES, exposed=exposed, block=3)
    want = np.array([enumerated(world, history, exposed) for history in HISTORIES])
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-15)


def test_truth_depends_on_the_order_and_on_more_than_the_last_item():
    forth, back, other = truth(tiny(drift=0.0), [[0, 4], [4, 0], [1, 4]])
    assert np.abs(forth - back).max() > 0.01
    assert np.abs(forth - other)[[2, 3]].max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("patience", [64, 1, 0])
@pytest.mark.parametrize("open_test", [True, False])
def test_simulated_frequencies_are_the_stated_ones(limit, open_test, patience):
    """Wishing and rejecting (or, out of patience, drawing exactly) gives the predicted log."""
    limit(wishes=patience)
    world = tiny(exposure_floor=0.1)
    sequences = simulate(world, 30_000, 3, 3, seed=5, open_test=open_test).sequences
    events = sequences.items.reshape(-1, 3)
    statistic, freedom = 0.0, 0
    for length, exposed in [(0, True), (1, True), (2, not open_test)]:
        contexts, context = np.unique(events[:, :length], axis=0, return_inverse=True)
        expected = truth(world, list(contexts), exposed=exposed)
        cell = context.ravel() * world.n_items + events[:, length]
        observed = np.bincount(cell, minlength=expected.size).reshape(expected.shape)
        expected *= observed.sum(axis=1, keepdims=True)
        assert (observed[expected == 0] == 0).all()
        enough = expected.min(axis=1, where=expected > 0, initial=np.inf) > 5
        assert enough.sum() >= min(5, 5**length)
        possible = (expected > 0) & enough[:, None]
        statistic += ((observed - expected)[possible] ** 2 / expected[possible]).sum()
        freedom += possible.sum() - enough.sum()
    assert 1e-3 < chi2.sf(statistic, freedom) < 1 - 1e-3


def test_the_chi_square_test_can_fail():
    """Reading an exposed event as an open one is far outside the sampling error."""
    world = tiny(exposure_floor=0.1)
    sequences = simulate(world, 30_000, 1, 1, seed=5, open_test=False).sequences
    expected = 30_000 * truth(world, [[]])[0]
    observed = np.bincount(sequences.items, minlength=5)
    assert chi2.sf(((observed - expected) ** 2 / expected).sum(), 4) < 1e-12


@pytest.fixture(scope="module")
def world() -> Shop:
    return make_shop(200, 10, 8, seed=1)


@pytest.fixture(scope="module")
def log(world) -> Interactions:
    return simulate(world, 1500, 5, 15, seed=2)


@pytest.fixture(scope="module")
def cases(log) -> Cases:
    return cases_of(log)


@pytest.mark.parametrize("exposed", [False, True])
def test_rows_are_distributions_over_unseen_items(world, cases, exposed):
    seen_rows = 0
    for rows, chances in next_item(world, cases.history, exposed=exposed, block=400):
        np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-10)
        assert chances.min() >= 0
        for row in range(rows.start, rows.stop):
            seen = cases.history[row]
            assert (chances[row - rows.start, seen] == 0).all()
            assert (chances[row - rows.start] > 0).sum() == world.n_items - len(seen)
        seen_rows = rows.stop
    assert seen_rows == len(cases)


def test_the_size_of_the_block_changes_nothing(world, cases):
    whole, *_ = next_item(world, cases.history, block=10_000)
    parts = [chances for _, chances in next_item(world, cases.history, block=37)]
    np.testing.assert_allclose(np.concatenate(parts), whole[1], rtol=1e-12)


def test_a_seed_is_a_world_and_a_log():
    one, same, other = make_shop(60, 4, seed=1), make_shop(60, 4, seed=1), make_shop(60, 4, seed=2)
    np.testing.assert_array_equal(one.tastes, same.tastes)
    np.testing.assert_array_equal(one.complements, same.complements)
    assert not np.array_equal(one.tastes, other.tastes)
    frame = simulate(one, 50, seed=1).frame
    assert frame.equals(simulate(same, 50, seed=1).frame)
    assert not frame.equals(simulate(one, 50, seed=2).frame)


def test_the_log_is_in_the_numbers_of_the_shop(world, log):
    assert log.n_items == world.n_items
    assert log.items.raw[12] == "sku-0012"
    assert not log.has_time
    lengths = log.sequences.lengths
    assert (lengths.min(), lengths.max()) == (5, 15)
    for user in range(log.n_users):
        assert len(np.unique(log.sequences[user])) == lengths[user]


def test_a_compacted_log_finds_its_way_back(world):
    few = simulate(world, 8, seed=4)
    compact = few.compact()
    assert compact.n_items < few.n_items
    back = world.items.numbers(compact.items.raw)
    np.testing.assert_array_equal(back[compact.sequences.items], few.sequences.items)


def test_times_keep_the_order_and_the_items(world):
    plain, timed = (simulate(world, 40, seed=4, times=times) for times in (False, True))
    np.testing.assert_array_equal(plain.sequences.items, timed.sequences.items)
    inside = np.repeat(np.arange(40), plain.sequences.lengths)
    assert (np.diff(timed.frame["time"].to_numpy())[np.diff(inside) == 0] > 0).all()
    assert len(by_time(timed, cold="keep").test) > 0


# --- the dials ---


def gini(counts: np.ndarray) -> float:
    ordered, n = np.sort(counts), len(counts)
    return float(2 * (np.arange(1, n + 1) @ ordered) / (n * ordered.sum()) - (n + 1) / n)


def test_skew_concentrates_the_log():
    flat, mild, steep = (
        gini(simulate(make_shop(200, 10, skew=skew), 500).item_counts) for skew in (0.0, 0.7, 1.4)
    )
    assert flat + 0.1 < mild < steep - 0.1


def test_skew_makes_some_categories_popular():
    """With one interest each, archetypes share out over categories as Zipf's law says."""
    liked = make_shop(50, 4, n_archetypes=20_000, interests=1, skew=1.0).tastes.mean(axis=0)
    np.testing.assert_allclose(liked, np.array([12, 6, 4, 3]) / 25, atol=0.02)


def test_full_noise_is_uniform():
    world = make_shop(200, 10, noise=1.0)
    chances = truth(world, [[], [3, 5]])
    np.testing.assert_allclose(chances[0], 1 / 200)
    np.testing.assert_allclose(chances[1][chances[1] > 0], 1 / 198)
    counts = simulate(world, 20_000, 1, 1).item_counts
    assert 1e-3 < chi2.sf(((counts - 100) ** 2 / 100).sum(), 199) < 1 - 1e-3


def categories_of_a_user(**dials) -> float:
    """How many categories a user of mere taste meets, on average."""
    world = make_shop(1000, 20, stickiness=0.0, noise=1e-6, skew=0.5, **dials)
    sequences = simulate(world, 300, 10, 10).sequences.items.reshape(-1, 10)
    return float(np.mean([len(np.unique(row)) for row in world.category[sequences]]))


def test_interests_and_drift_widen_what_a_user_takes():
    assert categories_of_a_user(interests=1, drift=0.0) == 1
    assert 2 < categories_of_a_user(interests=3, drift=0.0) <= 3
    assert categories_of_a_user(interests=3, drift=1.0) > 5


def test_stickiness_follows_the_last_item():
    def same_category(stickiness: float) -> float:
        world = make_shop(400, 20, stickiness=stickiness, complementarity=0.0, memory=0.0)
        category = world.category[simulate(world, 300, 10, 10).sequences.items.reshape(-1, 10)]
        return float((category[:, 1:] == category[:, :-1]).mean())

    assert same_category(0.0) + 0.2 < same_category(0.5) < same_category(1.0) - 0.2


def test_complements_lie_in_one_other_category():
    world = make_shop(100, 7, n_complements=4)
    goes_with = world.category[world.complements]
    assert (goes_with == goes_with[:, :1]).all()
    assert (goes_with[:, 0] != world.category).all()


def test_exposure_grows_with_popularity_from_its_floor(world):
    order = np.argsort(world.popularity)
    assert (np.diff(world.exposure[order]) >= 0).all()
    assert world.exposure.max() == 1
    assert 0.2 <= world.exposure.min() < 0.3
    assert (make_shop(50, 5, exposure_floor=1.0).exposure == 1).all()


def test_exposure_hides_unpopular_wishes(world, cases):
    """Of the same users, fewer unpopular items are logged than wished for."""
    rare = world.popularity < np.median(world.popularity)
    wished, seen = (
        np.mean([c[:, rare].sum(axis=1).mean() for _, c in next_item(world, cases.history, **how)])
        for how in ({"exposed": False}, {"exposed": True})
    )
    assert seen < 0.8 * wished


# --- the best ranking ---


def test_best_items_are_sorted_and_unseen(world, cases):
    best = best_items(world, cases, 20)
    chances = np.concatenate([block for _, block in next_item(world, cases.history)])
    listed = np.take_along_axis(chances, best, axis=1)
    assert (np.diff(listed, axis=1) <= 0).all()
    np.testing.assert_array_equal(listed, -np.sort(-chances, axis=1)[:, :20])


def test_best_ranks_count_what_is_at_least_as_probable(world, cases):
    ranks = best_ranks(world, cases)
    assert ranks.dtype == np.int64
    for case in (0, 7, 1499):
        chances = truth(world, [cases.history[case]])[0]
        item = cases.relevant[case][0]
        assert ranks[case] == sum(chance >= chances[item] for chance in chances)


def test_ties_count_against_the_item():
    cases = Cases(np.array([0]), Sequences.of([[4, 7]]), Sequences.of([[3]]))
    assert best_ranks(make_shop(10, 2, 2, 1, noise=1.0), cases) == [8]


@pytest.mark.parametrize("k", [1, 5, 20])
def test_the_test_events_agree_with_the_expectation(world, cases, k):
    ranks = best_ranks(world, cases)
    best = expected_metrics(world, cases, best_items(world, cases, k))
    gain = np.where(ranks <= k, 1 / np.log2(ranks + 1), 0)
    for measured, expected in ((ranks <= k, best.hit), (gain, best.ndcg)):
        error = np.std(measured - expected) / len(cases) ** 0.5
        assert abs(np.mean(measured - expected)) < 3.5 * error


def test_expected_metrics_by_hand(world, cases):
    first = np.arange(3)
    few = Cases(first, rows_of(cases.history, first), rows_of(cases.relevant, first))
    chances = truth(world, [few.history[case] for case in first])
    lists = np.array([[5, 9, 17], [9, -1, 4], [200, 3, 8]])  # with empty places
    got = expected_metrics(world, few, lists)
    p = np.hstack([chances, np.zeros((3, 1))])  # the places -1 and 200 are the last column
    for case, items in enumerate(lists):
        assert got.hit[case] == pytest.approx(sum(p[case, i] for i in items))
        want = sum(p[case, i] / log2(rank + 1) for rank, i in enumerate(items, start=1))
        assert got.ndcg[case] == pytest.approx(want)
    shorter = expected_metrics(world, few, lists, k=2)
    np.testing.assert_allclose(shorter.ndcg, expected_metrics(world, few, lists[:, :2]).ndcg)


SMALL = make_shop(30, 4, 3, 2, seed=9)
SMALL_CASES = cases_of(simulate(SMALL, 40, 3, 8))


@settings(max_examples=50)
@given(order=st.permutations(range(30)), k=st.integers(1, 30), exposed=st.booleans())
def test_no_list_beats_the_best(order, k, exposed):
    mine = np.tile(order, (len(SMALL_CASES), 1))
    best = best_items(SMALL, SMALL_CASES, k, exposed=exposed)
    for got, most in zip(
        expected_metrics(SMALL, SMALL_CASES, mine, k, exposed=exposed),
        expected_metrics(SMALL, SMALL_CASES, best, exposed=exposed),
        strict=True,
    ):
        assert (got <= most + 1e-12).all()
        assert (most <= 1 + 1e-12).all()


# --- errors say what to do ---


@pytest.mark.parametrize(
    "dials",
    [
        {"n_categories": 2000},
        {"interests": 0},
        {"noise": 0.0},
        {"drift": 1.5},
        {"memory": 1.0},
        {"skew": -1.0},
        {"seed": -1},
    ],
)
def test_dials_out_of_range(dials):
    with refused(RecipeError):
        make_shop(**dials)


def test_users_cannot_take_more_than_there_is():
    with refused(RecipeError):
        simulate(tiny(), 10, 3, 6)


@pytest.mark.parametrize(
    "history",
    [
        [0, 5],
        [3, 1, 3],
        [0, 1, 2, 3, 4],
    ],
)
def test_foreign_histories(history):
    with refused(DataError):
        truth(tiny(), [[1], history])


def test_lists_that_cannot_be_judged():
    world = tiny()
    cases = Cases(np.array([0]), Sequences.of([[1]]), Sequences.of([[2, 3]]))
    with refused(DataError):
        expected_metrics(world, cases, np.array([[2, 0, 2]]))
    with refused(DataError):
        expected_metrics(world, cases, np.array([2, 0]))
    with refused(DataError):
        best_ranks(world, cases)
    with refused(DataError):
        best_ranks(world, replace(cases, relevant=Sequences.of([[-1]])))
