"""Pairwise losses against their definitions in plain `math`, one negative at a time."""

from math import atan, exp, log, log1p, tanh

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from messages import refused
from softrec.losses.pairwise import (
    bce,
    bce_sum,
    bpr,
    ccl,
    gbce,
    hinge,
    mse,
    softmax_weighted_bpr,
)
from softrec.losses.pairwise_softmax import psl


def sigmoid(x):
    return 1 / (1 + exp(-x))


def mean(values):
    return sum(values) / len(values) if values else 0.0


def weighted_bpr_of(p, others):
    if not others:
        return 0.0
    total = sum(exp(f) for f in others)
    return -log(sum(exp(f) / total * sigmoid(p - f) for f in others))


def gbce_of(p, others):
    """t = 0.75, alpha = 0.2: beta = alpha (t (1 - 1/alpha) + 1/alpha)."""
    beta = 0.2 * (0.75 * (1 - 1 / 0.2) + 1 / 0.2)
    likelihood = log(sigmoid(p) ** beta) + sum(log(1 - sigmoid(f)) for f in others)
    return -likelihood / (len(others) + 1)


def psl_of(sigma, t):
    def of(p, others):
        return log(sum(max(1e-6, sigma(f - p)) ** (1 / t) for f in others)) if others else 0.0

    return of


# name -> the loss, and its definition on a positive and the list of its negatives
LOSSES = {
    "bpr": (bpr, lambda p, others: mean([-log(sigmoid(p - f)) for f in others])),
    "softmax_weighted_bpr": (softmax_weighted_bpr, weighted_bpr_of),
    "bce": (bce, lambda p, o: -log(sigmoid(p)) - mean([log(1 - sigmoid(f)) for f in o])),
    "bce_sum": (bce_sum, lambda p, o: -log(sigmoid(p)) - sum(log(1 - sigmoid(f)) for f in o)),
    "mse": (mse, lambda p, others: 0.5 * (p - 1) ** 2 + 0.5 * sum(f**2 for f in others)),
    "gbce": (gbce(0.75, 0.2), gbce_of),
    "ccl": (ccl(0.3, 7.0), lambda p, o: 1 - p + 7 * mean([max(0, f - 0.3) for f in o])),
    "psl relu": (psl(0.7), psl_of(lambda x: 1 + x, 0.7)),
    "psl tanh": (psl(0.4, "tanh"), psl_of(lambda x: 1 + tanh(x), 0.4)),
    "psl atan": (psl(0.9, "atan"), psl_of(lambda x: 1 + atan(x), 0.9)),
    "hinge": (hinge(0.5), lambda p, others: sum(max(0, 0.5 + f - p) for f in others)),
}
ALL = pytest.mark.parametrize("name", LOSSES)
MEANS = ("bpr", "softmax_weighted_bpr", "bce", "ccl")  # of counts only their shares matter


def random_scores(seed, rows=4, negatives=6):
    generator = torch.Generator().manual_seed(seed)
    label = torch.randn(rows, generator=generator, dtype=torch.float64)
    others = torch.randn(rows, negatives, generator=generator, dtype=torch.float64)
    count = torch.randint(0, 4, (rows, negatives), generator=generator).double()
    return label, others, count


def gradients(loss, label, others, count):
    leaves = label.clone().requires_grad_(), others.clone().requires_grad_()
    values = loss(*leaves, count)
    return values.detach(), *torch.autograd.grad(values.sum(), leaves)


@pytest.mark.slow
@ALL
@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 6))
def test_definition(name, seed, rows, negatives):
    loss, definition = LOSSES[name]
    label, others, count = random_scores(seed, rows, negatives)
    expected = [
        definition(p, [f for f, c in zip(fs, cs, strict=True) for _ in range(int(c))])
        for p, fs, cs in zip(label.tolist(), others.tolist(), count.tolist(), strict=True)
    ]
    actual = loss(label, others, count)
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64))


