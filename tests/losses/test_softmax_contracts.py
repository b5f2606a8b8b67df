"""Every loss and every pass against its definition, and the contract against broken losses."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from softrec.losses.reference import plain
from softrec.losses.softmax import (
    binary_part,
    decoupled,
    hard,
    hard_cross_entropy,
    mixed,
    rest_part,
    soft_cross_entropy,
)
from softrec.losses.streaming import streamed
from softrec.targets.dense import DenseTarget
from softrec.testing import check_loss, check_pass, oracles, random_case
from softrec.testing.losses import outcome_of, over_all

LOSSES = {
    "hard": (hard_cross_entropy, oracles.hard),
    "soft": (soft_cross_entropy, oracles.soft),
    "binary": (binary_part, oracles.binary),
    "rest": (rest_part, oracles.rest),
}


def decoupled_oracle(balance, z, label, s, weight):
    binary = oracles.binary(z, label, s, weight)
    return balance * binary + (1 - balance) * oracles.rest(z, label, s, weight)


OBJECTIVES = {
    "hard": (hard(), oracles.hard),
    "mixed": (mixed(), oracles.soft),
    "decoupled": (decoupled(0.7), partial(decoupled_oracle, 0.7)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_contract_of_the_losses(name):
    check_loss(*LOSSES[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_contract_of_the_streamed_objectives(name, rows):
    check_pass(*OBJECTIVES[name], partial(streamed, rows=rows))


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("rows", [1, 4, 5, 17, None])
def test_streamed_is_the_reference(name, dtype, rows):
    parts, _ = OBJECTIVES[name]
    case = random_case(3, rows=17, n_items=29, dim=8, dtype=dtype)
    tolerance = 1e-10 if dtype == torch.float64 else 2e-6
    found = outcome_of(case, parts, 0.4, partial(streamed, rows=rows)).all
    for name, expected in outcome_of(case, parts, 0.4, plain).all.items():
        torch.testing.assert_close(found[name], expected, rtol=tolerance, atol=tolerance)


# --- a contract that nothing can break proves nothing ---


def mean_not_sum(stats, answers, weight):
    return soft_cross_entropy(stats, answers, weight).mean().expand_as(stats.label_logit)


def wrong_sign(stats, answers, weight):
    expected = answers.expected_logit(stats.label_logit)
    return F.softplus(stats.rest_lse - stats.label_logit) - weight * expected


def with_epsilon(stats, answers, weight):
    return -(torch.sigmoid(stats.label_logit - stats.rest_lse) + 1e-12).log()


def by_subtraction(stats, answers, weight):
    """R won back from the lse: right on paper."""
    lse = torch.logaddexp(stats.label_logit, stats.rest_lse)
    return -(1 - (stats.label_logit - lse).exp()).log()


@pytest.mark.parametrize(
    ("broken", "oracle"),
    [
        (mean_not_sum, oracles.soft),
        (wrong_sign, oracles.soft),
        (with_epsilon, oracles.hard),
        (hard_cross_entropy, oracles.soft),
        (by_subtraction, oracles.hard),
    ],
)
def test_broken_losses_are_found(broken, oracle):
    with pytest.raises(AssertionError):
        check_loss(broken, oracle)


def test_parts_are_named_and_unweighted():
    case = random_case(1)
    value = over_all(plain)(
        decoupled(0.7), case.users, case.items, case.label, DenseTarget(case.probs), 0.3
    )
    assert list(value.parts) == ["binary", "rest"]
    expected = 0.7 * value.parts["binary"] + 0.3 * value.parts["rest"]
    torch.testing.assert_close(value.total, expected.mean())
