import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from messages import refused
from softrec.errors import DataError
from softrec.evaluation.significance import Noise, crossed, holm, paired, seed_spread, t_beyond


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    a = rng.random(400) * (rng.random(400) < 0.4)
    b = np.where(rng.random(400) < 0.3, rng.random(400), a)
    return a, b


def test_agrees_with_scipy(pair):
    a, b = pair
    got = paired(a, b)
    test = stats.ttest_rel(b, a)
    interval = test.confidence_interval(0.95)
    assert got.p == pytest.approx(test.pvalue, rel=1e-12)
    assert (got.low, got.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    expected = stats.wilcoxon(b, a, zero_method="wilcox").pvalue
    assert got.p_wilcoxon == pytest.approx(expected, rel=1e-6)


def by_all_signs(moved: np.ndarray) -> float:
    """Return the two-sided p-value of the signed-rank test by its definition."""
    size = np.abs(moved)
    ranks = [np.sum(size < s) + (np.sum(size == s) + 1) / 2 for s in size]
    sums = [sum(compressed) for compressed in
            (itertools.compress(ranks, signs) for signs in
             itertools.product([0, 1], repeat=len(moved)))]  # fmt: skip
    found = sum(itertools.compress(ranks, moved > 0))
    return min(1.0, 2 * min(np.mean(np.array(sums) <= found), np.mean(np.array(sums) >= found)))


@pytest.mark.slow
@given(hnp.arrays(np.int64, st.integers(1, 9), elements=st.integers(-3, 3)))
def test_few_users_are_ranked_exactly_with_ties_and_without(change):
    moved = change[change != 0]
    expected = by_all_signs(moved) if len(moved) else 1.0
    assert paired(np.zeros(len(change)), change).p_wilcoxon == expected


@pytest.mark.slow
@pytest.mark.parametrize("n", [5, 12, 13, 14, 15])
@pytest.mark.parametrize("step", [0.25, 1e-9])
def test_the_ranks_of_few_are_those_of_scipy(n, step):
    """On both sides of where SciPy goes from the exact test to the normal one; ties or none."""
    change = np.round(np.random.default_rng(n).normal(0.4, 1, n) / step) * step
    expected = stats.wilcoxon(change[change != 0]).pvalue
    assert paired(np.zeros(n), change).p_wilcoxon == expected


def test_the_interval_is_the_textbook_one(pair):
    a, b = pair
    change = b - a
    half = stats.t.ppf(0.95, 399) * change.std(ddof=1) / math.sqrt(400)
    got = paired(a, b, level=0.90)
    assert got.low == pytest.approx(change.mean() - half)
    assert got.high == pytest.approx(change.mean() + half)


def test_counts_and_relative_gain():
    got = paired(np.array([0.5, 0.5, 0.0, 1.0]), np.array([1.0, 0.5, 0.25, 0.75]))
    assert (got.wins, got.ties, got.losses, got.n) == (2, 1, 1, 4)
    assert got.mean == (0.5 + 0.25 - 0.25) / 4
    assert got.relative == pytest.approx(got.mean / 0.5)


def test_the_other_way_round_is_the_mirror_image(pair):
    a, b = pair
    there, back = paired(a, b), paired(b, a)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert (back.wins, back.losses) == (there.losses, there.wins)
    assert back.p == pytest.approx(there.p)


@pytest.mark.parametrize("n", [1, 2, 3, 100])
def test_equal_variants_are_no_evidence(n):
    values = np.linspace(0, 1, n)
    got = paired(values, values.copy())
    assert (got.mean, got.p, got.p_wilcoxon) == (0.0, 1.0, 1.0)
    assert (got.wins, got.ties, got.losses) == (0, n, 0)
    if n > 1:
        assert (got.low, got.high) == (0.0, 0.0)


def test_rounding_is_no_win():
    a = np.full(5, 0.3)
    got = paired(a, np.full(5, 0.1 + 0.2))
    assert a[0] != 0.1 + 0.2
    assert (got.wins, got.ties, got.p) == (0, 5, 1.0)


def test_the_same_gain_for_all_is_judged_by_the_signs():
    got = paired(np.array([0.1, 0.2, 0.3]), np.array([0.2, 0.3, 0.4]))
    assert got.p == pytest.approx(2 * 0.5**3)
    assert (got.low, got.high) == pytest.approx((0.1, 0.1))


def test_one_user_is_no_evidence_and_has_no_interval():
    got = paired(np.array([0.0]), np.array([1.0]))
    assert (got.mean, got.p, got.wins, got.n) == (1.0, 1.0, 1, 1)
    assert math.isnan(got.low)
    assert math.isnan(got.high)


def test_two_users():
    got = paired(np.array([0.0, 0.0]), np.array([0.1, 0.3]))
    # t = 0.2 / 0.1 with one degree of freedom, whose distribution is Cauchy's
    assert got.p == pytest.approx(1 - 2 * math.atan(2.0) / math.pi)


def test_a_baseline_of_zero_has_no_relative_gain():
    assert math.isnan(paired(np.zeros(3), np.array([0.0, 0.5, 1.0])).relative)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros(3), np.zeros(4)),
        (np.zeros(0), np.zeros(0)),
        (np.zeros((2, 2)), np.zeros((2, 2))),
        (np.array([0.0, np.nan]), np.zeros(2)),
        (np.zeros(2), np.array([np.inf, 0.0])),
    ],
)
def test_values_that_cannot_be_compared_are_refused(a, b):
    with refused(DataError):
        paired(a, b)


