"""SL and BSL: golden values, the three forms, and what must hold between them."""

from functools import partial
from math import exp, log

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from messages import refused
from softrec.losses.bilateral import bsl_reweight, grouped_label, negative_side, sl
from softrec.losses.softmax import SoftmaxStats, no_answers

DIGITS = {"rtol": 0, "atol": 6e-11}  # ten decimals


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def run(loss, positive, negatives, temperature):
    """A loss on cosines: R is a logsumexp over the given negatives."""
    stats = SoftmaxStats(positive / temperature, (negatives / temperature).logsumexp(1))
    nothing = no_answers(positive)
    return loss(stats, nothing, 0.0)


def multi(positive, negatives, group, t1, t2):
    """The code's mode multi, which has means on both sides."""
    constant = t2 * log(negatives.shape[1])
    negative = run(negative_side(t2), positive, negatives, t1)
    return grouped_label(positive / t1, group) + negative - constant


def bilateral(positive, negatives, group, tau1, tau2):
    """Log-Expectation-Exp on both sides, each with its own temperature."""
    constant = tau2 * log(negatives.shape[1])
    positive_side = tau1 * grouped_label(positive / tau2, group, tau2 / tau1)
    return positive_side + run(negative_side(tau2), positive, negatives, tau2) - constant


def random_scores(seed, rows=6, negatives=5, groups=3):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(rows, negatives + 1, generator=generator, dtype=torch.float64) * 2 - 1
    group = torch.randint(groups, (rows,), generator=generator) * 1_000_003 - 5
    return scores[:, 0], scores[:, 1:], group


# --- golden values ---


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (bsl_reweight(1.1), -0.0093594167),
        (bsl_reweight(1.0), -0.3721449243),
        (sl, -0.3721449243),
    ],
)
def test_golden_reweight(loss, expected):
    actual = run(loss, numbers(0.6), numbers(0.5, 0.1, -0.2, 0.3)[None], 0.15)
    torch.testing.assert_close(actual, numbers(expected), **DIGITS)


def test_golden_multi():
    positive, group = numbers(0.6, 0.2, 0.4), torch.tensor([0, 0, 1])
    negatives = numbers((0.5, 0.1), (-0.2, 0.3), (0.0, 0.1))
    actual = multi(positive, negatives, group, 0.15, 1.1).mean()
    torch.testing.assert_close(actual, numbers(-1.5112838155)[0], **DIGITS)


# --- definitions ---


def definition(
    positive, negatives, group, t_positive, t_negative, weight_positive, weight_negative
):
    """Means of exponentials on both sides, row by row."""
    values = []
    rows = list(zip(positive.tolist(), group.tolist(), strict=True))
    for (_, mine), others in zip(rows, negatives.tolist(), strict=True):
        same = [exp(f / t_positive) for f, g in rows if g == mine]
        other = [exp(f / t_negative) for f in others]
        values.append(
            -weight_positive * log(sum(same) / len(same))
            + weight_negative * log(sum(other) / len(other))
        )
    return numbers(*values)


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(1, 5), st.integers(1, 4))
def test_definition(seed, rows, negatives, groups):
    case = random_scores(seed, rows, negatives, groups)
    torch.testing.assert_close(multi(*case, 0.15, 1.1), definition(*case, 0.15, 0.15, 1, 1.1))
    actual = bilateral(*case, 0.3, 0.2)
    torch.testing.assert_close(actual, definition(*case, 0.3, 0.2, 0.3, 0.2))


# --- identities ---


def test_exponent_one_is_the_softmax_loss():
    positive, negatives, _ = random_scores(1)
    expected = run(sl, positive, negatives, 0.2)
    assert torch.equal(run(bsl_reweight(1.0), positive, negatives, 0.2), expected)
    other = run(bsl_reweight(1.1), positive, negatives, 0.2)
    assert (other - expected).abs().min() > 1e-3


def test_single_is_the_softmax_loss_with_a_mean():
    """Mode single: the positive of the row alone, and the mean over negatives."""
    positive, negatives, _ = random_scores(2)
    single = multi(positive, negatives, torch.arange(len(positive)), 0.2, 1.0)
    torch.testing.assert_close(single, run(sl, positive, negatives, 0.2) - log(5))


