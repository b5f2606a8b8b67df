r"""The theory of softmax losses on one page.

Let h be a user vector, w_i the item vectors, b_i their bias, z_i = h.w_i + b_i the logits, y the
label, s a soft target and a its weight, so that the model is fitted to q = (1 - a) e_y + a s.

Every loss of the family needs two numbers of the model and two of the target, each pair of the
label and of the others apart from it:

    z_y, the label's logit              s_y, what the target gives to the label; r = 1 - s_y
    R = log sum_{i != y} exp z_i        M = sum_{i != y} s_i z_i / r, the mean logit of the others

Because z is linear in w, r M = h . m with the mean item m = sum_{i != y} s_i w_i: no B x N table.
With u = z_y - R, the log-odds of the label (p_y = sigmoid(u)):

    hard         softplus(-u)                               cross-entropy with the label alone
    binary       softplus(u) - q_y u,  q_y = 1 - a r        is it the label or not?
    rest         R - M                                      if not, which one?
    mixed        softplus(-u) + a r (z_y - M)               cross-entropy with q
                 = binary + (1 - q_y) rest

Label and others are kept apart because the way back is not safe. From lse = logaddexp(z_y, R)
log(1 - p_y) is -inf in float32 from u = 14 on; from s_y and the mean logit E = s_y z_y + r M of
all items, r and M are only rounding once a target is sure of its label. Nothing here has an
epsilon to hide that.

A loss here is a function (stats, answers, weight) -> one value per example. The constants that
turn a cross-entropy into a KL divergence have no gradient and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.losses.settings import LossInputs, LossSettings, Term
from softrec.settings import Alpha, setting
from softrec.types import ItemVectors, Target, without


class SoftmaxStats(NamedTuple):
    """What a softmax loss needs to know of the model."""

    label_logit: Tensor  # (P,) z_y
    rest_lse: Tensor  # (P,) R, the logsumexp over all candidates but the label


class TargetAnswers(NamedTuple):
    """What a softmax loss needs to know of the soft target.

    Example:
        >>> answers = TargetAnswers(torch.tensor([0.75]), torch.tensor([0.25]), torch.tensor([2.0]))
        >>> answers.expected_logit(torch.tensor([6.0]))
        tensor([5.])
    """

    label_prob: Tensor  # (P,) s_y
    others_prob: Tensor  # (P,) r = 1 - s_y, to full precision however small
    others_logit: Tensor  # (P,) M, the mean logit of the others; any number where r = 0

    def gap(self, label_logit: Tensor) -> Tensor:
        """Return z_y - E_s[z] = r (z_y - M), (P,)."""
        return self.others_prob * (label_logit - self.others_logit)

    def expected_logit(self, label_logit: Tensor) -> Tensor:
        """Return E_s[z], the mean logit under the target, (P,)."""
        return label_logit - self.gap(label_logit)


SoftmaxLoss = Callable[[SoftmaxStats, TargetAnswers, float], Tensor]
Parts = Mapping[str, tuple[SoftmaxLoss, float]]
"""Named losses and the coefficient of each: the objective is their weighted sum."""


def check_weight(weight: float) -> None:
    """Refuse a weight of the soft target that is no share."""
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight of the soft target must be in [0, 1], got {weight}")


def check_asked(model: SoftmaxStats, target: TargetAnswers, weight: float) -> None:
    """Refuse a weight that is no share, and numbers that are not one per example.

    Raises:
        ValueError: naming what was expected and what came.
    """
    check_weight(weight)
    expected = model.label_logit.shape
    for name, number in (*model._asdict().items(), *target._asdict().items()):
        if number.shape != expected or number.dim() != 1:
            raise ValueError(
                f"expected one number per example in {name}, ({expected.numel()},); "
                f"got {tuple(number.shape)}"
            )


def check_parts(parts: Parts, weight: float, *, soft: bool) -> None:
    """Refuse named losses that would give a number for something else than what is asked.

    Args:
        parts: named losses and coefficients.
        weight: the weight of the soft target.
        soft: whether there is a soft target.

    Raises:
        ValueError: if there is no part, the weight is outside [0, 1], or it or a part needs a
            soft target and there is none.
    """
    check_weight(weight)
    if not parts:
        raise ValueError("expected at least one part of the loss, got none")
    if soft:
        return
    if weight:
        raise ValueError(f"a weight of {weight} is that of a soft target, and there is none")
    for name, (part, _) in parts.items():
        if part is rest_part:
            raise ValueError(
                f"the part {name!r} fits a soft target over the other items, and there is none; "
                "give a target, or take hard()"
            )


def hard_cross_entropy(model: SoftmaxStats, target: TargetAnswers, weight: float) -> Tensor:
    """Return -log p_y, the cross-entropy with the label alone; the target is not asked.

    Example:
        >>> stats = SoftmaxStats(torch.tensor([2.0]), torch.tensor([1.5421588]))
        >>> hard_cross_entropy(stats, no_answers(stats.label_logit), 0.0)
        tensor([0.4902])
    """
    check_asked(model, target, weight)
    return F.softplus(model.rest_lse - model.label_logit)


def soft_cross_entropy(model: SoftmaxStats, target: TargetAnswers, weight: float) -> Tensor:
    """Return the cross-entropy with (1 - weight) e_y + weight s: the mixed loss.

    Formula: softplus(-u) + a (z_y - E_s[z]), (P,) in nats; the gradient in the logits is p - q.

    Source: Cheng et al., "Learning Recommender Systems with Implicit Feedback via Soft Target
    Enhancement", SIGIR 2021, eq. 3-5. Equal to `binary_part` + (1 - q_y) `rest_part`.
    """
    check_asked(model, target, weight)
    hard = F.softplus(model.rest_lse - model.label_logit)
    return hard + weight * target.gap(model.label_logit)


def binary_part(model: SoftmaxStats, target: TargetAnswers, weight: float) -> Tensor:
    """Return the cross-entropy of "the label or not": Bernoulli(q_y) against Bernoulli(p_y).

    Formula: softplus(u) - q_y u with q_y = 1 - a + a s_y, (P,) in nats; computed as
    q_y softplus(-u) + (1 - q_y) softplus(u), where no difference of large numbers occurs, so
    that a confident label keeps its gradient p_y - q_y in single precision.

    Source: Zhang et al., "Learning Recommender Systems with Soft Target: A Decoupled
    Perspective", DASFAA 2024; its lambda1 is the weight a, its lambda2 this part's coefficient.
    """
    check_asked(model, target, weight)
    odds = model.label_logit - model.rest_lse
    others = weight * target.others_prob  # 1 - q_y, where 1 - q_y itself would cancel
    label = 1 - weight + weight * target.label_prob
    return label * F.softplus(-odds) + others * F.softplus(odds)


def rest_part(model: SoftmaxStats, target: TargetAnswers, weight: float) -> Tensor:
    """Return the cross-entropy over all items but the label, both sides renormalised.

    Formula: R - M with M = sum_{i != y} s_i z_i / (1 - s_y), (P,) in nats; it does not depend on
    the weight, for mixing with the label changes no proportion among the others. Where s_y = 1
    there is nothing left to fit, and the part is 0.

    Source: as `binary_part`.
    """
    check_asked(model, target, weight)
    return torch.where(target.others_prob > 0, model.rest_lse - target.others_logit, 0)


def mixed() -> Parts:
    """Return the objective of SoftRec: one soft cross-entropy."""
    return {"soft": (soft_cross_entropy, 1.0)}


def hard() -> Parts:
    """Return the objective with one-hot labels."""
    return {"hard": (hard_cross_entropy, 1.0)}


def decoupled(balance: float) -> Parts:
    """Return the objective of DesoRec: `balance` (its lambda2) binary, the remainder rest.

    Raises:
        ValueError: if the balance is outside [0, 1].
    """
    if not 0 <= balance <= 1:
        raise ValueError(f"the balance of the binary part must be in [0, 1], got {balance}")
    return {"binary": (binary_part, balance), "rest": (rest_part, 1.0 - balance)}


class ObjectiveValue(NamedTuple):
    """The value that is minimised, and what it is made of."""

    total: Tensor  # () the weighted sum of all parts, meant over the examples
    parts: dict[str, Tensor]  # name -> (P,) detached value of each part, without its coefficient


def check_whole(users: Tensor, items: ItemVectors, label: Tensor) -> None:
    """Refuse a full catalogue of one item, shapes that do not fit, and labels that are no item.

    Labels are looked at on a CPU only: elsewhere it would have to wait for the device.

    Raises:
        ValueError: naming what was expected and what came.
    """
    check_shapes(users, items, label)
    n_items = len(items.vectors)
    if n_items < 2:
        raise ValueError(f"a label is told from other items: expected at least 2, got {n_items}")
    if label.device.type == "cpu":
        low, high = label.aminmax()
        if low < 0 or high >= n_items:
            wrong = int(low if low < 0 else high)
            raise ValueError(f"expected labels in 0 .. {n_items - 1}, got {wrong}")


def check_shapes(users: Tensor, items: ItemVectors, label: Tensor) -> None:
    """Refuse users, items and labels whose shapes do not fit, and a batch of none."""
    vectors, bias, _ = items
    if users.dim() != 2 or not len(users):
        raise ValueError(f"expected users (P, D) with P at least 1, got {tuple(users.shape)}")
    n_rows, width = users.shape
    expected = {"labels": (label, (n_rows,)), "item vectors": (vectors, (len(vectors), width))}
    if bias is not None:
        expected["the bias"] = bias, (len(vectors),)
    for name, (tensor, shape) in expected.items():
        if tensor.shape != shape:
            raise ValueError(f"expected {name} of shape {shape}, got {tuple(tensor.shape)}")


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
    """Return what `target` answers; the mean item stands in for its table."""
    others, surplus, mass = without(target, label)
    moment = (users * others.mean_item(items.vectors)).sum(-1)
    own = (users * items.vectors[label]).sum(-1)
    if items.bias is not None:
        moment = moment + others.mean_item(items.bias[:, None])[:, 0]
        own = own + items.bias[label]
    share = target.prob_of(label).detach().to(users)
    return answers_of(moment - surplus * own, share, mass.to(users))


def answers_of(moment: Tensor, share: Tensor, mass: Tensor) -> TargetAnswers:
    """Return the answers from what the target gives to the label and to the others.

    Together they are renormalised to 1. A row that gives nothing to either falls back on its label.

    Args:
        moment: (P,) sum_{i != y} s_i z_i.
        share: (P,) s_y.
        mass: (P,) sum_{i != y} s_i.
    """
    total = share + mass
    empty = total <= 0
    total = total.masked_fill(empty, 1)
    left = mass > torch.finfo(mass.dtype).tiny  # below it 1 / mass is no number
    return TargetAnswers(
        (share / total).masked_fill(empty, 1),
        torch.where(left, mass / total, 0),
        torch.where(left, moment, 0) / torch.where(left, mass, 1),
    )


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

    Raises:
        ValueError: if weight, shapes or labels are out of their range, there are fewer than 2
            items, or a part needs a target and there is none.
    """
    check_parts(parts, weight, soft=target is not None)
    check_whole(users, items, label)
    model = softmax_stats(users, items, label)
    if target is None:
        answers = no_answers(model.label_logit)
    else:
        answers = target_answers(target, users, items, label)
    values = {name: loss(model, answers, weight) for name, (loss, _) in parts.items()}
    total = sum_of(parts, values).mean()
    return ObjectiveValue(total, {name: value.detach() for name, value in values.items()})


