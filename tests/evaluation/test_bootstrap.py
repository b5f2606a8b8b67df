import itertools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from messages import refused
from softrec.errors import DataError
from softrec.evaluation.bootstrap import bootstrap
from softrec.evaluation.significance import Noise, crossed


def variants(rng, seeds, users, training=0.05, zeros=0.6):
    """Two variants with many zeros, as metrics have them."""
    hit = rng.random(users) > zeros
    level = rng.random(users) * hit
    return [
        (level + training * rng.standard_normal((seeds, 1)) + 0.1 * rng.random((seeds, users)))
        * hit
        for _ in range(2)
    ]


def one_by_one(a, b, draws, rng):
    """The differences of drawn means, by the words of the document alone."""
    found = []
    for _ in range(draws):
        users = rng.integers(a.shape[1], size=a.shape[1])
        means = []
        for each in (a, b):
            seeds = rng.integers(len(each), size=len(each) - 1)
            means.append(each[np.ix_(seeds, users)].mean())
        found.append(means[1] - means[0])
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "users", "training"), [(3, 80, 0.05), (5, 40, 0.0), (2, 60, 0.3)]
)
def test_draws_are_those_of_a_loop(seeds, users, training, monkeypatch):
    a, b = variants(np.random.default_rng(users), seeds, users, training)
    monkeypatch.setattr(Noise, "quantile", lambda self, outside: stats.norm.isf(outside / 2))
    expected = np.quantile(one_by_one(a, b, 10_000, np.random.default_rng(1)), [0.025, 0.975])
    found = bootstrap(a, b, draws=20_000)
    assert found == pytest.approx(expected, abs=0.06 * float(np.ptp(expected)))


def test_of_users_alone_it_is_the_t_interval():
    rng = np.random.default_rng(2)
    change = rng.standard_normal(500)
    a = np.tile(rng.random(500), (3, 1))
    t = crossed(a, a + change)
    assert bootstrap(a, a + change, draws=20_000) == pytest.approx(
        (t.low, t.high), abs=0.03 * (t.high - t.low)
    )


def test_trainings_with_equal_means_are_no_point():
    """As long as with users alone at least: the residual varies with users, too."""
    a, b = np.random.default_rng(0).standard_normal((2, 3, 200))
    a, b = (each - each.mean(axis=1, keepdims=True) for each in (a, b))
    low, high = bootstrap(a, b)
    users = crossed(a, b).users
    assert high - low > 0.95 * (users.high - users.low)


@pytest.mark.parametrize("outside", [0.1, 0.2, 0.4])
def test_the_spread_of_trainings_is_not_underestimated(outside, monkeypatch):
    """Draws of all S trainings would have (S - 1) / S of the variance.

    Where users are alike, what is drawn is the mean of two of three trainings: 0 and 5 in one of
    nine draws each, 1/2, 5/2 and 3 in two, 1 in one.
    """
    monkeypatch.setattr(Noise, "quantile", lambda self, outside: stats.norm.isf(outside / 2))
    means = np.array([0.0, 1.0, 5.0])
    all_drawn = [np.mean(two) for two in itertools.product(means, repeat=2)]
    b = np.repeat(means[:, None], 20, axis=1)
    found = bootstrap(np.zeros((3, 20)), b, level=1 - 2 * outside, draws=20_000)
    ends = np.quantile(all_drawn, [outside, 1 - outside], method="inverted_cdf")
    assert found == pytest.approx(ends)


def test_it_is_stretched_as_far_as_the_t_interval_of_few_trainings(monkeypatch):
    a, b = variants(np.random.default_rng(0), 3, 100)
    q = Noise.of(a, b).quantile(0.05)
    low, high = bootstrap(a, b)
    monkeypatch.setattr(Noise, "quantile", lambda self, outside: stats.norm.isf(outside / 2))
    own = np.array(bootstrap(a, b))
    mean = b.mean() - a.mean()
    assert (low, high) == pytest.approx(mean + (own - mean) * q / 1.959964, rel=1e-5)


def test_the_same_seed_gives_the_same_interval():
    a, b = variants(np.random.default_rng(0), 3, 50)
    assert bootstrap(a, b) == bootstrap(a, b)
    assert bootstrap(a, b) != bootstrap(a, b, seed=1)


def test_blocks_of_draws_are_bounded():
    a, b = variants(np.random.default_rng(0), 3, 500)
    whole, memory = measured(a, b, at_once=4000 * 500)
    assert memory > 4000 * 200 * 8  # how often each user that is not all 0 is drawn
    few, memory = measured(a, b, at_once=20 * 500)
    assert memory < 8 * 4000 * 6 * 8  # a few arrays as large as the means of all draws
    assert few == pytest.approx(whole, abs=0.1 * (whole[1] - whole[0]))


def measured(a, b, at_once):
    """Return an interval from 4000 draws, and the most memory that was in use."""
    tracemalloc.start()
    found = bootstrap(a, b, draws=4000, at_once=at_once)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return found, peak


@given(
    seed=st.integers(0, 10**6), seeds=st.integers(2, 4), users=st.integers(2, 12),
    scale=st.floats(0.01, 100), shift=st.floats(-3, 3),
)  # fmt: skip
def test_units(seed, seeds, users, scale, shift):
    a, b = variants(np.random.default_rng(seed), seeds, users, zeros=0.0)
    low, high = bootstrap(a, b, draws=50)
    assert low <= high
    moved = bootstrap(scale * a, scale * (b + shift), draws=50)
    assert moved == pytest.approx(
        (scale * (low + shift), scale * (high + shift)), rel=1e-6, abs=1e-6
    )


def test_corners():
    one = np.array([[0.1, 0.2, 0.3]])
    two = np.array([[0.1, 0.2, 0.3], [0.2, 0.2, 0.3]])
    for a, b in ((one, two), (two, one), (two[:, :1], two[:, :1])):
        assert all(map(math.isnan, bootstrap(a, b)))
    zeros = np.zeros((3, 4))
    assert bootstrap(zeros, zeros) == (0.0, 0.0)
    assert bootstrap(zeros, zeros + 0.5) == (0.5, 0.5)


def test_what_is_no_number_is_refused():
    with refused(DataError):
        bootstrap(np.zeros((2, 3)), np.full((2, 3), np.nan))


def test_a_counted_variant_is_as_from_many_equal_trainings():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 60)), rng.random((1, 60))
    one, many = bootstrap(a, b, deterministic=True), bootstrap(a, np.repeat(b, 40, axis=0))
    assert one == pytest.approx(many, abs=0.05)
