r"""InfoNCE+: a contrastive loss with a weight of its denominator and of the label in it.

    InfoNCE+ = -z_y + lambda log(epsilon exp z_y + exp R)

With epsilon 0 it is MINE+, which is BSL's reweight with lambda as its exponent; with epsilon 0 and
lambda 1 it is SL; with epsilon 1 and lambda 1 it is cross-entropy. With lambda > 1 and epsilon > 0,
a label whose share of the denominator is above 1 / lambda is pushed down.

Source: Li, Jin and Ren, "Revisiting Recommendation Loss Functions through Contrastive Learning",
arXiv 2312.08520.
"""

from __future__ import annotations

from functools import partial
from math import inf, log

import torch
from torch import Tensor

from softrec.losses.adjustment import AdjustedSettings
from softrec.losses.bilateral import attraction
from softrec.losses.settings import SCORE, SCORE_TEMPERATURE, LossInputs, Term
from softrec.losses.softmax import (
    SoftmaxLoss,
    SoftmaxStats,
    SoftWeight,
    TargetAnswers,
    check_asked,
)
from softrec.scoring import Kind
from softrec.settings import Alpha, Positive, Temperature, setting


def infonce_plus(weight_of_all: float, epsilon: float = 0.0) -> SoftmaxLoss:
    """Return InfoNCE+, and MINE+ for epsilon 0.

    Formula: lambda log(epsilon exp z_y + exp R) - z_y, (P,) in nats. With a soft target the last
    z_y is replaced by (1 - a) z_y + a E_s[z].

    Args:
        weight_of_all: lambda, positive.
        epsilon: the weight of the label in the denominator, not negative.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> nothing = TargetAnswers(torch.ones(1), torch.zeros(1), torch.zeros(1))
        >>> stats = SoftmaxStats(torch.tensor([0.0]), torch.tensor([0.0]))
        >>> infonce_plus(2.0, epsilon=1.0)(stats, nothing, 0.0)  # 2 log 2
        tensor([1.3863])

    Source: see the head of this file.
    """
    if not 0 < weight_of_all < inf:
        raise ValueError(f"the weight of the denominator must be positive, got {weight_of_all}")
    if not 0 <= epsilon < inf:
        raise ValueError(f"epsilon must not be negative, got {epsilon}")
    return partial(_infonce_plus, weight_of_all=weight_of_all, epsilon=epsilon)


def _infonce_plus(
    stats: SoftmaxStats,
    answers: TargetAnswers,
    weight: SoftWeight,
    *,
    weight_of_all: float,
    epsilon: float,
) -> Tensor:
    check_asked(stats, answers, weight)
    whole = stats.rest_lse
    if epsilon:
        whole = torch.logaddexp(stats.label_logit + log(epsilon), whole)
    return weight_of_all * whole - attraction(stats, answers, weight)


class InfoncePlusSettings(AdjustedSettings, name="infonce+"):
    """InfoNCE+: SL with a weight of the denominator, and of the label in it; MINE+ by default."""

    score: Kind = setting("cosine", SCORE, common=True)
    score_temperature: Temperature = setting(
        0.1, SCORE_TEMPERATURE, common=True, search="0.03..0.5:log"
    )
    weight_of_all: Positive = setting(
        1.1, "lambda, the weight of the logarithm of the denominator", search="0.8..1.4"
    )
    epsilon: Alpha = setting(
        0.0, "weight of the label in the denominator: 0 is MINE+, 1 with lambda 1 cross-entropy"
    )

    def build(self, given: LossInputs) -> Term:
        """Return the loss."""
        return Term({"infonce+": (infonce_plus(self.weight_of_all, self.epsilon), 1.0)})
