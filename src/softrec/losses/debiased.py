r"""The debiased softmax: cross-entropy corrected for the labels that are among the negatives.

With the label's logit z_y and R = logsumexp_j z_j over n negatives,

    exp R' = max((exp R - rho n exp z_y) / (1 - rho), n exp z_low)

takes the place of exp R. The negatives are taken for a mixture: a fraction rho of them would be
labels, too, and are scored as the label is; the rest are negatives, and R' is the sum over n of
these alone. An estimate from few negatives, or of a too large rho, may be too small or even
negative; no sum is smaller than n exp z_low, with z_low the smallest logit that there is.
"""

from __future__ import annotations

from functools import partial
from math import inf, log

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.losses.settings import SCORE, SCORE_TEMPERATURE, LossInputs, LossSettings, Term
from softrec.losses.softmax import SoftmaxLoss, SoftmaxStats, SoftWeight, TargetAnswers, check_asked
from softrec.scoring import Kind
from softrec.settings import Temperature, setting

LOWEST = {"cosine": -1.0, "euclidean": -4.0}  # scores of vectors; a bias is on top
SMALLEST = 1e-12  # of 1 - rho n exp(z_y - R), so that its logarithm has a finite gradient


def debiased_softmax(prior: float, negatives: float, lowest: float) -> SoftmaxLoss:
    """Return cross-entropy corrected for negatives that would be labels, too.

    Formula: softplus(R' - z_y) + a (z_y - E_s[z]), (P,) in nats, with
    exp R' = max((exp R - rho n exp z_y) / (1 - rho), n exp z_low). rho = 0 is cross-entropy, apart
    from the maximum. Where R' is at its smallest, the negatives have no gradient.

    Args:
        prior: rho, the fraction of the negatives that would be labels; in [0, 1).
        negatives: n, how many the sum in R has.
        lowest: z_low, the smallest logit: -1 / t for cosines at temperature t.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> nothing = TargetAnswers(torch.ones(1), torch.zeros(1), torch.zeros(1))
        >>> stats = SoftmaxStats(torch.tensor([0.0]), torch.tensor([2.0]))
        >>> debiased_softmax(prior=0.1, negatives=10, lowest=-5.0)(stats, nothing, 0.0)
        tensor([2.0917])

    Source: Chuang et al., "Debiased Contrastive Learning", NeurIPS 2020, eq. 7 and 8, with the
    label as its one sample of a positive.
    """
    if not 0 <= prior < 1:
        raise ValueError(f"prior must be at least 0 and less than 1, got {prior}")
    if not 0 < negatives < inf:
        raise ValueError(f"negatives must be positive, got {negatives}")
    if not -inf < lowest < inf:
        raise ValueError(f"lowest must be finite, got {lowest}")
    return partial(_debiased, prior=prior, negatives=negatives, lowest=lowest)


def _debiased(
    stats: SoftmaxStats,
    answers: TargetAnswers,
    weight: SoftWeight,
    *,
    prior: float,
    negatives: float,
    lowest: float,
) -> Tensor:
    check_asked(stats, answers, weight)
    label, rest = stats
    if prior:
        share = label - rest + log(prior * negatives)  # of the labels in exp R, as a logarithm
        left = (-share.clamp(max=-SMALLEST).expm1()).log()
        rest = rest + left - log(1 - prior)
    rest = torch.maximum(rest, torch.full_like(rest, log(negatives) + lowest))
    return F.softplus(rest - label) + weight * answers.gap(label)


# --- in a recipe ---


class DebiasedSettings(LossSettings, name="debiased"):
    """Cross-entropy corrected for the negatives that would be labels, too."""

    needs_fraction = True

    score: Kind = setting("cosine", SCORE, common=True)
    score_temperature: Temperature = setting(
        0.1, SCORE_TEMPERATURE, common=True, search="0.03..0.5:log"
    )
    prior: float = setting(
        0.001,
        "fraction of the negatives that would be labels, too (rho)",
        common=True,
        ge=0,
        lt=1,
        search="0.00001..0.01:log",
    )
    lowest: float | None = setting(
        None,
        "the smallest score; by default that of two vectors: -1 for cosines, -4 for distances",
        ge=-1e6,
        le=1e6,
    )

    def check(self, *, soft: bool) -> None:
        """Refuse scores that have no smallest one."""
        if self.score == "inner" and self.lowest is None:
            raise ValueError(
                "loss: debiased needs the smallest score, and inner products have none; choose "
                "score: cosine, or give loss.lowest"
            )

    def build(self, given: LossInputs) -> Term:
        """Return the loss for the number of negatives in the sum."""
        lowest = LOWEST[self.score] if self.lowest is None else self.lowest
        loss = debiased_softmax(self.prior, given.negatives, lowest / self.score_temperature)
        return Term({"debiased": (loss, 1.0)})
