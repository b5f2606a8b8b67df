"""Losses from tables of scores: for negatives sampled for each row, and for the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from softrec.losses.pairwise import Pairs
from softrec.losses.softmax import (
    Loss,
    ObjectiveValue,
    SoftmaxStats,
    SoftTarget,
    SoftWeight,
    TargetAnswers,
    answers_of,
    loss_of,
    no_answers,
)
from softrec.types import Weigh, weighted_by


def table_loss(
    label_logit: Tensor,
    logits: Tensor,
    counts: Tensor,
    loss: Loss,
    *,
    correction: Tensor | None = None,
    answers: TargetAnswers | None = None,
    weight: SoftWeight = 0.0,
    weigh: Weigh | None = None,
) -> ObjectiveValue:
    """Return the mean loss of positives and the negatives of each row.

    Rows without negatives have the loss 0.

    Args:
        label_logit: (P,) of the positives.
        logits: (P, M) of the negatives.
        counts: (P, M) or (1, M), how often each negative counts; 0 leaves it out.
        loss: named softmax losses with coefficients, or one pairwise loss.
        correction: (P, M), (1, M) or (M,), added to the logits for the softmax.
        answers: of the soft target; None for the label alone.
        weight: of the soft target, in [0, 1], for all rows or (P,); a in the formulas.
        weigh: the weights of the rows; None: all 1.

    Raises:
        ValueError: if shapes do not fit, the weight is outside [0, 1], a soft target is missing,
            or there is one that the loss cannot use.
    """
    kind = loss_of(loss)
    kind.check(weight, soft=answers is not None)
    if label_logit.dim() != 1 or logits.dim() != 2 or len(logits) != len(label_logit):
        raise ValueError(
            "expected logits of positives (P,) and negatives (P, M), got "
            f"{tuple(label_logit.shape)} and {tuple(logits.shape)}"
        )
    alone = counts.sum(1) <= 0
    if isinstance(kind, Pairs):
        values = {"loss": kind.loss(label_logit, logits, counts)}
    else:
        # The gradient of a row with only -inf would be NaN; its value is masked below.
        weighted = logits + counts.log().masked_fill(alone[:, None], 0)
        if correction is not None:
            weighted = weighted + correction
        stats = SoftmaxStats(label_logit, weighted.logsumexp(1))
        values = kind.values_of(stats, answers or no_answers(label_logit), weight)
    values = {name: value.masked_fill(alone, 0) for name, value in values.items()}
    total = weighted_by(weigh, kind.total(values), label_logit, slice(0, len(label_logit)))
    return ObjectiveValue(total.mean(), {name: value.detach() for name, value in values.items()})


def row_answers(
    soft: SoftTarget,
    users: Tensor,
    label_logit: Tensor,
    logits: Tensor,
    negatives: Tensor,
    hidden: Tensor,
) -> TargetAnswers:
    """Return the answers of a soft target over the positive and the negatives of each row.

    Args:
        soft: the target, or its mean item over the whole catalogue.
        users: (P, D).
        label_logit: (P,) of the positives.
        logits: (P, M) of the negatives.
        negatives: (P, M) int64, the items of each row.
        hidden: (P, M) bool, which negatives are left out.
    """
    if soft.mean is None:
        label_prob, probs = soft.target.among(soft.label, negatives, hidden)
        probs = probs.to(logits.dtype)
        return answers_of((probs * logits).sum(1), label_prob.to(logits.dtype), probs.sum(1))
    label_prob, rest = soft.rest(soft.label)
    mean, bias, _ = soft.mean
    expected = (users * mean).sum(1)
    if bias is not None:
        expected = expected + bias[:, 0]
    return answers_of(expected - rest.surplus * label_logit, label_prob, rest.mass)


def hidden_among(negatives: Tensor, counts: Tensor) -> Tensor:
    """Return which negatives of a row (P, M) have count 0, or are repeated in the row."""
    order = negatives.argsort(dim=1)
    ranked = negatives.gather(1, order)
    again = torch.zeros_like(ranked, dtype=torch.bool)
    again[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    repeated = torch.empty_like(again).scatter_(1, order, again)
    return repeated | (counts <= 0)
