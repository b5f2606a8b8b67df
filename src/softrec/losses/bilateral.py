r"""Softmax losses on cosines without the positive in the denominator: SL and BSL.

Let f be a cosine, z = f / t the logits at temperature t, z_y that of the positive, and
R = logsumexp_j z_j over the negatives. The softmax loss of the BSL paper is

    SL(t) = -z_y + R

and BSL changes the weight of the negatives or the form of both terms. Three different losses have
this name:

    reweight    -z_y + t2 R                                  z = f / t1         authors' code
    multi       -log mean_{i in G} exp z_i + t2 R            z = f / t1         authors' code
    bilateral   -tau1 log mean_{i in G} exp(f_i / tau1)
                + tau2 R                                     z = f / tau2       the abstract's form

G is the set of positives of the same user in the batch. In the code t2 is an exponent, the weight
of the negatives, and not a second temperature: both terms have the same temperature t1. In the
bilateral form each term has its own temperature, which is also its weight. With one positive per
user, tau1 cancels and the bilateral form is tau2 SL(tau2), while `reweight` differs from SL by t2.
The authors' plots call the exponent tau1/tau2, but the bilateral form has tau2/tau1 inside its
group mean. So published values of one form cannot be used for the other.

All three are sums of two functions:

    reweight    bsl_reweight(t2)
    multi       grouped_label(z_y, G) + negative_side(t2)
    bilateral   tau1 grouped_label(z_y, G, tau2 / tau1) + negative_side(tau2)

In the literature R has sometimes a sum and sometimes a mean over the M negatives. The difference,
t2 log M, has no gradient; here R is used as it is given. For a loss with the positive in the
denominator (SSM, InfoNCE) use `hard_cross_entropy`.

With a soft target s of weight a, z_y is replaced by (1 - a) z_y + a E_s[z] in `sl` and `reweight`.
Without negatives R is -inf, and so is the loss: each row needs at least one negative.

Source: Wu et al., "BSL: Understanding and Improving Softmax Loss for Recommendation", ICDE 2024,
and its public code.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Literal, assert_never

from torch import Tensor

from softrec.losses.adjustment import AdjustedSettings
from softrec.losses.settings import SCORE, SCORE_TEMPERATURE, LossInputs, Term
from softrec.losses.softmax import SoftmaxLoss, SoftmaxStats, SoftWeight, TargetAnswers, check_asked
from softrec.scoring import Kind
from softrec.settings import Temperature, setting


def sl(stats: SoftmaxStats, answers: TargetAnswers, weight: SoftWeight) -> Tensor:
    """Return R - z_y, the softmax loss without the positive in its denominator.

    Formula: R - z_y, (P,) in nats; no lower bound. The gradient is -1 at the positive and the
    softmax over the negatives, for any difference of their scores.

    Args:
        stats: z_y and R, both of cosines divided by the temperature.
        answers: of the soft target; its mean logit is increased together with the label's logit.
        weight: the weight a of the soft target; 0 for the label alone.

    Example:
        >>> import torch
        >>> nothing = TargetAnswers(torch.ones(1), torch.zeros(1), torch.zeros(1))
        >>> sl(SoftmaxStats(torch.tensor([4.0]), torch.tensor([3.5])), nothing, 0.0)
        tensor([-0.5000])

    Source: see the head of this file.
    """
    check_asked(stats, answers, weight)
    return stats.rest_lse - attraction(stats, answers, weight)


def bsl_reweight(exponent: float) -> SoftmaxLoss:
    """Return BSL as in the authors' code: SL with another weight on the negatives.

    Formula: t2 R - z_y, (P,) in nats. t2 = 1 is `sl`. In the other mode of the code, multi, the
    positives of a user in the batch have a common term: `grouped_label` + `negative_side`.

    Args:
        exponent: t2, positive; 1.06 to 1.32 for matrix factorisation in the authors' logs.

    Raises:
        ValueError: if the exponent is not positive.

    Example:
        >>> import torch
        >>> nothing = TargetAnswers(torch.ones(1), torch.zeros(1), torch.zeros(1))
        >>> stats = SoftmaxStats(torch.tensor([4.0]), torch.tensor([3.5]))
        >>> bsl_reweight(exponent=2.0)(stats, nothing, 0.0)
        tensor([3.])

    Source: see the head of this file.
    """
    _check_positive(exponent, "exponent")
    return partial(_bsl_reweight, exponent=exponent)


def _bsl_reweight(
    stats: SoftmaxStats, answers: TargetAnswers, weight: SoftWeight, *, exponent: float
) -> Tensor:
    check_asked(stats, answers, weight)
    return exponent * stats.rest_lse - attraction(stats, answers, weight)


def attraction(stats: SoftmaxStats, answers: TargetAnswers, weight: SoftWeight) -> Tensor:
    """Return E_q[z] = (1 - a) z_y + a E_s[z], which is z_y without a soft target."""
    return stats.label_logit - weight * answers.gap(stats.label_logit)


def negative_side(coefficient: float) -> SoftmaxLoss:
    """Return a loss with only the term of the negatives, to be added to `grouped_label`.

    Formula: coefficient R, (P,) in nats. The gradient in the negatives is the coefficient times
    their softmax.

    Args:
        coefficient: positive; the exponent t2 of mode multi, or tau2 of the bilateral form.

    Raises:
        ValueError: if the coefficient is not positive.

    Example:
        >>> import torch
        >>> nothing = TargetAnswers(torch.ones(1), torch.zeros(1), torch.zeros(1))
        >>> stats = SoftmaxStats(torch.tensor([4.0]), torch.tensor([3.5]))
        >>> negative_side(coefficient=2.0)(stats, nothing, 0.0)
        tensor([7.])

    Source: see the head of this file.
    """
    _check_positive(coefficient, "coefficient")
    return partial(_negative_side, coefficient=coefficient)


def _negative_side(
    stats: SoftmaxStats, answers: TargetAnswers, weight: SoftWeight, *, coefficient: float
) -> Tensor:
    check_asked(stats, answers, weight)
    return coefficient * stats.rest_lse


def grouped_label(label_logit: Tensor, group: Tensor, sharpness: float = 1.0) -> Tensor:
    """Return the term of the positives by groups: each row has the value of its group.

    Formula: -log mean_{i in G(b)} exp(sharpness z_i), (P,) in nats. Summed over the m rows of a
    group, the gradient is -m sharpness softmax(sharpness z) over the group: positives with a low
    score, which may be noise, have a small gradient. The value of a group of one row is
    -sharpness z.

    Args:
        label_logit: z_y, (P,).
        group: (P,) int64, any numbers: rows with equal numbers, such as the user's, are one group.
        sharpness: positive; 1 for the mode multi of the code, tau2 / tau1 for the bilateral form
            with z = f / tau2.

    Raises:
        ValueError: if the sharpness is not positive.

    Example:
        >>> import torch
        >>> grouped_label(torch.tensor([4.0, 4.0, 1.0]), torch.tensor([7, 7, 3]))
        tensor([-4., -4., -1.])

    Source: see the head of this file.
    """
    _check_positive(sharpness, "sharpness")
    if group.shape != label_logit.shape:
        raise ValueError(
            f"expected one group for each row, of shape {tuple(label_logit.shape)}; got "
            f"{tuple(group.shape)}"
        )
    names, member, size = group.unique(return_inverse=True, return_counts=True)
    scores = sharpness * label_logit
    nothing = scores.new_zeros(len(names))
    top = nothing.scatter_reduce(0, member, scores.detach(), "amax", include_self=False)
    total = nothing.index_add(0, member, (scores - top[member]).exp())
    return -(top + (total / size).log())[member]


def _check_positive(value: float, name: str) -> None:
    if not 0 < value < inf:
        raise ValueError(f"{name} must be positive, got {value}")


# --- in a recipe ---


class SlSettings(AdjustedSettings, name="sl"):
    """SL: the softmax loss on cosines, without the label in the denominator."""

    score: Kind = setting("cosine", SCORE, common=True)
    score_temperature: Temperature = setting(
        0.1, SCORE_TEMPERATURE, common=True, search="0.03..0.5:log"
    )

    def build(self, given: LossInputs) -> Term:
        """Return the loss."""
        return Term({"sl": (sl, 1.0)})


class BslSettings(AdjustedSettings, name="bsl"):
    """BSL: SL with another weight on the negatives, or with another form of the positives."""

    score: Kind = setting("cosine", SCORE, common=True)
    score_temperature: Temperature = setting(
        0.1, SCORE_TEMPERATURE, common=True, search="0.03..0.5:log"
    )
    mode: Literal["reweight", "multi", "single", "bilateral"] = setting(
        "reweight", "which variant of BSL; single is SL", common=True
    )
    exponent: float = setting(
        1.1,
        "exponent of the negatives (t2), in modes reweight and multi",
        common=True,
        gt=0,
        le=1000,
    )
    positive_temperature: Temperature = setting(
        0.1, "temperature of the positives (tau1), in mode bilateral; score_temperature is its tau2"
    )

    @property
    def of_batch(self) -> bool:
        """Return whether labels are grouped."""
        return self.mode in ("multi", "bilateral")

    def check(self, *, soft: bool) -> None:
        """Refuse a soft target in the modes that group labels."""
        if soft and self.of_batch:
            raise ValueError(
                f"{self.name} in mode {self.mode} groups the labels of a user and cannot use a "
                "soft target; choose mode: reweight, or target: one-hot"
            )

    def build(self, given: LossInputs) -> Term:
        """Return the loss of the mode."""
        match self.mode:
            case "reweight":
                return Term({"bsl": (bsl_reweight(self.exponent), 1.0)})
            case "multi":
                return Term({"negative": (negative_side(self.exponent), 1.0)}, (grouped_label, 1.0))
            case "single":  # the name of SL in the authors' code
                return Term({"sl": (sl, 1.0)})
            case "bilateral":
                tau1, tau2 = self.positive_temperature, self.score_temperature
                positive = partial(grouped_label, sharpness=tau2 / tau1)
                return Term({"negative": (negative_side(tau2), 1.0)}, (positive, tau1))
            case mode:
                assert_never(mode)