@pytest.mark.slow
def test_five_percent_of_comparisons_of_nothing_look_real():
    rng = np.random.default_rng(3)
    false_calls = sum(paired(rng.random(50), rng.random(50)).p < 0.05 for _ in range(400))
    assert 5 <= false_calls <= 36  # a binomial(400, 0.05) is outside once in 10 000 times


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([0.0, 0.5, 1.0])))
def test_any_values_give_probabilities_without_a_warning(b):
    got = paired(np.full(len(b), 0.5), b)
    assert 0 <= got.p <= 1
    assert 0 <= got.p_wilcoxon <= 1
    assert got.wins + got.ties + got.losses == got.n == len(b)
    if got.n > 1:
        assert got.low <= got.mean <= got.high


@pytest.mark.parametrize("tail", [0.0, 5e-101, 1e-9, 0.025, 0.4, 0.5])
def test_quantiles_are_those_of_students_t(tail):
    freedoms = np.array([0.7, 1, 2.5, 30, 1e6, np.inf])
    np.testing.assert_array_equal(t_beyond(tail, freedoms), stats.t.isf(tail, freedoms))


# --- Holm ---


def slow_holm(p_values: list[float]) -> list[float]:
    """The closed testing form: the worst, over all sets a hypothesis is in, of size * smallest."""
    adjusted = []
    for i in range(len(p_values)):
        others = [j for j in range(len(p_values)) if j != i]
        sets = itertools.chain.from_iterable(
            itertools.combinations(others, size) for size in range(len(others) + 1)
        )
        worst = max((1 + len(s)) * min([p_values[i], *(p_values[j] for j in s)]) for s in sets)
        adjusted.append(min(worst, 1.0))
    return adjusted


def test_holm_on_a_worked_case():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=6))
def test_holm_is_the_closed_bonferroni_test(p_values):
    assert holm(p_values) == pytest.approx(slow_holm(p_values), rel=1e-12)


def test_holm_of_one_or_none():
    assert holm([0.04]).tolist() == [0.04]
    assert holm([]).tolist() == []


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_probability(wrong):
    with refused(DataError):
        holm([0.5, wrong])


# --- seeds ---


def test_seed_spread():
    mean, sd = seed_spread([0.10, 0.12, 0.17])
    assert mean == pytest.approx(0.13)
    assert sd == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))


def test_one_seed_has_no_spread():
    mean, sd = seed_spread([0.3])
    assert mean == 0.3
    assert math.isnan(sd)


def test_no_seed_is_refused():
    with refused(DataError):
        seed_spread([])


# --- users and trainings together ---


@pytest.fixture
def trainings() -> tuple[np.ndarray, np.ndarray]:
    """Three and four trainings of 50 users: users, users x variants, trainings, residual."""
    rng = np.random.default_rng(11)
    users = rng.random(50)
    return tuple(
        users + gain + 0.1 * rng.random(50) + 0.05 * rng.random((seeds, 1))
        + 0.1 * rng.random((seeds, 50))
        for seeds, gain in ((3, 0.0), (4, 0.06))
    )  # fmt: skip


def mean_squares(values: np.ndarray) -> tuple[float, float]:
    """The textbook table of a two-way layout without repetition, by loops: rows, residual."""
    rows, columns = values.shape
    whole = sum(sum(row) for row in values) / (rows * columns)
    row_means = [sum(row) / columns for row in values]
    column_means = [sum(column) / rows for column in values.T]
    of_rows = columns * sum((mean - whole) ** 2 for mean in row_means) / (rows - 1)
    residual = sum(
        (values[r][c] - row_means[r] - column_means[c] + whole) ** 2
        for r in range(rows)
        for c in range(columns)
    )
    return of_rows, residual / ((rows - 1) * (columns - 1))