def test_groups_of_one_make_multi_reweight():
    positive, negatives, _ = random_scores(3)
    alone = torch.arange(len(positive)).flip(0)
    expected = run(bsl_reweight(1.1), positive, negatives, 0.2) - 1.1 * log(5)
    torch.testing.assert_close(multi(positive, negatives, alone, 0.2, 1.1), expected)


def test_larger_groups_do_not():
    """With users that come twice, multi at t2 = 1 is not quite SL."""
    positive, negatives, _ = random_scores(4)
    together = torch.zeros(len(positive), dtype=torch.int64)
    difference = multi(positive, negatives, together, 0.2, 1.0) - (
        run(sl, positive, negatives, 0.2) - log(5)
    )
    assert difference.mean() < -0.1  # a mean of exponentials is above the exponential of the mean


@pytest.mark.parametrize("tau1", [0.05, 0.2, 3.0])
def test_one_positive_makes_the_bilateral_form_forget_tau1(tau1):
    positive, negatives, _ = random_scores(5)
    alone = torch.arange(len(positive))
    expected = 0.2 * (run(sl, positive, negatives, 0.2) - log(5))
    torch.testing.assert_close(bilateral(positive, negatives, alone, tau1, 0.2), expected)


def test_equal_temperatures_make_the_bilateral_form_multi():
    case = random_scores(6)
    torch.testing.assert_close(bilateral(*case, 0.2, 0.2), 0.2 * multi(*case, 0.2, 1.0))


def test_infinite_temperature_compares_means():
    positive, negatives, group = random_scores(7)
    mean = torch.stack([positive[group == mine].mean() for mine in group])
    expected = -mean + negatives.mean(1)
    for tau in (1e2, 1e4, 1e6):
        actual = bilateral(positive, negatives, group, tau, tau)
        torch.testing.assert_close(actual, expected, rtol=0, atol=1 / tau + 1e-9)


def test_variance_expansion():
    """tau log E exp(f / tau) = E[f] + Var(f) / 2 tau + third cumulant / 6 tau^2 + ..."""
    positive, negatives, _ = random_scores(8)
    mean = negatives.mean(1)
    centred = negatives - mean[:, None]
    variance, third = centred.square().mean(1), centred.pow(3).mean(1)
    for tau in (10.0, 100.0):
        actual = run(negative_side(tau), positive, negatives, tau) - tau * log(5)
        second_order = mean + variance / (2 * tau)
        assert ((actual - second_order).abs() < tau**-2).all()
        assert ((actual - second_order).abs() > 1e-4 * tau**-2).all()
        rest = actual - second_order - third / (6 * tau**2)
        assert (rest.abs() < tau**-3).all()


def test_worst_case_negatives():
    """tau log E exp(f / tau) is the largest E_Q[f] - tau KL(Q || uniform), at Q ~ exp(f / tau)."""
    positive, negatives, _ = random_scores(9)
    tau = 0.3
    bound = run(negative_side(tau), positive, negatives, tau) - tau * log(5)

    def penalised(q):
        return (q * negatives).sum(1) - tau * (q * (5 * q).log()).sum(1)

    torch.testing.assert_close(penalised((negatives / tau).softmax(1)), bound)
    generator = torch.Generator().manual_seed(9)
    for _ in range(20):
        q = torch.randn(6, 5, generator=generator, dtype=torch.float64).softmax(1)
        assert (penalised(q) <= bound).all()


