r"""Pairwise losses, on the score of the positive and the scores of its negatives.

Every loss here has the form `loss(positive, negatives, counts)`:

    positive   f_p, (P,): the score of the positive
    negatives  f_j, (P, M): the scores of the negatives
    counts     c_j, (P, M) or (1, M), a float: how often each negative counts

and returns one value per row, (P,). With counts, the same code is used for negatives that were
sampled twice, for negatives that are the same for all rows, and for padding. A negative with count
0 is left out, and its score and gradient have no effect. A mean over negatives is
sum_j c_j x_j / sum_j c_j. In a row without negatives the term of the negatives is 0.

The scores may be inner products, cosines or negative distances; a loss that needs cosines says so.

`bpr`, `softmax_weighted_bpr`, `bce`, `bce_sum` and `mse` are such losses. `gbce`, `ccl`
and `hinge` have parameters and return one: a `functools.partial`, whose repr
shows them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.losses.settings import SCORE, LossInputs, PairwiseSettings, Term
from softrec.scoring import Kind
from softrec.settings import Alpha, Positive, setting

PairwiseLoss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Pairs(NamedTuple):
    """A pairwise loss, the alternative to `softrec.losses.softmax.Parts`: without a soft target."""

    loss: PairwiseLoss

    @property
    def names(self) -> list[str]:
        """Return the name of its one part."""
        return ["loss"]

    def check(self, weight: float | Tensor, *, soft: bool) -> None:
        """Refuse a soft target, and a weight other than 0."""
        if isinstance(weight, Tensor):
            weight = float(weight.max())
        if soft or weight:
            raise ValueError(
                "a pairwise loss cannot use a soft target, but got "
                + ("a soft target" if soft else f"a weight of {weight}")
            )

    def total(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return the value of each example, (P,)."""
        return values["loss"]


def bpr(positive: Tensor, negatives: Tensor, counts: Tensor) -> Tensor:
    """Return the mean of -log sigmoid(f_p - f_j): Bayesian personalised ranking.

    Formula: mean_j softplus(f_j - f_p), (P,) in nats.

    Args:
        positive: (P,) scores of the positives.
        negatives: (P, M) scores of the negatives.
        counts: (P, M) or (1, M), how often each negative counts.

    Example:
        >>> bpr(torch.tensor([1.0]), torch.tensor([[0.0, 9.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([0.3133])

    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.
    """
    return _mean(F.softplus(counted(positive, negatives, counts) - positive[:, None]), counts)


def softmax_weighted_bpr(positive: Tensor, negatives: Tensor, counts: Tensor) -> Tensor:
    """Return BPR with larger weights on hard negatives: the log of a weighted mean of sigmoids.

    Formula: -log sum_j w_j sigmoid(f_p - f_j) with w = softmax(f + log c), (P,) in nats. With one
    negative it is `bpr`. The weights are part of the loss and have a gradient.

    Args:
        positive: (P,) scores of the positives.
        negatives: (P, M) scores of the negatives.
        counts: (P, M) or (1, M), how often each negative counts.

    Example:
        >>> score, negatives = torch.tensor([1.0]), torch.tensor([[0.0, 2.0]])
        >>> softmax_weighted_bpr(score, negatives, torch.ones(1, 2))
        tensor([1.1269])

    Source: the code of Wang et al., "Target Interest Distillation for Multi-Interest
    Recommendation", CIKM 2022; the weights go back to BPR-max of Hidasi and Karatzoglou, "Recurrent
    Neural Networks with Top-k Gains for Session-based Recommendations", CIKM 2018.
    """
    scores = counted(positive, negatives, counts)
    some = (counts > 0).any(1, keepdim=True)
    log_count = torch.where(some, counts.log(), 0)  # a row with only -inf has no softmax
    log_weight = (scores + log_count).log_softmax(1)
    log_sigmoid = F.logsigmoid(positive[:, None] - scores)
    return torch.where(some[:, 0], -(log_weight + log_sigmoid).logsumexp(1), 0)


def bce(positive: Tensor, negatives: Tensor, counts: Tensor) -> Tensor:
    """Return binary cross-entropy with equal weights of the positive and of all negatives.

    Formula: softplus(-f_p) + mean_j softplus(f_j), (P,) in nats.

    Args:
        positive: (P,) scores of the positives.
        negatives: (P, M) scores of the negatives.
        counts: (P, M) or (1, M), how often each negative counts.

    Example:
        >>> bce(torch.zeros(1), torch.zeros(1, 3), torch.ones(1, 3))
        tensor([1.3863])

    Source: He et al., "Neural Collaborative Filtering", WWW 2017, eq. 7. Siblings: `bce_sum`,
    `gbce`.
    """
    return F.softplus(-positive) + _mean(F.softplus(counted(positive, negatives, counts)), counts)