def no_answers(like: Tensor) -> TargetAnswers:
    """Return the answers of a target that is the label alone."""
    nothing = torch.zeros_like(like, requires_grad=False)
    return TargetAnswers(nothing + 1, nothing, nothing)


def sum_of(parts: Parts, values: Mapping[str, Tensor]) -> Tensor:
    """Return the weighted sum of the parts, (P,)."""
    weighted = [coefficient * values[name] for name, (_, coefficient) in parts.items()]
    return torch.stack(weighted).sum(0)


# --- in a recipe ---


class MixedSettings(LossSettings, name="mixed"):
    """Cross-entropy with label and soft target mixed, the label in the denominator (SoftRec)."""

    def build(self, given: LossInputs) -> Term:
        """Return the mixed loss; with the label alone it is cross-entropy (SSM)."""
        return Term(hard() if given.source is None else mixed())


class DecoupledSettings(LossSettings, name="decoupled"):
    """DesoRec: label or not, and which other, with weights of their own."""

    balance: Alpha | Literal["red-line"] = setting(
        0.5,
        "weight of label or not (lambda2); red-line: what makes it the mixed loss in the mean",
        common=True,
    )

    def check(self, *, soft: bool) -> None:
        """Refuse the label alone."""
        if not soft:
            raise ValueError(
                "loss: decoupled separates label and rest of a soft target, but there is none "
                "(target: one-hot, or alpha 0); choose one with alpha above 0, or loss: mixed"
            )

    def for_label_alone(self) -> MixedSettings:
        """Return the mixed loss, which has nothing to decouple."""
        return MixedSettings(**self.model_dump(exclude={"name", "balance"}))

    def build(self, given: LossInputs) -> Term:
        """Return the decoupled loss."""
        self.check(soft=given.source is not None)
        balance = _red_line(given) if isinstance(self.balance, str) else self.balance
        return Term(decoupled(balance))


def _red_line(given: LossInputs) -> float:
    """Return lambda2* = 1 / (1 + lambda1 (1 - q_y)) at the mean q_y of the first batches.

    There the decoupled loss is, in the mean, the mixed one.
    """
    assert given.source is not None
    probs = [
        given.source(batch).prob_of(batch.label).double().mean() for batch in given.first_batches()
    ]
    return 1 / (1 + given.weight * (1 - float(torch.stack(probs).mean())))