@pytest.mark.parametrize(
    ("first", "seeds", "cochran"), [(3, 3, 0), (3, 4, 1), (2, 2, 1 / 3)],
    ids=["equal numbers", "other numbers", "two"],
)  # fmt: skip
def test_the_crossed_interval_is_that_of_the_table_of_variances(trainings, first, seeds, cochran):
    """With equal numbers by Satterthwaite's t quantile of all trainings, else by Cochran's."""
    a, b = trainings[0][:first], trainings[1][:seeds]
    n = 50
    (rows_a, rest_a), (rows_b, rest_b) = map(mean_squares, (a, b))
    of_training = [rows_a / (first * n), rows_b / (seeds * n)]
    change = b.mean(axis=0) - a.mean(axis=0)
    of_users = np.var(change, ddof=1) / n - rest_a / (first * n) - rest_b / (seeds * n)
    assert of_users > 0
    freedom = sum(of_training) ** 2 / sum(
        part**2 / (s - 1) for part, s in zip(of_training, (first, seeds), strict=True)
    )
    total = of_users + sum(of_training)
    for level in (0.8, 0.95):
        ends = stats.t.ppf((1 + level) / 2, [n - 1, freedom, first - 1, seeds - 1])
        of_each = of_training[0] * ends[2] + of_training[1] * ends[3]
        training = (1 - cochran) * sum(of_training) * ends[1] + cochran * of_each
        half = (of_users * ends[0] + training) / total * math.sqrt(total)
        got = crossed(a, b, level=level)
        assert got.mean == pytest.approx(change.mean())
        assert (got.low, got.high) == pytest.approx((got.mean - half, got.mean + half))


def test_other_numbers_of_trainings_are_rarely_wrong():
    """2 against 5 noisy trainings: with Welch's degrees of freedom 10 % are wrong."""
    rng = np.random.default_rng(5)
    users = 0.01 * rng.standard_normal(20)
    wrong = 0
    for _ in range(2000):
        a, b = (users + sd * rng.standard_normal((s, 1)) + 0.01 * rng.standard_normal((s, 20))
                for s, sd in ((2, 5.5 * math.sqrt(2 / 5)), (5, 1.0)))  # fmt: skip
        noise = Noise.of(a, b)
        wrong += abs(b.mean() - a.mean()) > noise.quantile(0.05) * noise.error
    assert wrong / 2000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_the_crossed_p_is_the_level_whose_interval_ends_at_zero(trainings):
    got = crossed(*trainings)
    assert 0.001 < got.p < 0.5
    assert crossed(*trainings, level=1 - got.p).low == pytest.approx(0, abs=1e-9)


def test_users_who_all_agree_leave_welchs_test_over_the_trainings(trainings):
    a, b = (np.repeat(each[:3].mean(axis=1, keepdims=True), 50, axis=1) for each in trainings)
    got, test = crossed(a, b), stats.ttest_ind(b[:, 0], a[:, 0], equal_var=False)
    assert got.p == pytest.approx(test.pvalue)
    assert (got.low, got.high) == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_equal_trainings_leave_the_paired_test_over_the_users(trainings):
    a, b = (np.repeat(each[:1], 3, axis=0) for each in trainings)
    got, alone = crossed(a, b), paired(a[0], b[0])
    assert (got.p, got.low, got.high) == pytest.approx((alone.p, alone.low, alone.high))
    assert got.users == pytest.approx(tuple(alone))


def test_one_training_says_nothing_of_other_trainings(trainings):
    a, b = trainings
    for got in (crossed(a[:1], b), crossed(a, b[:1])):
        assert all(map(math.isnan, (got.p, got.low, got.high)))
        assert got.users.low < got.mean < got.users.high


def test_the_pairing_of_users_counts_and_their_order_does_not(trainings):
    a, b = trainings
    order = np.random.default_rng(2).permutation(50)
    assert crossed(a[:, order], b[:, order]).p == pytest.approx(crossed(a, b).p)
    assert crossed(a, b[:, order]).p > 2 * crossed(a, b).p


def test_every_training_counts(trainings):
    a, b = trainings
    moved = b.copy()
    moved[3] += 0.2
    assert crossed(a, moved).mean == pytest.approx(crossed(a, b).mean + 0.05)
    assert crossed(a, moved).high - crossed(a, moved).low > 2 * (
        crossed(a, b).high - crossed(a, b).low
    )


def test_the_other_way_round_the_trainings_are_the_mirror_image(trainings):
    there, back = crossed(*trainings), crossed(*trainings[::-1])
    assert there.mean > 0
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert back.p == pytest.approx(there.p)


def test_trainings_without_any_difference_are_no_evidence():
    values = np.tile(np.linspace(0, 1, 7), (3, 1))
    got = crossed(values, values.copy())
    assert (got.mean, got.low, got.high, got.p) == (0, 0, 0, 1)
    assert crossed(values[:, :1], values[:, 1:2]).p == 1.0


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros(3), np.zeros((2, 3))),
        (np.zeros((0, 3)), np.zeros((2, 3))),
        (np.zeros((2, 3)), np.zeros((2, 4))),
        (np.zeros((2, 3)), np.array([[0.0, 0.0, 0.0], [0.0, np.nan, 0.0]])),
    ],
)
def test_trainings_that_cannot_be_compared_are_refused(a, b):
    with refused(DataError):
        crossed(a, b)