def bce_sum(positive: Tensor, negatives: Tensor, counts: Tensor) -> Tensor:
    """Return binary cross-entropy with the sum over negatives instead of the mean.

    Formula: softplus(-f_p) + sum_j c_j softplus(f_j), (P,) in nats. M negatives have M times the
    weight as in `bce`; the public code of BSL compares with this form.

    Args:
        positive: (P,) scores of the positives.
        negatives: (P, M) scores of the negatives.
        counts: (P, M) or (1, M), how often each negative counts.

    Example:
        >>> bce_sum(torch.zeros(1), torch.zeros(1, 3), torch.ones(1, 3))
        tensor([2.7726])

    Source: the code of Wu et al., "BSL: Understanding and Improving Softmax Loss for
    Recommendation", ICDE 2024.
    """
    return F.softplus(-positive) + _sum(F.softplus(counted(positive, negatives, counts)), counts)


def mse(positive: Tensor, negatives: Tensor, counts: Tensor) -> Tensor:
    """Return half the squared distance to 1 for the positive and to 0 for the negatives.

    Formula: (f_p - 1)^2 / 2 + sum_j c_j f_j^2 / 2, (P,).

    Args:
        positive: (P,) scores of the positives.
        negatives: (P, M) scores of the negatives.
        counts: (P, M) or (1, M), how often each negative counts.

    Example:
        >>> mse(torch.tensor([0.0]), torch.tensor([[1.0, 2.0]]), torch.ones(1, 2))
        tensor([3.])

    Source: as `bce_sum`, where it is one of the losses compared.
    """
    return (positive - 1).square() / 2 + _sum(
        counted(positive, negatives, counts).square() / 2, counts
    )


def gbce(calibration: float, sampling_rate: float) -> PairwiseLoss:
    """Return generalised binary cross-entropy: BCE corrected for the sampling of negatives.

    Formula: (beta softplus(-f_p) + sum_j c_j softplus(f_j)) / (1 + sum_j c_j), (P,) in nats, with
    beta = alpha (t (1 - 1/alpha) + 1/alpha) = 1 - t (1 - alpha). The probability of the positive is
    raised to the power beta. With t = 0 this is ordinary BCE, whose probabilities are too high
    because most negatives are not sampled; with t = 1 they are calibrated.

    Args:
        calibration: t, in [0, 1].
        sampling_rate: alpha = M / (N - 1), the fraction of an example's negatives that are sampled;
            in (0, 1].

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> loss = gbce(calibration=1.0, sampling_rate=0.5)
        >>> loss(torch.zeros(1), torch.zeros(1, 3), torch.ones(1, 3))
        tensor([0.6065])

    Source: Petrov and Macdonald, "gSASRec: Reducing Overconfidence in Sequential Recommendation
    Trained with Negative Sampling", RecSys 2023.
    """
    if not 0 <= calibration <= 1:
        raise ValueError(f"calibration must be in [0, 1], got {calibration}")
    if not 0 < sampling_rate <= 1:
        raise ValueError(f"sampling_rate is M / (N - 1) and must be in (0, 1], got {sampling_rate}")
    return partial(_gbce, exponent=1 - calibration * (1 - sampling_rate))


def _gbce(positive: Tensor, negatives: Tensor, counts: Tensor, *, exponent: float) -> Tensor:
    negatives = _sum(F.softplus(counted(positive, negatives, counts)), counts)
    return (exponent * F.softplus(-positive) + negatives) / (1 + counts.sum(1))


def ccl(margin: float, weight: float) -> PairwiseLoss:
    """Return the cosine contrastive loss of SimpleX; scores are cosines.

    Formula: (1 - f_p) + w mean_j max(0, f_j - m), (P,). Negatives below the margin have no effect.

    Args:
        margin: m, in [-1, 1].
        weight: w, the weight of the negatives; not negative. (Matrix factorisation in the authors'
            experiments: m = 0.9, w = 150 with M = 800.)

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> loss = ccl(margin=0.5, weight=10.0)
        >>> loss(torch.tensor([0.75]), torch.tensor([[1.0, 0.25]]), torch.ones(1, 2))
        tensor([2.7500])

    Source: Mao et al., "SimpleX: A Simple and Strong Baseline for Collaborative Filtering", CIKM
    2021.
    """
    if not -1 <= margin <= 1:
        raise ValueError(f"margin is compared with a cosine and must be in [-1, 1], got {margin}")
    _check_weight(weight)
    return partial(_ccl, margin=margin, negative_weight=weight)


def _ccl(
    positive: Tensor, negatives: Tensor, counts: Tensor, *, margin: float, negative_weight: float
) -> Tensor:
    return (
        1
        - positive
        + negative_weight * _mean(F.relu(counted(positive, negatives, counts) - margin), counts)
    )


