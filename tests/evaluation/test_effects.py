import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize, stats

from messages import refused
from softrec.errors import DataError, RecipeError
from softrec.evaluation.effects import effect
from softrec.evaluation.significance import crossed


def drawn(rng, seeds, users, *, own=0.1, training=0.02, residual=0.3, gain=0.0):
    """Two variants by the model of the documents: (seeds, users) each."""
    level = rng.random(users)
    return [
        level
        + own * rng.standard_normal(users)
        + training * rng.standard_normal((seeds, 1))
        + residual * rng.standard_normal((seeds, users))
        + shift
        for shift in (0.0, gain)
    ]


def test_effect_size_is_the_gain_in_units_of_one_users_difference():
    """Of one user and one training each: var = 2 (own^2 + training^2 + residual^2)."""
    rng = np.random.default_rng(3)
    a, b = drawn(rng, 60, 4000, own=0.2, training=0.1, residual=0.3, gain=0.15)
    expected = 0.15 / math.sqrt(2 * (0.2**2 + 0.1**2 + 0.3**2))
    # The mean of 60 trainings a variant has a standard error of 0.1 sqrt(2 / 60) = 0.018.
    assert effect(a, b).standardised == pytest.approx(expected, abs=4 * 0.018 / 0.53)
    exactly = b - b.mean() + a.mean() + 0.15  # without that error
    assert effect(a, exactly).standardised == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("seeds", "users"), [(2, 2000), (3, 300), (8, 300)])
def test_more_users_or_seeds_do_not_make_an_effect_larger(seeds, users):
    rng = np.random.default_rng(seeds)
    a, b = drawn(rng, seeds, users, training=0.0)
    b = b - b.mean() + a.mean() + 0.1
    assert effect(a, b).standardised == pytest.approx(
        0.1 / math.sqrt(2 * (0.1**2 + 0.3**2)), rel=0.08
    )


def power_of_t(ratio: float, freedom: float) -> float:
    """The chance that a t test at 5 % finds a difference of so many standard errors."""
    edge = stats.t.isf(0.025, freedom)
    return float(stats.nct.sf(edge, freedom, ratio) + stats.nct.cdf(-edge, freedom, ratio))


@pytest.mark.parametrize("power", [0.6, 0.8, 0.9])
def test_detectable_is_that_of_a_t_test_where_users_alone_vary(power):
    rng = np.random.default_rng(0)
    change = rng.standard_normal(80)
    a = np.tile(rng.random(80), (3, 1))
    found = effect(a, a + change, power=power).detectable
    error = change.std(ddof=1) / math.sqrt(80)
    # T is not quite 0: the equal trainings have no spread, and none is made up.
    exact = optimize.brentq(lambda r: power_of_t(r, 79) - power, 0.1, 9) * error
    assert found == pytest.approx(exact, rel=0.01)


def test_detectable_is_that_of_welch_where_trainings_alone_vary():
    """Three trainings a variant with equal spread: 4 degrees of freedom."""
    shifts = np.array([[-1.0], [0.0], [1.0]])
    a = np.zeros((3, 50)) + shifts
    found = effect(a, a[::-1]).detectable
    exact = optimize.brentq(lambda r: power_of_t(r, 4) - 0.8, 0.1, 9) * math.sqrt(2 / 3)
    assert found == pytest.approx(exact, rel=0.03)


@pytest.mark.slow
def test_the_detectable_difference_is_found_four_times_in_five():
    rng = np.random.default_rng(11)
    noise = {"own": 0.2, "training": 0.02, "residual": 0.2}
    typical = np.mean([effect(*drawn(rng, 5, 200, **noise)).detectable for _ in range(100)])
    seen = [crossed(*drawn(rng, 5, 200, **noise, gain=typical)).low > 0 for _ in range(400)]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.08)


@pytest.mark.parametrize("apart", [0.0, 0.001])
def test_detectable_is_that_over_users_where_trainings_are_close_by_chance(apart):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 200))
    a, b = (each - each.mean(axis=1, keepdims=True) for each in (a, b))  # equal means
    a += apart * np.array([[-1.0], [0.0], [1.0]])
    b += 0.15
    found = effect(a, b)
    error = (b.mean(axis=0) - a.mean(axis=0)).std(ddof=1) / math.sqrt(200)
    exact = optimize.brentq(lambda r: power_of_t(r, 199) - 0.8, 0.1, 9) * error
    assert found.detectable == pytest.approx(exact, rel=0.01)
    assert found.standardised == pytest.approx(0.15 / math.sqrt(2), rel=0.1)


def test_detectable_is_more_than_half_the_interval():
    a, b = drawn(np.random.default_rng(5), 3, 100)
    interval = crossed(a, b)
    assert effect(a, b).detectable > 1.2 * (interval.high - interval.low) / 2


@given(
    seed=st.integers(0, 10**6), gain=st.floats(-2, 2), scale=st.floats(1e-3, 1e3),
    seeds=st.integers(2, 4), users=st.integers(2, 12),
)  # fmt: skip
def test_units_and_order(seed, gain, scale, seeds, users):
    """An effect size has no unit, turns with the order, and moves with the gain alone."""
    rng = np.random.default_rng(seed)
    a, b = drawn(rng, seeds, users)
    one, scaled = effect(a, b), effect(scale * a, scale * b)
    turned = effect(b, a)
    assert scaled.standardised == pytest.approx(one.standardised, rel=1e-6, abs=1e-9)
    assert scaled.detectable == pytest.approx(scale * one.detectable, rel=1e-6)
    assert turned == pytest.approx((-one.standardised, one.detectable), rel=1e-9, abs=1e-12)
    assert effect(a, b + gain).detectable == pytest.approx(one.detectable, rel=1e-6)
    mixed = rng.permutation(users)
    assert effect(a[:, mixed], b[:, mixed]) == pytest.approx(one, rel=1e-9, abs=1e-12)


def test_what_cannot_be_known_is_nan():
    one = np.array([[0.1, 0.2, 0.3]])
    several = np.array([[0.1, 0.2, 0.3], [0.2, 0.2, 0.3]])
    for a, b in ((one, several), (several, one), (several[:, :1], several[:, :1])):
        assert all(map(math.isnan, effect(a, b)))


def test_without_spread_any_difference_would_be_seen():
    a = np.tile([0.1, 0.2, 0.3], (3, 1))
    found = effect(a, a + 0.25)
    assert math.isnan(found.standardised)
    assert found.detectable == 0


@pytest.mark.parametrize("power", [0.5, 1.0, -1, float("nan")])
def test_a_power_that_is_none(power):
    with refused(RecipeError):
        effect(np.zeros((2, 3)), np.ones((2, 3)), power=power)


def test_other_users_are_refused():
    with refused(DataError):
        effect(np.zeros((2, 3)), np.zeros((2, 4)))


def test_a_counted_variant_is_as_from_many_equal_trainings():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 60)), rng.random((1, 60))
    one, many = effect(a, b, deterministic=True), effect(a, np.repeat(b, 40, axis=0))
    assert one == pytest.approx(many, rel=1e-9)
