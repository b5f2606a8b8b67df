"""What must hold between the losses, and with the built-in cross-entropy of PyTorch."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from softrec.losses.reference import plain
from softrec.losses.softmax import (
    SoftmaxStats,
    TargetAnswers,
    binary_part,
    decoupled,
    hard,
    hard_cross_entropy,
    mixed,
    no_answers,
    rest_part,
    soft_cross_entropy,
)
from softrec.losses.streaming import streamed
from softrec.targets.dense import DenseTarget
from softrec.targets.smoothing import PopularityTarget, UniformTarget
from softrec.testing import from_logits, oracles, random_case
from softrec.testing.losses import outcome_of, over_all
from softrec.types import ItemVectors

PASSES = pytest.mark.parametrize("softmax", [plain, streamed])


def stats_of(case):
    """(z_y, R) and the answers of a case, from its whole table."""
    z = case.table()
    at = torch.arange(len(z)), case.label
    stats = SoftmaxStats(z[at], oracles.others(z, case.label).logsumexp(1))
    return stats, answers_from(case.probs, z, case.label)


def answers_from(probs, z, label):
    """(s_y, 1 - s_y, mean logit of the others) from tables."""
    rest = oracles.others(probs, label)
    mass = rest.sum(1)
    shares, _ = oracles.renormalised(probs, z, label)
    mean = (shares * oracles.others(z, label)).sum(1)
    return TargetAnswers(probs.gather(1, label[:, None])[:, 0], mass, mean)


@st.composite
def cases(draw):
    """Any shape from 1 x 2 on, any soft target from flat to nearly one-hot, wild logits."""
    rows, n_items = draw(st.integers(1, 6)), draw(st.integers(2, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    scale = draw(st.sampled_from([0.0, 1.0, 10.0, 80.0, 1e4]))
    sharpness = draw(st.sampled_from([0.0, 1.0, 5.0, 1000.0]))
    z, s = torch.randn(2, rows, n_items, generator=generator, dtype=torch.float64)
    label = torch.randint(n_items, (rows,), generator=generator)
    return from_logits(scale * z, label, (sharpness * s).softmax(1))


weights = st.one_of(st.sampled_from([0.0, 1e-6, 0.5, 1.0]), st.floats(0, 1))
CUT = 3e-9  # PyTorch's softplus is the identity from 20 on: exp(-20), beyond single precision
many = settings(max_examples=60)


@many
@given(cases(), weights)
def test_soft_is_binary_and_rest(case, weight):
    stats, answers = stats_of(case)
    others = weight * answers.rest_prob
    both = binary_part(stats, answers, weight) + others * rest_part(stats, answers, weight)
    soft = soft_cross_entropy(stats, answers, weight)
    tolerance = 1e-11 * (1 + case.table().abs().amax(1)) + CUT
    assert ((soft - both).abs() <= tolerance).all()


@many
@given(cases(), weights)
def test_gradient_in_the_logits_is_p_minus_q(case, weight):
    z = case.table()
    q = oracles.fitted(case.label, case.probs, weight)
    actual = outcome_of(case, mixed(), weight, streamed).vectors.T * len(z)
    torch.testing.assert_close(actual, z.softmax(1) - q, rtol=0, atol=CUT)


@many
@given(cases(), weights, st.floats(0, 1))
def test_gradient_of_the_decoupled_loss(case, weight, balance):
    """g_y = lambda2 (p_y - q_y), g_i = c p^_i - omega q^_i with c = lambda2 (q_y - p_y) + omega."""
    z, label = case.table(), case.label
    column = label[:, None]
    p_y = z.softmax(1).gather(1, column)
    q_y = oracles.fitted(label, case.probs, weight).gather(1, column)
    s_hat, log_p_hat = oracles.renormalised(case.probs, z, label)
    mass = oracles.others(case.probs, label).sum(1, keepdim=True)
    omega = torch.where(mass > 1e-300, 1 - balance, 0.0)
    expected = (balance * (q_y - p_y) + omega) * log_p_hat.exp() - omega * s_hat
    actual = outcome_of(case, decoupled(balance), weight, streamed).vectors.T * len(z)
    torch.testing.assert_close(oracles.others(actual, label), expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(
        actual.gather(1, column), balance * (p_y - q_y), rtol=1e-7, atol=1e-7
    )
    assert (actual.sum(1).abs() <= 1e-9).all()


@pytest.mark.slow
@many
@given(cases(), weights)
def test_values_are_never_broken_in_single_precision(case, weight):
    for parts in (hard(), mixed(), decoupled(0.5)):
        outcome = outcome_of(case.to(torch.float32), parts, weight, streamed)
        for name, tensor in outcome.all.items():
            assert torch.isfinite(tensor).all(), name


@many
@given(cases(), weights, st.floats(0, 1))
def test_losses_are_linear_in_the_target(case, weight, share):
    """The mixed loss of a mixture of targets is the mixture of their losses."""
    stats, answers = stats_of(case)
    flat = torch.full_like(case.probs, 1 / case.probs.shape[1])
    z = case.table()
    other = answers_from(flat, z, case.label)
    both = answers_from(share * case.probs + (1 - share) * flat, z, case.label)
    for loss in (soft_cross_entropy, binary_part):
        parts = share * loss(stats, answers, weight) + (1 - share) * loss(stats, other, weight)
        mixture = loss(stats, both, weight)
        torch.testing.assert_close(
            mixture, parts, rtol=1e-9, atol=1e-11 * (1 + float(z.abs().max()))
        )


# --- against PyTorch ---


@PASSES
def test_hard_is_the_built_in_cross_entropy(softmax):
    case = random_case(5)
    value = over_all(softmax)(hard(), case.users, case.items, case.label, None, 0.0)
    torch.testing.assert_close(value.total, F.cross_entropy(case.table(), case.label))


@PASSES
@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5, 1.0])
def test_uniform_is_the_built_in_label_smoothing(softmax, weight):
    case = random_case(6)
    target = UniformTarget(13)
    value = over_all(softmax)(mixed(), case.users, case.items, case.label, target, weight)
    built_in = F.cross_entropy(case.table(), case.label, label_smoothing=weight)
    torch.testing.assert_close(value.total, built_in, rtol=1e-6, atol=1e-6)


@PASSES
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_mixed_is_the_built_in_cross_entropy_with_probabilities(softmax, weight):
    case = random_case(7)
    target = DenseTarget(case.probs)
    value = over_all(softmax)(mixed(), case.users, case.items, case.label, target, weight)
    q = oracles.fitted(case.label, case.probs, weight)
    torch.testing.assert_close(value.total, F.cross_entropy(case.table(), q))


# --- between the named losses ---


@PASSES
@pytest.mark.parametrize("alpha", [0.1, 0.4, 1.0])
def test_flat_popularity_is_label_smoothing_of_half_the_weight(softmax, alpha):
    """POP+ fits (1 - alpha) e_y + alpha (s + e_y) / 2, so its weight here is alpha / 2."""
    case = random_case(8)
    flat = PopularityTarget(torch.full((13,), 1 / 13))
    pop = over_all(softmax)(mixed(), case.users, case.items, case.label, flat, alpha / 2)
    uniform = UniformTarget(13)
    smoothed = over_all(softmax)(mixed(), case.users, case.items, case.label, uniform, alpha / 2)
    torch.testing.assert_close(pop.parts["soft"], smoothed.parts["soft"], rtol=1e-6, atol=1e-6)
    one_hot = F.one_hot(case.label, 13).double()
    definition = (1 - alpha) * one_hot + alpha * (1 / 13 + one_hot) / 2
    expected = oracles.cross_entropy(definition, case.table().log_softmax(1))
    torch.testing.assert_close(pop.parts["soft"], expected, rtol=1e-6, atol=1e-6)


@PASSES
def test_no_weight_and_full_balance_is_cross_entropy(softmax):
    case = random_case(9)
    plain = outcome_of(case, hard(), 0.0, softmax)
    for parts in (mixed(), decoupled(1.0)):
        for name, tensor in outcome_of(case, parts, 0.0, softmax).all.items():
            torch.testing.assert_close(tensor, plain.all[name])


@PASSES
def test_two_items_leave_no_rest(softmax):
    """Renormalised over a single item both sides are 1: their cross-entropy is 0."""
    case = random_case(10, rows=6, n_items=2)
    value = outcome_of(case, decoupled(0.0), 0.5, softmax)
    for name, tensor in value.all.items():
        torch.testing.assert_close(tensor, torch.zeros_like(tensor), msg=name)


@PASSES
def test_a_target_that_is_the_label_alone_has_no_rest(softmax):
    case = random_case(11)
    one_hot = from_logits(case.table(), case.label, F.one_hot(case.label, 13).double())
    value = outcome_of(one_hot, decoupled(0.0), 0.5, softmax)
    for name, tensor in value.all.items():
        assert (tensor == 0).all(), name


@pytest.mark.parametrize("weight", [0.2, 0.7, 1.0])
def test_traditional_is_the_decoupled_loss_at_a_balance_of_its_own(weight):
    """lambda2* = 1 / (1 + lambda1 (1 - s_y)), one per example: equal up to F(q) and a factor."""
    case = random_case(12)
    z, label, s = case.table(), case.label, case.probs
    s_y = s.gather(1, label[:, None])[:, 0]
    q_y = 1 - weight + weight * s_y
    constant = oracles.bernoulli_entropy(q_y) - weight * oracles.bernoulli_entropy(s_y)
    traditional = oracles.traditional(z, label, s, weight)
    # the identity itself, on definitions alone
    parts = oracles.binary_kl(z, label, s, weight)
    parts = parts + weight * (1 - s_y) * oracles.rest_kl(z, label, s, weight)
    torch.testing.assert_close(traditional, parts + constant)
    balance = 1 / (1 + weight * (1 - s_y))
    by_balance = oracles.decoupled_kl(z, label, s, weight, balance)
    torch.testing.assert_close(traditional - constant, by_balance / balance)
    # the losses of the library differ from it by entropies, which no gradient sees
    stats, answers = stats_of(case)
    rest_s, _ = oracles.renormalised(s, z, label)
    ours = balance * (binary_part(stats, answers, weight) - oracles.bernoulli_entropy(q_y))
    ours = ours + (1 - balance) * (rest_part(stats, answers, weight) - oracles.entropy(rest_s))
    torch.testing.assert_close(traditional - constant, ours / balance)
    gradients = [
        torch.autograd.grad(loss(table).sum(), table)[0]
        for table in [z.clone().requires_grad_()]
        for loss in (
            lambda t: oracles.traditional(t, label, s, weight),
            lambda t: oracles.soft(t, label, s, weight),
        )
    ]
    torch.testing.assert_close(*gradients)


def test_divergences_are_positive_and_zero_where_equal():
    case = random_case(13)
    z, label, s = case.table(), case.label, case.probs
    assert (oracles.binary_kl(z, label, s, 0.4) > 0).all()
    assert (oracles.rest_kl(z, label, s, 0.4) > 0).all()
    assert (oracles.kl(s, z.log_softmax(1)) > 0).all()
    equal = s.log() + 3.0
    zeros = torch.zeros(len(z), dtype=torch.float64)
    torch.testing.assert_close(oracles.rest_kl(equal, label, s, 1.0), zeros)
    torch.testing.assert_close(oracles.binary_kl(equal, label, s, 1.0), zeros)


@pytest.mark.parametrize("parts", [mixed(), decoupled(0.7)], ids=["mixed", "decoupled"])
def test_finite_differences(parts):
    case = random_case(14, rows=4, n_items=6)

    outcome = outcome_of(case, parts, 0.4, partial(streamed, rows=3))
    gradient = [outcome.users, outcome.vectors, outcome.bias]
    leaves = [case.users, case.items.vectors, case.items.bias]

    def total(step, way):
        users, *items = (leaf + step * d for leaf, d in zip(leaves, way, strict=True))
        moved = replace(case, users=users, items=ItemVectors(*items))
        return outcome_of(moved, parts, 0.4, streamed).values.mean()

    torch.manual_seed(0)
    for _ in range(10):
        way = [torch.randn_like(leaf) for leaf in leaves]
        slope = (total(1e-5, way) - total(-1e-5, way)) / 2e-5
        expected = sum((g * d).sum() for g, d in zip(gradient, way, strict=True))
        torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-8)


def test_odds_beyond_single_precision():
    """At u = 80 log p_y is -1.8e-35: lost by every way through the lse, and kept here."""
    stats = SoftmaxStats(torch.tensor([80.0, 14.0]), torch.zeros(2))
    value = hard_cross_entropy(stats, no_answers(torch.zeros(2)), 0.0)
    expected = torch.tensor([-80.0, -14.0], dtype=torch.float64).exp().log1p()
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
    z = torch.tensor([[30.0, 0.0, 0.0, 0.0]])
    case = from_logits(z, torch.tensor([0]), torch.full((1, 4), 0.25))
    log_not_label = -30.0 + torch.tensor(3.0).log()
    for softmax in (plain, streamed):
        value = outcome_of(case, decoupled(1.0), 0.0, softmax)
        expected_slope = -log_not_label.exp()  # p_y - 1 = -(1 - p_y)
        torch.testing.assert_close(value.vectors[0, 0], expected_slope, rtol=1e-5, atol=0)
