r"""PSL, the pairwise softmax loss: SL with another function than the exponential.

SL(t) is log sum_j exp(d_j / t) with d_j = f_j - f_p. PSL has another function in place of exp,
which is closer to counting the negatives above the positive, as a metric does:

    PSL = log sum_j c_j sigma(d_j)^(1/t)

    relu   sigma(d) = max(0, 1 + d)
    tanh   sigma(d) = 1 + tanh d
    atan   sigma(d) = 1 + atan d

sigma(d) is at most exp(d), and at least 1 for d >= 0. For d >= -1 it is positive. So f is half of a
cosine, as in the paper and its code: score_temperature is 2, and t is half of the temperature that
SL has with whole cosines. sigma is at least `LEAST`, so that its logarithm is finite.

Source: Yang et al., "PSL: Rethinking and Improving Softmax Loss from Pairwise Perspective for
Recommendation", NeurIPS 2024, and its public code (PSL1, the form with the robustness of SL).
"""

from __future__ import annotations

from functools import partial
from math import inf, log
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.losses.pairwise import PairwiseLoss, counted
from softrec.losses.settings import SCORE, SCORE_TEMPERATURE, LossInputs, PairwiseSettings, Term
from softrec.scoring import Kind
from softrec.settings import Temperature, setting

Surrogate = Literal["relu", "tanh", "atan"]
LEAST = 1e-6


def psl(temperature: float, surrogate: Surrogate = "relu") -> PairwiseLoss:
    """Return the pairwise softmax loss; scores are half cosines.

    Formula: log sum_j c_j sigma(f_j - f_p)^(1/t), (P,) in nats, with sigma by `surrogate`. In a row
    without negatives it is 0.

    Args:
        temperature: t, positive.
        surrogate: sigma: "relu", "tanh" or "atan".

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> loss = psl(temperature=0.5)
        >>> loss(torch.tensor([0.5]), torch.tensor([[0.5, 0.0]]), torch.ones(1, 2))  # log 1.25
        tensor([0.2231])

    Source: see the head of this file.
    """
    if not 0 < temperature < inf:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    if surrogate not in get_args(Surrogate):
        raise ValueError(
            f"surrogate must be one of {', '.join(get_args(Surrogate))}, got {surrogate!r}"
        )
    return partial(_psl, temperature=temperature, surrogate=surrogate)


def _psl(
    positive: Tensor,
    negatives: Tensor,
    counts: Tensor,
    *,
    temperature: float,
    surrogate: Surrogate,
) -> Tensor:
    gaps = counted(positive, negatives, counts) - positive[:, None]
    some = (counts > 0).any(1, keepdim=True)
    log_count = torch.where(some, counts.log(), 0)  # a row with only -inf has no gradient
    value = (_log_sigma(gaps, surrogate) / temperature + log_count).logsumexp(1)
    return torch.where(some[:, 0], value, 0)


def _log_sigma(gaps: Tensor, surrogate: Surrogate) -> Tensor:
    """Return log sigma(d); 1 + tanh d = 2 sigmoid(2 d), whose logarithm is accurate."""
    if surrogate == "tanh":
        return (log(2) + F.logsigmoid(2 * gaps)).clamp(min=log(LEAST))
    values = 1 + (gaps if surrogate == "relu" else gaps.atan())
    return values.clamp(min=LEAST).log()


class PslSettings(PairwiseSettings, name="psl"):
    """PSL: SL with a function of score differences that is closer to counting than exp is."""

    score: Kind = setting("cosine", SCORE, common=True)
    score_temperature: Temperature = setting(2.0, SCORE_TEMPERATURE, common=True)
    surrogate: Surrogate = setting("relu", "the function in place of exp")
    sharpness_temperature: Temperature = setting(
        0.05,
        "temperature t of the sum over the negatives; half of the score_temperature of loss sl",
        search="0.015..0.25:log",
    )

    def build(self, given: LossInputs) -> Term:
        """Return the loss."""
        return Term(psl(self.sharpness_temperature, self.surrogate))
