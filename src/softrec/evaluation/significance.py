"""Is the difference real? Paired comparisons over users, and the variance over seeds.

Two random effects are in the difference between two trained models: the choice of the test users,
and the randomness of training. `crossed` accounts for both, and verdicts are based on it; `paired`
accounts for the users only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from softrec.errors import DataError, number_of, shown
from softrec.evaluation.signed_rank import TIE, signed_rank
from softrec.extras import optional

if TYPE_CHECKING:
    from scipy import optimize, special, stats
else:
    optimize = optional("scipy.optimize", "a test of significance")
    special = optional("scipy.special", "a test of significance")
    stats = optional("scipy.stats", "a test of significance")

LEAST_P = 1e-100
"""The smallest p-value that is searched for."""


class Difference(NamedTuple):
    """The difference of variant b from variant a in one metric; only users vary."""

    mean: float  # mean of b - a
    low: float  # ends of the interval of the mean; NaN with fewer than two users
    high: float
    relative: float  # mean / mean(a); NaN where mean(a) is 0
    p: float  # paired t-test, two-sided; not adjusted for other comparisons, see `holm`
    wins: int  # users for whom b is better
    ties: int
    losses: int
    n: int  # users
    p_wilcoxon: (
        float  # signed-rank test, two-sided: a second opinion that uses ranks instead of means
    )


def paired(a: np.ndarray, b: np.ndarray, *, level: float = 0.95) -> Difference:
    """Compare two variants on the same users: the mean of b - a, its t interval and p-values.

    mean +- t_{n-1} sd / sqrt(n)

    The t interval is used instead of a bootstrap because it is deterministic and agrees with its
    p-value (p < 1 - level exactly if the interval does not contain 0). The mean over the many users
    of a test is nearly normal even though most single differences are 0.

    Args:
        a: (n,) one value per user, the variant to compare with. With several seeds, the mean of
            each user over the seeds, because runs of the same user are not independent.
        b: (n,) the other variant, the same users in the same order.
        level: coverage of the interval.

    Returns:
        The difference. If all differences are equal, there is no variance for a t-test: the
        interval is that point, and p is the p-value of the signed-rank test (1 if all are 0).

    Raises:
        DataError: if the two are not finite values of the same, at least one, users.

    Example:
        >>> d = paired(np.array([0.0, 0.5, 1.0, 0.2]), np.array([0.5, 0.5, 1.0, 0.6]))
        >>> f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}] p = {d.p:.3f}"
        '+0.225 [-0.193, +0.643] p = 0.186'
        >>> d.wins, d.ties, d.losses
        (2, 2, 0)

    Reference:
        Smucker, Allan and Carterette, A comparison of statistical significance tests for
        information retrieval evaluation, CIKM 2007.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _check(a, b)
    change = b - a
    change[np.abs(change) <= TIE] = 0.0
    p_wilcoxon = signed_rank(change)
    low, high, p = _t_interval(change, level, no_spread=p_wilcoxon)
    mean, base = float(change.mean()), float(a.mean())
    return Difference(
        mean=mean,
        low=low,
        high=high,
        relative=mean / base if base else float("nan"),
        p=p,
        wins=int(np.sum(change > 0)),
        ties=int(np.sum(change == 0)),
        losses=int(np.sum(change < 0)),
        n=len(change),
        p_wilcoxon=p_wilcoxon,
    )


class Crossed(NamedTuple):
    """The difference of variant b from variant a in one metric; users and trainings vary."""

    mean: float  # mean of b - a
    low: float  # ends of the interval over users and trainings; NaN with one seed or one user
    high: float
    relative: float  # mean / mean(a); NaN where mean(a) is 0
    p: float  # two-sided, not adjusted, see `holm`; NaN with one seed
    users: (
        Difference  # the same difference for the given trainings, with an interval over users only
    )