def hinge(margin: float) -> PairwiseLoss:
    """Return the hinge loss on score differences; with negative squared distances it is CML.

    Formula: sum_j c_j max(0, m + f_j - f_p), (P,). Collaborative metric learning uses
    f = -||u - i||^2 and keeps all vectors inside the unit ball. Its rank weights are not included.

    Args:
        margin: m, in units of the scores; not negative.

    Raises:
        ValueError: if the margin is negative.

    Example:
        >>> loss = hinge(margin=0.5)
        >>> loss(torch.tensor([1.0]), torch.tensor([[0.75, 0.25]]), torch.ones(1, 2))
        tensor([0.2500])

    Source: Hsieh et al., "Collaborative Metric Learning", WWW 2017, eq. 1.
    """
    if not 0 <= margin < inf:
        raise ValueError(f"margin must not be negative, got {margin}")
    return partial(_hinge, margin=margin)


def _hinge(positive: Tensor, negatives: Tensor, counts: Tensor, *, margin: float) -> Tensor:
    return _sum(F.relu(margin + counted(positive, negatives, counts) - positive[:, None]), counts)


def counted(positive: Tensor, negatives: Tensor, counts: Tensor) -> Tensor:
    """Return the scores with 0 where the count is 0: 0 times an infinite score would be NaN."""
    rows, number = len(positive), negatives.shape[-1]
    fits = positive.dim() == 1 and negatives.shape == (rows, number)
    if not fits or counts.shape not in (negatives.shape, (1, number)):
        raise ValueError(
            "expected scores of positives (P,), of negatives (P, M), and counts (P, M) or (1, M); "
            f"got {tuple(positive.shape)}, {tuple(negatives.shape)} and {tuple(counts.shape)}"
        )
    return torch.where(counts > 0, negatives, 0)


def _sum(values: Tensor, counts: Tensor) -> Tensor:
    return (counts * values).sum(1)


def _mean(values: Tensor, counts: Tensor) -> Tensor:
    total = counts.sum(1)
    return _sum(values, counts) / torch.where(total > 0, total, 1)


def _check_weight(weight: float) -> None:
    if not 0 <= weight < inf:
        raise ValueError(f"weight must not be negative, got {weight}")


# --- in a recipe ---


class BprSettings(PairwiseSettings, name="bpr"):
    """BPR: the score of the label compared with the score of each negative."""

    pairs = staticmethod(bpr)


class WeightedBprSettings(PairwiseSettings, name="weighted-bpr"):
    """BPR whose negatives are weighted by their softmax."""

    pairs = staticmethod(softmax_weighted_bpr)


class BceSettings(PairwiseSettings, name="bce"):
    """Binary cross-entropy of each score separately, averaged over the negatives."""

    pairs = staticmethod(bce)


class BceSumSettings(PairwiseSettings, name="bce-sum"):
    """Binary cross-entropy of each score separately, summed over the negatives."""

    pairs = staticmethod(bce_sum)


class MseSettings(PairwiseSettings, name="mse"):
    """Half the sum of squared errors: of the label's score to 1, of the negatives' scores to 0."""

    pairs = staticmethod(mse)


class GbceSettings(PairwiseSettings, name="gbce"):
    """gBCE of gSASRec: binary cross-entropy corrected for the fraction of negatives sampled.

    It needs `candidates: sampled`, which give this fraction.
    """

    needs_fraction = True

    calibration: Alpha = setting(
        0.75, "t, 0 to 1: 0 is binary cross-entropy, 1 gives calibrated probabilities"
    )

    def build(self, given: LossInputs) -> Term:
        """Return the loss for the fraction of the items that is sampled."""
        return Term(gbce(self.calibration, given.fraction))


class CclSettings(PairwiseSettings, name="ccl"):
    """CCL of SimpleX, a contrastive loss on cosines: only negatives above a margin count."""

    score: Kind = setting("cosine", SCORE, common=True)
    margin: float = setting(0.9, "cosine above which a negative counts", ge=-1, le=1)
    negative_weight: Positive = setting(150.0, "weight of the negatives' average")

    def build(self, given: LossInputs) -> Term:
        """Return the loss."""
        return Term(ccl(self.margin, self.negative_weight))


class CmlSettings(PairwiseSettings, name="cml"):
    """CML: a hinge on squared distances within the unit ball."""

    score: Kind = setting("euclidean", SCORE, common=True)
    margin: Positive = setting(
        0.5, "squared distance by which the label is to be nearer than each negative"
    )

    def build(self, given: LossInputs) -> Term:
        """Return the loss."""
        return Term(hinge(self.margin))