def test_many_uniform_draws_tend_to_all_items():
    generator = torch.Generator().manual_seed(10)
    scores = torch.rand(50, generator=generator, dtype=torch.float64) * 2 - 1
    draws = scores[torch.randint(50, (1, 400_000), generator=generator)]
    sampled = run(negative_side(1.0), numbers(0.0), draws, 0.2) - log(draws.shape[1])
    every = run(negative_side(1.0), numbers(0.0), scores[None], 0.2) - log(50)
    torch.testing.assert_close(sampled, every, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    "form", [partial(multi, t1=0.15, t2=1.1), partial(bilateral, tau1=0.3, tau2=0.2)]
)
def test_only_directions_matter(form):
    generator = torch.Generator().manual_seed(11)
    users = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    items = torch.randn(9, 4, generator=generator, dtype=torch.float64)
    group = torch.tensor([0, 0, 1, 2, 2, 2])

    def value(users, items):
        cosines = F.normalize(users, dim=1) @ F.normalize(items, dim=1).T
        return form(cosines.diagonal(), cosines[:, 6:], group)

    longer = torch.rand(6, 1, generator=generator) * 10 + 0.1
    heavier = torch.rand(9, 1, generator=generator) * 10 + 0.1
    torch.testing.assert_close(value(longer * users, heavier * items), value(users, items))
    users.requires_grad_()
    (slope,) = torch.autograd.grad(value(users, items).sum(), users)
    torch.testing.assert_close((slope * users).sum(1), torch.zeros(6).double())


# --- gradients ---


def test_gradients_of_reweight():
    positive, negatives, _ = random_scores(12)
    leaves = positive.requires_grad_(), negatives.requires_grad_()
    value = run(bsl_reweight(1.1), *leaves, 0.15).sum()
    by_positive, by_negatives = torch.autograd.grad(value, leaves)
    torch.testing.assert_close(by_positive, torch.full_like(positive, -1 / 0.15))
    expected = 1.1 / 0.15 * (negatives / 0.15).softmax(1)
    torch.testing.assert_close(by_negatives, expected.detach())


def test_gradients_of_multi():
    """Within a group of m: -(m / t1) softmax, so that low scores are discounted."""
    positive, negatives, _ = random_scores(13)
    group = torch.tensor([4, 9, 4, 4, 0, 9])
    positive.requires_grad_()
    multi(positive, negatives, group, 0.15, 1.1).sum().backward()
    expected = torch.empty(6, dtype=torch.float64)
    for mine in (0, 4, 9):
        rows = group == mine
        share = (positive.detach()[rows] / 0.15).softmax(0)
        expected[rows] = -(rows.sum() / 0.15) * share
    torch.testing.assert_close(positive.grad, expected)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_finite_differences_of_the_groups(sharpness):
    positive, _, group = random_scores(14)
    assert len(group.unique()) < len(group)
    loss = partial(grouped_label, group=group, sharpness=sharpness)
    assert torch.autograd.gradcheck(loss, (positive.requires_grad_(),))


# --- the edges ---


@pytest.mark.parametrize("shift", [-1e4, 0.0, 1e4])
def test_extreme_logits_in_single_precision(shift):
    logits = torch.tensor([1.0, 3.0, -2.0, 1e4, -1e4], dtype=torch.float64) + shift
    group = torch.tensor([0, 0, 1, 2, 2])
    expected = torch.cat(
        [
            -(logits[group == g].logsumexp(0) - (group == g).sum().log()).expand(n)
            for g, n in ((0, 2), (1, 1), (2, 2))
        ]
    )
    single = logits.float().requires_grad_()
    actual = grouped_label(single, group)
    torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=1e-6)
    actual.sum().backward()
    assert torch.isfinite(single.grad).all()
    torch.testing.assert_close(single.grad.sum(), torch.tensor(-5.0))


def test_empty_batch():
    nothing = torch.zeros(0)
    assert grouped_label(nothing, nothing.long()).shape == (0,)


def test_rows_may_come_in_any_order():
    positive, _, group = random_scores(15)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(15))
    actual = grouped_label(positive[order], group[order])
    torch.testing.assert_close(actual, grouped_label(positive, group)[order])


def test_parameters():
    assert "exponent=1.1" in repr(bsl_reweight(1.1))
    assert "coefficient=0.2" in repr(negative_side(0.2))
    with refused(ValueError):
        bsl_reweight(0.0)
    with refused(ValueError):
        negative_side(-1.0)
    with refused(ValueError):
        grouped_label(torch.zeros(2), torch.zeros(2).long(), 0.0)
    with refused(ValueError):
        grouped_label(torch.zeros(2), torch.zeros(3).long())
