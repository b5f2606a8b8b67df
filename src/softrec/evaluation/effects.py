"""The effect size of a difference, and the smallest difference that can be detected.

An interval that contains 0 says little by itself: the two variants may be equal, or the test may be
too small. The smallest detectable difference distinguishes these two.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from softrec.errors import RecipeError
from softrec.evaluation.significance import Noise, residual_variance, trainings

POWER = 0.8
"""The usual power of a test: the detectable difference is missed in 20 % of the tests."""


class Effect(NamedTuple):
    """The effect size of a difference, and the smallest detectable difference."""

    standardised: float  # mean difference / sd of one user's difference between two trainings
    detectable: float  # the smallest difference that is found with a power of 80 %


def effect(
    a: np.ndarray,
    b: np.ndarray,
    *,
    level: float = 0.95,
    power: float = POWER,
    deterministic: bool = False,
) -> Effect:
    """Return the effect size of b against a, and the smallest detectable difference.

    In the model of `crossed` the difference of one user between a training of b and one of a has

        sd^2 = var(user x variant) + sum_v (var(training_v) + var(residual_v))

    and the effect size is mean(b - a) / sd: Cohen's d_z over users and seeds. It does not grow with
    the number of users or seeds. The components are the usual estimates, no less than 0:

        var(residual_v) = MS_v,   var(training_v) = max(0, s2(training means of v) - MS_v / n),
        var(user x variant) = n U

    A true difference of the detectable size has an interval without 0 with probability `power`:

        h(1 - level) + h(2 (1 - power)),   h(p) half the interval of `crossed` with p outside

    It depends only on the variances, not on the difference that was found. With few seeds it is
    inaccurate, as V is: where training noise dominates, its standard error is a third of its value
    with 3 seeds per variant.

    Args:
        a: (S_a, n) a row for each training, a column for each user: the variant to compare with.
        b: (S_b, n) the other variant, the same users in the same order.
        level: coverage of the interval.
        power: probability of finding the detectable difference.
        deterministic: whether b is counted and not trained: (1, n), the same for all seeds.

    Returns:
        Both are NaN with one seed or one user. If all variances are 0, the detectable difference is
        0 and the effect size is NaN.

    Raises:
        DataError: if the two are not finite values of the same, at least one, users.
        RecipeError: if the power is not between 0.5 and 1.

    Example:
        >>> a = np.array([[0.0, 0.5, 1.0, 0.2], [0.1, 0.5, 0.9, 0.2]])
        >>> found = effect(a, a + np.array([[0.3], [0.5]]))
        >>> f"{found.standardised:.2f}, {found.detectable:.2f}"
        '2.49, 1.41'

    Reference:
        Cohen, Statistical power analysis for the behavioral sciences, 1988. Bloom, Minimum
        detectable effects, Evaluation Review 1995. Sakai, Statistical significance, power, and
        sample sizes, SIGIR 2016.
    """
    if not 0.5 < power < 1:
        raise RecipeError(f"expected a power between 0.5 and 1, such as {POWER}, got {power}")
    a, b = trainings(a, b)
    if deterministic:
        b = np.repeat(b, 2, axis=0)  # two equal trainings
    if min(len(a), len(b), a.shape[1]) < 2:
        return Effect(float("nan"), float("nan"))
    mean, noise = float(b.mean() - a.mean()), Noise.of(a, b)
    if noise.negligible(mean):
        return Effect(float("nan"), 0.0)
    detectable = noise.half(1 - level) + noise.half(2 * (1 - power))
    return Effect(mean / math.sqrt(_variance(a, b, noise)), detectable)


def _variance(a: np.ndarray, b: np.ndarray, noise: Noise) -> float:
    """Return the variance of one user's difference between two trainings."""
    total = noise.n * noise.users
    for each in (a, b):
        residual = residual_variance(each)
        of_training = each.mean(axis=1).var(ddof=1) - residual / noise.n
        total += residual + max(0.0, float(of_training))
    return total