@pytest.mark.slow
@given(
    hnp.arrays(np.float64, (3, 8), elements=st.sampled_from([0.0, 0.5, 1.0])),
    hnp.arrays(np.float64, (2, 8), elements=st.sampled_from([0.0, 0.5, 1.0])),
)
def test_any_trainings_give_a_probability_that_agrees_with_the_interval(a, b):
    got = crossed(a, b)
    assert 0 <= got.p <= 1
    assert got.low <= got.mean <= got.high
    if got.low < got.high:
        assert (got.p < 0.05) == (not got.low <= 0 <= got.high)


def test_a_deterministic_variant_is_one_of_many_equal_trainings():
    draw = np.random.default_rng(5)
    a, b = draw.random((3, 40)), draw.random((1, 40))
    found = crossed(a, b, deterministic=True)
    for copies in (2, 50):
        many = crossed(a, np.repeat(b, copies, axis=0))
        assert found[:5] == pytest.approx(many[:5])
    # By hand: U = s2(user differences)/n - s2(residual of a)/(n S_a), T = s2(means of a)/S_a.
    n = a.shape[1]
    gain = b[0] - a.mean(0)
    rest = a - a.mean(0) - a.mean(1, keepdims=True) + a.mean()
    residual = (rest**2).sum() / (2 * (n - 1))
    of_users = gain.var(ddof=1) / n - residual / (3 * n)
    of_training = a.mean(1).var(ddof=1) / 3
    total = of_users + of_training
    quantiles = stats.t.ppf(0.975, [n - 1, 2])
    half = (of_users * quantiles[0] + of_training * quantiles[1]) / total * np.sqrt(total)
    assert (found.low, found.high) == pytest.approx((gain.mean() - half, gain.mean() + half))


@pytest.mark.slow
def test_against_a_deterministic_variant_a_five_percent_test_is_rarely_wrong():
    """Trainings of one side alone vary; both have the same mean."""
    draw = np.random.default_rng(1)
    wrong, rounds, n = 0, 1500, 200
    for _ in range(rounds):
        users = draw.normal(0, 1, n)
        training = draw.normal(0, 0.1, (3, 1))
        a = users + draw.normal(0, 0.3, n) + training + draw.normal(0, 0.3, (3, n))
        b = (users + draw.normal(0, 0.3, n))[None]
        wrong += crossed(a, b, deterministic=True).p < 0.05
    assert wrong / rounds < 0.065  # 0.05 and 2.6 standard errors


def test_one_training_against_a_deterministic_variant_says_nothing():
    found = crossed(np.zeros((1, 9)), np.arange(9.0)[None], deterministic=True)
    assert np.isnan([found.low, found.high, found.p]).all()


def test_trainings_that_are_close_by_chance_do_not_shorten_the_interval_over_users():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 200)), 0.15 + rng.normal(size=(3, 200))
    a, b = (
        v - v.mean(axis=1, keepdims=True) + v.mean() for v in (a, b)
    )  # equal means of trainings
    d = crossed(a, b)
    assert (d.low, d.high, d.p) == pytest.approx((d.users.low, d.users.high, d.users.p), abs=1e-12)
    assert d.low < d.mean < d.high
    a += np.array([[-0.001], [0.0], [0.001]])
    d, noise = crossed(a, b), Noise.of(a, b)
    assert noise.quantile(0.05) * noise.error < 0.9 * (d.users.high - d.users.mean)
    assert (d.low, d.high, d.p) == pytest.approx((d.users.low, d.users.high, d.users.p), abs=1e-12)


def test_ranks_of_differences_that_only_rounding_tells_apart_are_ties():
    """Means over three seeds of a 0/1 metric: 20 users gain 1 - 2/3 and 20 lose 1/3."""
    a = np.repeat([[1, 1], [1, 0], [0, 0]], 20, axis=1).astype(float)
    b = np.repeat([[1, 0], [1, 0], [1, 0]], 20, axis=1).astype(float)
    assert paired(a.mean(0), b.mean(0)).p_wilcoxon == pytest.approx(1.0)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60))
def test_the_mean_over_seeds_of_a_metric_has_the_ranks_of_its_sum(thirds):
    whole = np.array(thirds, dtype=float)
    noisy = np.array([one / 3 + 1 - 1.0 for one in thirds])
    zeros = np.zeros(len(whole))
    assert paired(zeros, noisy).p_wilcoxon == pytest.approx(paired(zeros, whole).p_wilcoxon)
