r"""Talos: a softmax of how far scores are above the border of a user's list.

With b the user's score at rank K, and sigma the logistic function,

    phi_i = log sigma(f_i - b) / t          Talos = -phi_y + log sum_i exp phi_i

so that items far above the border no longer differ, and those far below are as in SL(t). The border
is no parameter of the model: it is computed in training (`softrec.weights.thresholds`), and
subtracted from the scores that the loss gets.

With the label in the sum the loss is at least 0; in the authors' code the sum is over the negatives
alone.

Source: "Talos: Optimizing Top-K Accuracy in Recommender Systems", WWW 2026, by its public code; the
text of the paper was not at hand.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.losses.pairwise import PairwiseLoss, counted
from softrec.losses.settings import (
    SCORE,
    SCORE_TEMPERATURE,
    Border,
    LossInputs,
    PairwiseSettings,
    Term,
)
from softrec.scoring import Kind
from softrec.settings import Rounds, Temperature, setting

Denominator = Literal["all", "negatives"]


def talos(temperature: float, denominator: Denominator = "all") -> PairwiseLoss:
    """Return Talos; scores are cosines from which the user's border is subtracted.

    Formula: log(sum_j c_j exp phi_j + exp phi_p) - phi_p with phi = log sigmoid(f) / t, (P,) in
    nats, at least 0; with "negatives" the sum is without exp phi_p. In a row without negatives it
    is 0.

    Args:
        temperature: t, positive.
        denominator: "all", or "negatives" to leave the label out of the sum.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> loss = talos(temperature=1.0)
        >>> loss(torch.tensor([0.0]), torch.tensor([[0.0, 0.0]]), torch.ones(1, 2))  # log 3
        tensor([1.0986])

    Source: see the head of this file.
    """
    if not 0 < temperature < inf:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    if denominator not in get_args(Denominator):
        raise ValueError(
            f"denominator must be {' or '.join(get_args(Denominator))}, got {denominator!r}"
        )
    return partial(_talos, temperature=temperature, denominator=denominator)


def _talos(
    positive: Tensor,
    negatives: Tensor,
    counts: Tensor,
    *,
    temperature: float,
    denominator: Denominator,
) -> Tensor:
    own = F.logsigmoid(positive) / temperature
    others = F.logsigmoid(counted(positive, negatives, counts)) / temperature
    some = (counts > 0).any(1, keepdim=True)
    log_count = torch.where(some, counts.log(), 0)  # a row with only -inf has no gradient
    above = (others + log_count).logsumexp(1) - own
    value = F.softplus(above) if denominator == "all" else above
    return torch.where(some[:, 0], value, 0)


class TalosSettings(PairwiseSettings, name="talos"):
    """Talos: a softmax of how far scores are above the border of the user's best K items."""

    score: Kind = setting("cosine", SCORE, common=True)
    score_temperature: Temperature = setting(1.0, SCORE_TEMPERATURE, common=True)
    rank: Rounds = setting(20, "K, the length of the lists that matter")
    renew: Rounds = setting(1, "epochs after which the scores at rank K are computed again")
    sharpness_temperature: Temperature = setting(
        0.1, "temperature t of the sum over the items", search="0.05..0.3"
    )
    denominator: Denominator = setting(
        "all",
        "what is in the sum: all, with the label, or negatives, as in the authors' code",
    )

    @property
    def changes_logits(self) -> str:
        """Return what its scores have that those of rankings have not."""
        return "the border of talos"

    def build(self, given: LossInputs) -> Term:
        """Return the loss, and the border that it needs."""
        loss = talos(self.sharpness_temperature, self.denominator)
        return Term(loss, border=Border(self.rank, self.renew))
