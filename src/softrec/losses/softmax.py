r"""The theory of softmax losses on one page.

Let h be a user vector, w_i the item vectors, b_i their bias, z_i = h.w_i + b_i the logits, y the
label, s a soft target and a its weight, so that the model is fitted to q = (1 - a) e_y + a s.

Every loss of the family needs two numbers of the model and two of the target:

    z_y, the label's logit              s_y, what the target gives to the label
    R = log sum_{i != y} exp z_i        E = E_s[z], the mean logit under the target

Because z is linear in w, E = h . m with the mean item m = sum_i s_i w_i: no B x N table.
With u = z_y - R, the log-odds of the label (p_y = sigmoid(u)):

    hard         softplus(-u)                               cross-entropy with the label alone
    binary       softplus(u) - q_y u,  q_y = 1 - a + a s_y  is it the label or not?
    rest         R - (E - s_y z_y) / (1 - s_y)              if not, which one?
    mixed        softplus(-u) + a (z_y - E)                 cross-entropy with q
                 = binary + (1 - q_y) rest

R is kept apart from the label because the way back from lse = logaddexp(z_y, R) is not safe: in
float32 log(1 - p_y) is -inf from u = 14 on, and this library has no epsilon to hide that.

A loss here is a function (stats, answers, weight) -> one value per example. The constants that
turn a cross-entropy into a KL divergence have no gradient and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.types import ItemVectors, Target


class SoftmaxStats(NamedTuple):
    """What a softmax loss needs to know of the model."""

    label_logit: Tensor  # (P,) z_y
    rest_lse: Tensor  # (P,) R, the logsumexp over all candidates but the label


class TargetAnswers(NamedTuple):
    """What a softmax loss needs to know of the soft target."""

    label_prob: Tensor  # (P,) s_y
    expected_logit: Tensor  # (P,) E_s[z]


SoftmaxLoss = Callable[[SoftmaxStats, TargetAnswers, float], Tensor]
Parts = Mapping[str, tuple[SoftmaxLoss, float]]
"""Named losses and the coefficient of each: the objective is their weighted sum."""


def hard_cross_entropy(model: SoftmaxStats, target: TargetAnswers, weight: float) -> Tensor:
    """Return -log p_y, the cross-entropy with the label alone; the target is not asked.

    Example:
        >>> stats = SoftmaxStats(torch.tensor([2.0]), torch.tensor([1.5421588]))
        >>> hard_cross_entropy(stats, TargetAnswers(torch.zeros(1), torch.zeros(1)), 0.0)
        tensor([0.4902])
    """
    return F.softplus(model.rest_lse - model.label_logit)


def soft_cross_entropy(model: SoftmaxStats, target: TargetAnswers, weight: float) -> Tensor:
    """Return the cross-entropy with (1 - weight) e_y + weight s: the mixed loss.

    Formula: softplus(-u) + a (z_y - E_s[z]), (P,) in nats; the gradient in the logits is p - q.

    Source: Cheng et al., "Learning Recommender Systems with Implicit Feedback via Soft Target
    Enhancement", SIGIR 2021, eq. 3-5. Equal to `binary_part` + (1 - q_y) `rest_part`.
    """
    hard = F.softplus(model.rest_lse - model.label_logit)
    return hard + weight * (model.label_logit - target.expected_logit)


def binary_part(model: SoftmaxStats, target: TargetAnswers, weight: float) -> Tensor:
    """Return the cross-entropy of "the label or not": Bernoulli(q_y) against Bernoulli(p_y).

    Formula: softplus(u) - q_y u with q_y = 1 - a + a s_y, (P,) in nats; computed as
    q_y softplus(-u) + (1 - q_y) softplus(u), where no difference of large numbers occurs, so
    that a confident label keeps its gradient p_y - q_y in single precision.

    Source: Zhang et al., "Learning Recommender Systems with Soft Target: A Decoupled
    Perspective", DASFAA 2024; its lambda1 is the weight a, its lambda2 this part's coefficient.
    """
    odds = model.label_logit - model.rest_lse
    others = weight * (1 - target.label_prob)  # 1 - q_y, where 1 - q_y itself would cancel
    label = 1 - weight + weight * target.label_prob
    return label * F.softplus(-odds) + others * F.softplus(odds)


def rest_part(model: SoftmaxStats, target: TargetAnswers, weight: float) -> Tensor:
    """Return the cross-entropy over all items but the label, both sides renormalised.

    Formula: R - (E_s[z] - s_y z_y) / (1 - s_y), (P,) in nats; it does not depend on the weight,
    for mixing with the label changes no proportion among the others. Where s_y = 1 there is
    nothing left to fit: the part is 0, and it fades before 1 - s_y is only rounding.

    Source: as `binary_part`.
    """
    noise = torch.finfo(model.rest_lse.dtype).eps
    rest = 1 - target.label_prob
    moment = target.expected_logit - target.label_prob * model.label_logit
    part = (rest * model.rest_lse - moment) / rest.clamp(min=noise**0.5)
    return torch.where(rest > 8 * noise, part, torch.zeros_like(part))


def mixed() -> Parts:
    """Return the objective of SoftRec: one soft cross-entropy."""
    return {"soft": (soft_cross_entropy, 1.0)}


def hard() -> Parts:
    """Return the objective with one-hot labels."""
    return {"hard": (hard_cross_entropy, 1.0)}


def decoupled(balance: float) -> Parts:
    """Return the objective of DesoRec: `balance` (its lambda2) binary, the remainder rest."""
    return {"binary": (binary_part, balance), "rest": (rest_part, 1.0 - balance)}


class ObjectiveValue(NamedTuple):
    """The value that is minimised, and what it is made of."""

    total: Tensor  # () the weighted sum of all parts, meant over the examples
    parts: dict[str, Tensor]  # name -> (P,) detached value of each part, without its coefficient


def softmax_stats(users: Tensor, items: ItemVectors, label: Tensor) -> SoftmaxStats:
    """Return (z_y, R) from the whole P x N table of logits: the reference, for small sizes."""
    logits = users @ items.vectors.T
    if items.bias is not None:
        logits = logits + items.bias
    column = label[:, None]
    rest = logits.scatter(1, column, -torch.inf)
    return SoftmaxStats(logits.gather(1, column)[:, 0], rest.logsumexp(1))


def target_answers(
    target: Target, users: Tensor, items: ItemVectors, label: Tensor
) -> TargetAnswers:
    """Return (s_y, E_s[z]); the mean item stands in for the table of the target."""
    expected = (users * target.mean_item(items.vectors)).sum(-1)
    if items.bias is not None:
        expected = expected + target.mean_item(items.bias[:, None])[:, 0]
    return TargetAnswers(target.prob_of(label).detach().to(users.dtype), expected)


def full_softmax(
    parts: Parts,
    users: Tensor,
    items: ItemVectors,
    label: Tensor,
    target: Target | None,
    weight: float,
) -> ObjectiveValue:
    """Return the mean loss over the full catalogue, plainly: the reference of `streamed_softmax`.

    Args:
        parts: named losses and coefficients, such as `mixed()`.
        users: (P, D).
        items: vectors (N, D) and bias (N,) or None.
        label: (P,) int64.
        target: the soft target of the P rows; None where no part asks for it.
        weight: the weight a of the soft target, in [0, 1].
    """
    model = softmax_stats(users, items, label)
    if target is None:
        answers = no_answers(model.label_logit)
    else:
        answers = target_answers(target, users, items, label)
    values = {name: loss(model, answers, weight) for name, (loss, _) in parts.items()}
    total = sum_of(parts, values).mean()
    return ObjectiveValue(total, {name: value.detach() for name, value in values.items()})


def no_answers(like: Tensor) -> TargetAnswers:
    """Return the answers of no target at all, for losses that do not ask."""
    nothing = torch.zeros_like(like, requires_grad=False)
    return TargetAnswers(nothing, nothing)


def sum_of(parts: Parts, values: Mapping[str, Tensor]) -> Tensor:
    """Return the weighted sum of the parts, (P,)."""
    weighted = [coefficient * values[name] for name, (_, coefficient) in parts.items()]
    return torch.stack(weighted).sum(0)