def crossed(
    a: np.ndarray, b: np.ndarray, *, level: float = 0.95, deterministic: bool = False
) -> Crossed:
    """Compare two variants, each trained with several seeds, over users and trainings together.

    The model of the metric of user u in training s of variant v is

        y_vsu = mu_v + user_u + (user x variant)_vu + training_vs + residual_vsu

    Users are the same in all trainings; the trainings of a and of b are independent, even where
    their seeds have the same number. The variance of the difference of the two means is then

        V = U + T,   T = sum_v s2(training means of v) / S_v
                     U = max(0, s2(differences of users) / n - sum_v s2(residuals of v) / (n S_v))

    T contains the residual, so it is subtracted in U. The interval is mean +- q sqrt(V), where q is
    the mean of the two t quantiles, weighted by their variances (Cochran):

        q = (U t_{n-1} + T t_f) / V,   f = T^2 / sum_v (T_v^2 / (S_v - 1))       (Satterthwaite)

    If the variants have different numbers of trainings, intervals with t_f would be too short, and
    sum_v T_v t_{S_v - 1} replaces T t_f (Cochran). With two trainings of each they are a little too
    short where one variant has most of the noise, and a third of it is replaced.

    A variant that is the same in every training (`deterministic`) has no variance of training and
    no residual.

    The interval is never shorter than that over users alone, because few trainings may by chance be
    closer together than their residuals allow. p is the level at which it ends at 0. With few seeds
    q is large (2.8 to 4.3 at three a variant where training noise dominates), so small gains cannot
    be distinguished from chance.

    Args:
        a: (S_a, n) a row for each training, a column for each user: the variant to compare with.
        b: (S_b, n) the other variant, the same users in the same order.
        level: coverage of the interval.
        deterministic: whether b is counted and not trained: (1, n), the same for all seeds.

    Returns:
        The difference. If all variances are 0 (equal gains of all users in equal trainings), the
        interval is that point, and p is that of the signed-rank test over users.

    Raises:
        DataError: if the two are not finite values of the same, at least one, users.

    Example:
        >>> a = np.array([[0.0, 0.5, 1.0, 0.2], [0.1, 0.5, 0.9, 0.2]])
        >>> d = crossed(a, a + np.array([[0.3], [0.5]]))
        >>> f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}] p = {d.p:.2f}"
        '+0.40 [-0.87, +1.67] p = 0.16'

    Reference:
        Satterthwaite, An approximate distribution of estimates of variance components, Biometrics
        1946. Cochran, Approximate significance levels of the Behrens-Fisher test, Biometrics 1964.
        Owen, The pigeonhole bootstrap, Ann. Appl. Stat. 2007, on users crossed with another factor.
    """
    a, b = trainings(a, b)
    if deterministic:
        b = np.repeat(b, 2, axis=0)  # two equal trainings: no variance between them and no residual
    users = paired(a.mean(axis=0), b.mean(axis=0), level=level)
    low, high, p = _crossed_interval(a, b, users, level)
    return Crossed(users.mean, low, high, users.relative, p, users)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Adjust p-values for several comparisons, (m,) -> (m,) in the same order.

    adjusted_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)),   p_(1) <= ... <= p_(m)

    If differences with an adjusted p below 0.05 are called real, the probability of one or more
    false calls is at most 0.05, for any dependence between the comparisons.

    Raises:
        DataError: if a value is not in [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]

    Reference:
        Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    outside = p[~((p >= 0) & (p <= 1))]
    if len(outside):
        raise DataError(f"p-values must be in [0, 1], got {shown(outside.tolist())}")
    order = np.argsort(p, kind="stable")
    steps = np.minimum(p[order] * np.arange(len(p), 0, -1), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(steps)
    return adjusted


def seed_spread(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Return the mean over seeds and the sample standard deviation (NaN for a single seed).

    Raises:
        DataError: if there is no value.

    Example:
        >>> seed_spread([1.0, 2.0, 3.0])
        (2.0, 1.0)
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        raise DataError("expected one value for each seed, got none")
    return float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else float("nan")


def trainings(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two variants as float64 (S_a, n) and (S_b, n), checked.

    Raises:
        DataError: if the two are not finite values of the same, at least one, users.
    """
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or not len(a) or not len(b):
        raise DataError(
            f"a comparison of trainings needs two arrays of shape (seeds, users), got {a.shape} "
            f"and {b.shape}"
        )
    for row in (*a, *b):
        _check(a[0], row)
    return a, b


def _check(a: np.ndarray, b: np.ndarray) -> None:
    if a.ndim != 1 or a.shape != b.shape or len(a) == 0:
        raise DataError(
            "a paired comparison needs two arrays of shape (n,) with one value for each of the "
            f"same users, got {a.shape} and {b.shape}"
        )
    wrong = np.flatnonzero(~np.isfinite(a) | ~np.isfinite(b))
    if len(wrong):
        raise DataError(
            f"a paired comparison needs finite values, but "
            f"{number_of(len(wrong), 'user has', 'users have')} other values: rows "
            f"{shown(wrong.tolist())}; leave these users out of both variants"
        )


def _t_interval(
    change: np.ndarray, level: float, *, no_spread: float
) -> tuple[float, float, float]:
    """Return the ends of the t interval and the p-value; `no_spread` is the p without variance."""
    if len(change) == 1:
        return float("nan"), float("nan"), 1.0
    if np.ptp(change) <= TIE * max(1.0, np.abs(change).max()):
        mean = float(change.mean())
        return mean, mean, no_spread
    test = stats.ttest_rel(change, np.zeros_like(change))
    interval = test.confidence_interval(level)
    return float(interval.low), float(interval.high), float(test.pvalue)


def _crossed_interval(
    a: np.ndarray, b: np.ndarray, users: Difference, level: float
) -> tuple[float, float, float]:
    """Return the ends of the interval over users and trainings, and the p-value."""
    unknown = float("nan")
    if min(len(a), len(b)) < 2:
        return unknown, unknown, unknown
    if a.shape[1] == 1:
        return unknown, unknown, 1.0
    noise = Noise.of(a, b)
    if noise.negligible(users.mean):
        return users.mean, users.mean, users.p_wilcoxon
    half = noise.half(1 - level)
    return users.mean - half, users.mean + half, _where(noise.half, abs(users.mean))


OF_TWO = 1 / 3
"""How much of Cochran's quantile two trainings of each need: a 5 % test is wrong in at most 5.7 %
of all cases with it, and in up to 6.5 % without (docs/log.md)."""


class Noise(NamedTuple):
    """The variance V = U + T of the difference of two means over users and trainings."""

    users: float  # U
    users_alone: float  # s2(differences of users) / n, from which the residuals are not subtracted
    training: float  # T
    freedom: float  # f, of T
    n: int  # users
    each: tuple[tuple[float, int], ...] = ()  # T_v / T and S_v - 1, for Cochran's quantile
    cochran: float = 0.0  # how much of the quantile of T is Cochran's; the rest is Satterthwaite's

    @classmethod
    def of(cls, a: np.ndarray, b: np.ndarray) -> Noise:
        """Estimate it from (S_a, n) and (S_b, n) values, at least 2 trainings and 2 users each."""
        n = a.shape[1]
        training = [each.mean(axis=1).var(ddof=1) / len(each) for each in (a, b)]
        residual = [residual_variance(each) / each.size for each in (a, b)]
        of_users = float((b.mean(axis=0) - a.mean(axis=0)).var(ddof=1)) / n
        of_training = sum(training)
        parts = [part**2 / (len(each) - 1) for part, each in zip(training, (a, b), strict=True)]
        freedom = of_training**2 / sum(parts) if sum(parts) > 0 else n - 1
        of_both = max(0.0, of_users - sum(residual))
        cochran = 1.0 if len(a) != len(b) else OF_TWO if len(a) == 2 else 0.0
        if not cochran or min(training) <= 0:
            return cls(of_both, of_users, of_training, freedom, n)
        shares = tuple(
            (float(part / of_training), len(each) - 1)
            for part, each in zip(training, (a, b), strict=True)
        )
        return cls(of_both, of_users, of_training, freedom, n, shares, cochran)

    @property
    def error(self) -> float:
        """Return the standard error, sqrt(V)."""
        return math.sqrt(self.users + self.training)

    def negligible(self, mean: float) -> bool:
        """Return whether all variances are 0 except for rounding."""
        return max(self.error, math.sqrt(self.users_alone)) <= TIE * max(1.0, abs(mean))

    def quantile(self, outside: float) -> float:
        """Return q such that a fraction `outside` lies outside -q .. q."""
        fraction = self.users / self.error**2 if self.error > 0 else 1.0
        ends = t_beyond(outside / 2, np.array([self.n - 1, self.freedom]))
        if self.cochran:
            shares, freedoms = np.array(self.each).T
            ends[1] += self.cochran * (shares @ t_beyond(outside / 2, freedoms) - ends[1])
        return float(fraction * ends[0] + (1 - fraction) * ends[1])

    def half(self, outside: float) -> float:
        """Return half the length of the interval: q sqrt(V), or that over users alone if longer."""
        alone = float(t_beyond(outside / 2, self.n - 1)) * math.sqrt(self.users_alone)
        return max(self.quantile(outside) * self.error, alone)


def t_beyond(tail: float, freedom: Any) -> Any:
    """Return q >= 0 such that a fraction `tail` <= 1/2 of Student's t lies above q.

    As `stats.t.isf`, whose checks of its arguments take thirty times as long: a p-value needs
    some ten quantiles, and a comparison has hundreds of p-values.
    """
    return np.abs(special.stdtrit(freedom, tail))


def residual_variance(values: np.ndarray) -> float:
    """Return the mean square of (S, n) values after subtracting the means of rows and columns."""
    rest = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    return float((rest**2).sum()) / ((values.shape[0] - 1) * (values.shape[1] - 1))


def _where(half: Callable[[float], float], mean: float) -> float:
    """Return the p at which the decreasing function `half` is `mean`."""
    if half(LEAST_P) <= mean:
        return 0.0
    solve: Any = optimize.brentq  # SciPy types neither its arguments nor its result well
    return math.exp(solve(lambda log: half(math.exp(log)) - mean, math.log(LEAST_P), 0.0))