@ALL
@pytest.mark.parametrize("anything", [1e4, -1e4, 1e38, float("inf"), float("-inf"), float("nan")])
def test_what_does_not_count_does_not_matter(name, anything):
    loss, _ = LOSSES[name]
    label, others, count = random_scores(1)
    without = gradients(loss, label, others, count)
    value, by_label, by_others = gradients(
        loss, label, torch.where(count > 0, others, anything), count
    )
    assert (count == 0).any()
    for actual, expected in zip((value, by_label, by_others), without, strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
    assert (by_others[count == 0] == 0).all()


@ALL
def test_without_negatives_only_the_positive_is_left(name):
    loss, definition = LOSSES[name]
    label, others, count = random_scores(2)
    count[1:] = 0
    value, by_label, by_others = gradients(loss, label, others, count)
    positive = torch.tensor([definition(p, []) for p in label.tolist()], dtype=torch.float64)
    torch.testing.assert_close(value[1:], positive[1:])
    assert torch.isfinite(by_label).all()
    assert (by_others[1:] == 0).all()
    assert (by_others[0] != 0).any() or name in ("ccl", "hinge")
    shared = gradients(loss, label, others, torch.zeros(1, 6, dtype=torch.float64))
    torch.testing.assert_close(shared[0], positive)
    assert all(torch.isfinite(tensor).all() for tensor in shared)


@ALL
def test_one_count_for_all_rows(name):
    loss, _ = LOSSES[name]
    label, others, count = random_scores(3)
    one = gradients(loss, label, others, count[:1])
    each = gradients(loss, label, others, count[:1].expand_as(others).clone())
    for actual, expected in zip(one, each, strict=True):
        torch.testing.assert_close(actual, expected)


@ALL
def test_scaled_counts(name):
    loss, _ = LOSSES[name]
    label, others, count = random_scores(4)
    count = count + 0.5
    before, after = loss(label, others, count), loss(label, others, 10 * count)
    assert torch.allclose(before, after, rtol=1e-12) == (name in MEANS)


@ALL
def test_finite_differences(name):
    loss, _ = LOSSES[name]
    label, others, count = random_scores(5)
    leaves = label.requires_grad_(), others.requires_grad_()
    assert torch.autograd.gradcheck(lambda *scores: loss(*scores, count), leaves)


@ALL
@pytest.mark.parametrize("label", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("other", [-1e4, 0.0, 1e4])
def test_extreme_scores_in_single_precision(name, label, other):
    loss, _ = LOSSES[name]
    scores = torch.tensor([label]), torch.tensor([[other, 0.5]]), torch.ones(1, 2)
    exact = gradients(loss, *(tensor.double() for tensor in scores))
    # its weights are exponentials of differences, which carry the last bit of 1e4
    tolerance = 1e-3 if name == "softmax_weighted_bpr" else 1e-6
    for actual, expected in zip(gradients(loss, *scores), exact, strict=True):
        assert torch.isfinite(actual).all()
        torch.testing.assert_close(actual.double(), expected, rtol=1e-6, atol=tolerance)


@ALL
def test_rows_do_not_mix(name):
    loss, _ = LOSSES[name]
    label, others, count = random_scores(6)
    alone = torch.cat(
        [loss(label[b : b + 1], others[b : b + 1], count[b : b + 1]) for b in range(len(label))]
    )
    torch.testing.assert_close(loss(label, others, count), alone)
    assert loss(label[:0], others[:0], count[:0]).shape == (0,)


# --- one loss and another ---


def test_one_negative_makes_weighted_bpr_plain():
    label, others, _ = random_scores(7, negatives=1)
    one = torch.ones(1, 1, dtype=torch.float64)
    for actual, expected in zip(
        gradients(softmax_weighted_bpr, label, others, one),
        gradients(bpr, label, others, one),
        strict=True,
    ):
        torch.testing.assert_close(actual, expected)


def test_weighted_bpr_keeps_small_losses():
    """A pair well in order has a loss of exp(-16), below the last bit of its probability."""
    value = softmax_weighted_bpr(torch.tensor([116.0]), torch.tensor([[100.0]]), torch.ones(1, 1))
    torch.testing.assert_close(value.item(), log1p(exp(-16)), rtol=1e-5, atol=0)


def test_uncalibrated_gbce_is_bce():
    label, others, count = random_scores(8)
    plain = bce_sum(label, others, count) / (1 + count.sum(1))
    torch.testing.assert_close(gbce(0.0, 0.03)(label, others, count), plain)
    torch.testing.assert_close(gbce(0.6, 1.0)(label, others, count), plain)


def test_gbce_is_bce_on_logits_of_the_powered_probability():
    """As the authors compute it: the positive's logit becomes that of sigmoid(f_p)^beta."""
    label, others, _ = random_scores(9)
    calibration, alpha = 0.75, 0.1
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    powered = -(label.sigmoid() ** -beta - 1).log()
    logits = torch.cat([powered[:, None], others], 1)
    truth = torch.zeros_like(logits)
    truth[:, 0] = 1
    expected = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(1)
    actual = gbce(calibration, alpha)(label, others, torch.ones_like(others))
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("p", [0.01, 0.3, 0.9])
@pytest.mark.parametrize("alpha", [0.05, 0.5])
def test_calibrated_gbce_is_least_at_the_true_probability(p, alpha):
    """An item is the label with probability p; else it is drawn as a negative with alpha."""
    f = torch.tensor([log(p / (1 - p))], dtype=torch.float64, requires_grad=True)
    no, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    loss = gbce(1.0, alpha)
    positive = loss(f, no, no)  # its only score is that of the label
    aside = torch.full((1,), 1e3, dtype=torch.float64)  # a label that costs nothing
    negative = 2 * loss(aside, f[:, None], one)  # a mean over two scores
    (slope,) = torch.autograd.grad((p * positive + (1 - p) * alpha * negative).sum(), f)
    assert abs(slope.item()) < 1e-12


def test_cml_on_distances():
    generator = torch.Generator().manual_seed(10)
    user, item, others = (
        torch.randn(*shape, generator=generator).double() for shape in ((3, 4), (3, 4), (3, 5, 4))
    )
    near = -(user - item).square().sum(1)
    far = -(user[:, None] - others).square().sum(2)
    expected = [
        sum(max(0.0, 2 + (u - i).dot(u - i).item() - (u - j).dot(u - j).item()) for j in js)
        for u, i, js in zip(user, item, others, strict=True)
    ]
    actual = hinge(2.0)(near, far, torch.ones(1, 5).double())
    torch.testing.assert_close(actual.tolist(), expected)


# --- parameters ---


def test_parameters_are_shown():
    assert "margin=0.9" in repr(ccl(0.9, 150.0))
    assert "weight=150.0" in repr(ccl(0.9, 150.0))
    assert "margin=0.5" in repr(hinge(0.5))
    assert "exponent=0.5" in repr(gbce(1.0, 0.5))


@pytest.mark.parametrize(
    "make",
    [
        lambda: gbce(-0.1, 0.5),
        lambda: gbce(1.1, 0.5),
        lambda: gbce(0.5, 0.0),
        lambda: gbce(0.5, 1.5),
        lambda: ccl(1.5, 1.0),
        lambda: ccl(0.5, -1.0),
        lambda: hinge(-0.1),
    ],
)
def test_impossible_parameters(make):
    with refused(ValueError):
        make()
