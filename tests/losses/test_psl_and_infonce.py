"""PSL and InfoNCE+: golden values, and what they become at the ends of their settings."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.losses.bilateral import bsl_reweight, sl
from softrec.losses.contrastive import infonce_plus
from softrec.losses.pairwise import counted
from softrec.losses.pairwise_softmax import LEAST, psl
from softrec.losses.softmax import SoftmaxStats, TargetAnswers, hard_cross_entropy, no_answers

DIGITS = {"rtol": 0, "atol": 6e-11}
POSITIVE = torch.tensor([0.3], dtype=torch.float64)
OTHERS = torch.tensor([[0.1, 0.45, -0.4]], dtype=torch.float64)
ONES = torch.ones(1, 3, dtype=torch.float64)


@pytest.mark.parametrize(
    ("surrogate", "expected"),
    [  # log(.8^10 + 1.15^10 + .3^10), ... worked out with Python's math
        ("relu", 1.4238159930),
        ("tanh", 1.4152580040),
        ("atan", 1.4152894157),
    ],
)
def test_golden_psl(surrogate, expected):
    found = psl(0.1, surrogate)(POSITIVE, OTHERS, ONES)
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64), **DIGITS)


@pytest.mark.parametrize(
    ("weight", "epsilon", "expected"), [(1.1, 0.0, 1.0278197094), (1.1, 0.5, 1.2300632245)]
)
def test_golden_infonce(weight, epsilon, expected):
    stats = SoftmaxStats(POSITIVE, OTHERS.logsumexp(1))
    found = infonce_plus(weight, epsilon)(stats, no_answers(POSITIVE), 0.0)
    torch.testing.assert_close(found, torch.tensor([expected], dtype=torch.float64), **DIGITS)


@given(st.integers(0, 2**31), st.floats(0.02, 1.0))
def test_psl_is_between_the_step_and_sl(seed, t):
    """For half cosines: the number of negatives above the positive, and SL."""
    generator = torch.Generator().manual_seed(seed)
    f = torch.rand(5, 9, generator=generator, dtype=torch.float64) - 0.5
    positive, others = f[:, 0], f[:, 1:]
    above = (others >= positive[:, None]).sum(1)
    softmax = (others / t).logsumexp(1) - positive / t
    for surrogate in ("relu", "tanh", "atan"):
        found = psl(t, surrogate)(positive, others, torch.ones_like(others))
        assert (found.exp() >= above - 1e-9).all()
        assert (found <= softmax + 1e-9).all()


def test_a_negative_far_below_has_no_gradient():
    others = torch.tensor([[-5.0, 0.2]], requires_grad=True)
    value = psl(0.5)(torch.tensor([0.3]), others, torch.ones(1, 2))
    (slope,) = torch.autograd.grad(value.sum(), others)
    assert slope[0, 0] == 0
    assert slope[0, 1] > 0
    alone = psl(0.5)(torch.tensor([0.3]), torch.tensor([[-5.0]]), torch.ones(1, 1))
    torch.testing.assert_close(alone, torch.tensor([LEAST]).log() / 0.5)


@given(st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_what_infonce_becomes(seed, a):
    generator = torch.Generator().manual_seed(seed)
    numbers = 4 * torch.randn(5, 6, generator=generator, dtype=torch.float64)
    stats = SoftmaxStats(numbers[0], numbers[1])
    share = numbers[2].sigmoid()
    answers = TargetAnswers(1 - share, share, numbers[3])
    for one, other in (
        (infonce_plus(1.0), sl),
        (infonce_plus(1.3), bsl_reweight(1.3)),
    ):
        torch.testing.assert_close(one(stats, answers, a), other(stats, answers, a))
    alone = infonce_plus(1.0, 1.0)(stats, no_answers(numbers[0]), 0.0)
    expected = hard_cross_entropy(stats, no_answers(numbers[0]), 0.0)
    torch.testing.assert_close(alone, expected)
    leaves = [n.clone().requires_grad_() for n in numbers[:2]]
    torch.autograd.gradcheck(
        lambda y, r: infonce_plus(1.2, 0.4)(SoftmaxStats(y, r), answers, a), leaves
    )


@pytest.mark.parametrize(
    "make",
    [lambda: psl(0.0), lambda: psl(0.1, "exp"), lambda: infonce_plus(0.0),  # pyright: ignore
     lambda: infonce_plus(1.0, -0.1), lambda: counted(POSITIVE, OTHERS[0], ONES)],
    ids=["t", "sigma", "lambda", "epsilon", "shapes"],
)  # fmt: skip
def test_what_is_refused(make):
    with refused(ValueError):
        make()
