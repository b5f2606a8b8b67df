r"""The softmax losses: theory, types and formulas.

Let h be a user vector, w_i the item vectors, b_i their bias, z_i = h.w_i + b_i the logits, y the
label, s a soft target and a its weight, so that the model is fitted to q = (1 - a) e_y + a s.

Every such loss needs two numbers of the model and of the target, for the label and the others:

    z_y, the label's logit              s_y, the target's probability of the label; r = 1 - s_y
    R = log sum_{i != y} exp z_i        M = sum_{i != y} s_i z_i / r, the mean logit of the others

Because z is linear in w, r M = h . m with the mean item m = sum_{i != y} s_i w_i: no P x N table.
With u = z_y - R, the log-odds of the label (p_y = sigmoid(u)):

    hard         softplus(-u)                               cross-entropy with the label alone
    binary       softplus(u) - q_y u,  q_y = 1 - a r        is it the label or not?
    rest         R - M                                      if not, which one?
    mixed        softplus(-u) + a r (z_y - M)               cross-entropy with q
                 = binary + (1 - q_y) rest

The numbers of the label and of the other items are kept separate, because they cannot be computed
accurately from their sums. From lse = logaddexp(z_y, R), log(1 - p_y) is -inf in float32 from
u = 14 on. From s_y and the mean logit of all items, E = s_y z_y + r M, r and M are only rounding
errors if s_y is close to 1. So no epsilon is needed here.

Numbers o_i without a gradient may be added to the logits (`offset`). They belong to z_y and R. In
M they would be a constant, sum s_i o_i / r, which is left out.

A loss is a function (stats, answers, weight) -> one value per example. The constants that turn a
cross-entropy into a KL divergence have no gradient and are left out. Examples may have weights, by
which their values are multiplied before the mean (`weigh`).

Two functions with the same arguments compute the mean over a batch: `streaming.streamed`, and its
reference `reference.plain`. For candidates that are sampled for each row it is `table.table_loss`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.losses.pairwise import Pairs, PairwiseLoss
from softrec.types import ItemVectors, Offset, Rest, Target, Weigh


class SoftmaxProblem(NamedTuple):
    """User vectors, the positive of each user, and negatives that are the same for all rows.

    Over the full catalogue, all items are in the table of negatives; the positive is at `place`,
    where it is left out. With a sample, the positive has its own vectors, and it may be in the
    table of negatives or not.
    """

    users: Tensor  # (P, D)
    negatives: ItemVectors  # (M, D), (M,)
    place: Tensor  # (P,) int64, the positive's place among the negatives; -1: not among them
    positive: ItemVectors | None = None  # (P, D), (P,); None: the negatives' row `place`
    counts: Tensor | None = None  # (M,) how often each negative counts; None: each counts once
    correction: Tensor | None = None  # (M,) added to the logits for the softmax; None: 0
    hits: Tensor | None = None  # (P,) how often the positive counts as a negative; None: never
    masked: tuple[Tensor, Tensor] | None = None  # pairs (row, place) of negatives that are left out
    offset: Offset | None = None  # (P, M) added to the negatives' logits; None: 0
    label_offset: Tensor | None = None  # (P,) added to the positives' logits; with `offset`
    weigh: Weigh | None = None  # the weights of the rows; None: all 1

    @property
    def log_weight(self) -> Tensor | None:
        """Return log(c_j / E_j), which is added to the negatives' logits for the softmax, (M,)."""
        if self.counts is None:
            return None
        weight = self.counts.log()
        return weight if self.correction is None else weight + self.correction

    @property
    def shift(self) -> Tensor | None:
        """Return the bias plus `log_weight`, which is added to the inner products, (M,)."""
        bias, log_weight = self.negatives.bias, self.log_weight
        if bias is None or log_weight is None:
            return bias if log_weight is None else log_weight
        return log_weight + bias

    def masked_in(self, rows: slice) -> tuple[Tensor, Tensor] | None:
        """Return the masked pairs of some rows, with rows counted from the first of them."""
        if self.masked is None:
            return None
        row, place = self.masked
        here = (row >= rows.start) & (row < rows.stop)
        return row[here] - rows.start, place[here]


class SoftTarget(NamedTuple):
    """The soft target of a softmax problem, not yet renormalised over the candidates."""

    target: Target  # over all items
    label: Tensor  # (P,) int64, the item of each row's positive
    negatives: Tensor | None = (
        None  # (M,) ascending, the items of the negatives; None: all items in order
    )
    n_items: int = 0  # N, needed with `negatives`
    mean: ItemVectors | None = None  # (P or 1, D) and (P or 1, 1): its mean item, if that is given
    part: slice | None = None  # the items of the negatives, if these are one shard of all items

    def rest(self, place: Tensor) -> tuple[Tensor, Rest]:
        """Return the positive's probability, (P,), and the target over the negatives without it."""
        own = self.target.prob_of(self.label).detach()
        if self.part is not None:  # surplus and mass are those over all items
            rest = self.target.without(self.label)
            return own, rest._replace(target=rest.target.part(self.part, self.n_items))
        if self.negatives is None:
            return own, self.target.without(self.label)
        return own, self.target.within(self.negatives, self.n_items).without(place)


class SoftmaxStats(NamedTuple):
    """The two numbers of the model that a softmax loss needs."""

    label_logit: Tensor  # (P,) z_y
    rest_lse: Tensor  # (P,) R, the logsumexp over the negatives


class TargetAnswers(NamedTuple):
    """The numbers of the soft target that a softmax loss needs.

    Example:
        >>> answers = TargetAnswers(torch.tensor([0.75]), torch.tensor([0.25]), torch.tensor([2.0]))
        >>> answers.expected_logit(torch.tensor([6.0]))
        tensor([5.])
    """

    label_prob: Tensor  # (P,) s_y
    rest_prob: Tensor  # (P,) r = 1 - s_y, accurate also if it is small
    rest_logit: Tensor  # (P,) M, the mean logit of the other items; any number where r = 0

    def gap(self, label_logit: Tensor) -> Tensor:
        """Return z_y - E_s[z] = r (z_y - M), (P,)."""
        return self.rest_prob * (label_logit - self.rest_logit)

    def expected_logit(self, label_logit: Tensor) -> Tensor:
        """Return E_s[z], the mean logit under the target, (P,)."""
        return label_logit - self.gap(label_logit)


SoftWeight = float | Tensor
"""The weight a of the soft target, in [0, 1]: a number, or one for each example, (P,)."""
SoftmaxLoss = Callable[[SoftmaxStats, TargetAnswers, Any], Tensor]
"""(stats, answers, `SoftWeight`) -> one value per example, (P,)."""


class Parts(dict[str, tuple[SoftmaxLoss, float]]):
    """Named softmax losses with coefficients; their weighted sum is minimised.

    Example:
        >>> stats = SoftmaxStats(torch.tensor([2.0]), torch.tensor([1.5421588]))
        >>> parts = decoupled(0.5)
        >>> values = parts.values_of(stats, no_answers(stats.label_logit), 0.0)
        >>> values["binary"], parts.total(values)
        (tensor([0.4902]), tensor([0.2451]))
    """

    @property
    def names(self) -> list[str]:
        """Return the names of the parts."""
        return list(self)

    def check(self, weight: SoftWeight, *, soft: bool) -> None:
        """Refuse losses, weights and soft targets that do not fit together.

        Args:
            weight: of the soft target.
            soft: whether there is a soft target.

        Raises:
            ValueError: if there is no part, if the weight is outside [0, 1], or if a soft target is
                missing although a part or a weight above 0 needs it.
        """
        check_weight(weight)
        if not self:
            raise ValueError("expected at least one part of the loss, got none")
        if soft:
            return
        if isinstance(weight, Tensor) or weight:
            raise ValueError(
                f"the weight of the soft target is {_told(weight)}, but there is no soft target; "
                "give a target, or leave out the weight"
            )
        for name, (part, _) in self.items():
            if part is rest_part:
                raise ValueError(
                    f"the part {name!r} fits a soft target over the other items, but there is no "
                    "soft target; give a target, or use hard()"
                )

    def values_of(
        self, stats: SoftmaxStats, answers: TargetAnswers, weight: SoftWeight
    ) -> dict[str, Tensor]:
        """Return the value of each part, (P,), without its coefficient."""
        return {name: loss(stats, answers, weight) for name, (loss, _) in self.items()}

    def total(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return the weighted sum of the parts, (P,)."""
        weighted = [coefficient * values[name] for name, (_, coefficient) in self.items()]
        return torch.stack(weighted).sum(0)


Loss = Mapping[str, tuple[SoftmaxLoss, float]] | PairwiseLoss | Pairs
"""A loss as an argument: named softmax losses with coefficients, or one pairwise loss."""


def loss_of(loss: Loss) -> Parts | Pairs:
    """Return a loss as `Parts` or `Pairs`; only this function distinguishes the two."""
    if isinstance(loss, Parts | Pairs):
        return loss
    return Parts(loss) if isinstance(loss, Mapping) else Pairs(loss)


def check_weight(weight: SoftWeight) -> None:
    """Refuse a weight of the soft target outside [0, 1].

    Weights of examples are checked on a CPU only, because elsewhere the check would wait for the
    device.
    """
    if not isinstance(weight, Tensor):
        low = high = weight
    elif weight.device.type != "cpu" or not weight.numel():
        return
    else:
        low, high = (float(bound) for bound in weight.detach().aminmax())
    if not (low >= 0 and high <= 1):
        got = low if not low >= 0 else high
        raise ValueError(f"the weight of the soft target must be in [0, 1], got {got}")


def _told(weight: SoftWeight) -> str:
    return f"one for each of {len(weight)} examples" if isinstance(weight, Tensor) else f"{weight}"


def check_asked(stats: SoftmaxStats, answers: TargetAnswers, weight: SoftWeight) -> None:
    """Refuse a weight outside [0, 1], and numbers that are not one per example.

    Raises:
        ValueError: if they do not fit; the message has the expected and the actual shape.
    """
    check_weight(weight)
    expected = stats.label_logit.shape
    own = {"weight": weight} if isinstance(weight, Tensor) else {}
    for name, number in {**stats._asdict(), **answers._asdict(), **own}.items():
        if number.shape != expected or number.dim() != 1:
            raise ValueError(
                f"expected one number per example in {name}, ({expected.numel()},); "
                f"got {tuple(number.shape)}"
            )


def hard_cross_entropy(stats: SoftmaxStats, answers: TargetAnswers, weight: SoftWeight) -> Tensor:
    """Return -log p_y, the cross-entropy with the label alone; the target is not used.

    Example:
        >>> stats = SoftmaxStats(torch.tensor([2.0]), torch.tensor([1.5421588]))
        >>> hard_cross_entropy(stats, no_answers(stats.label_logit), 0.0)
        tensor([0.4902])
    """
    check_asked(stats, answers, weight)
    return F.softplus(stats.rest_lse - stats.label_logit)


def soft_cross_entropy(stats: SoftmaxStats, answers: TargetAnswers, weight: SoftWeight) -> Tensor:
    """Return the cross-entropy with (1 - weight) e_y + weight s: the mixed loss.

    Formula: softplus(-u) + a (z_y - E_s[z]), (P,) in nats; the gradient in the logits is p - q.

    Source: Cheng et al., "Learning Recommender Systems with Implicit Feedback via Soft Target
    Enhancement", SIGIR 2021, eq. 3-5. Equal to `binary_part` + (1 - q_y) `rest_part`.
    """
    check_asked(stats, answers, weight)
    hard = F.softplus(stats.rest_lse - stats.label_logit)
    return hard + weight * answers.gap(stats.label_logit)


def binary_part(stats: SoftmaxStats, answers: TargetAnswers, weight: SoftWeight) -> Tensor:
    """Return the cross-entropy of "the label or not": Bernoulli(q_y) against Bernoulli(p_y).

    Formula: softplus(u) - q_y u with q_y = 1 - a + a s_y, (P,) in nats; computed as
    q_y softplus(-u) + (1 - q_y) softplus(u), without a difference of large numbers, so that the
    gradient p_y - q_y is accurate in single precision also if p_y is close to 1.

    Source: Zhang et al., "Learning Recommender Systems with Soft Target: A Decoupled
    Perspective", DASFAA 2024; its lambda1 is the weight a, its lambda2 this part's coefficient.
    """
    check_asked(stats, answers, weight)
    odds = stats.label_logit - stats.rest_lse
    others = weight * answers.rest_prob  # 1 - q_y, which would be inaccurate as a difference
    label = 1 - weight + weight * answers.label_prob
    return label * F.softplus(-odds) + others * F.softplus(odds)


def rest_part(stats: SoftmaxStats, answers: TargetAnswers, weight: SoftWeight) -> Tensor:
    """Return the cross-entropy over all items except the label, with both sides renormalised.

    Formula: R - M with M = sum_{i != y} s_i z_i / (1 - s_y), (P,) in nats. It does not depend on
    the weight, because mixing with the label does not change the proportions of the other items.
    Where s_y = 1 there is nothing to fit, and the loss is 0.

    Source: as `binary_part`.
    """
    check_asked(stats, answers, weight)
    return torch.where(answers.rest_prob > 0, stats.rest_lse - answers.rest_logit, 0)


def mixed() -> Parts:
    """Return the loss of SoftRec: cross-entropy with label and soft target mixed."""
    return Parts({"soft": (soft_cross_entropy, 1.0)})


def hard() -> Parts:
    """Return cross-entropy with one-hot labels."""
    return Parts({"hard": (hard_cross_entropy, 1.0)})


def decoupled(balance: float) -> Parts:
    """Return DesoRec's loss: balance * `binary_part` + (1 - balance) * `rest_part`.

    Args:
        balance: the paper's lambda2, the weight of the binary part, in [0, 1].

    Raises:
        ValueError: if the balance is outside [0, 1].
    """
    if not 0 <= balance <= 1:
        raise ValueError(f"the balance of the binary part must be in [0, 1], got {balance}")
    return Parts({"binary": (binary_part, balance), "rest": (rest_part, 1.0 - balance)})


class ObjectiveValue(NamedTuple):
    """The value to minimise, and the values of its parts."""

    total: Tensor  # () the weighted sum of all parts, times the examples' weights, averaged
    parts: dict[str, Tensor]  # name -> (P,) detached value of each part, without its coefficient


def mean_of(target: Target, items: ItemVectors) -> ItemVectors:
    """Return the mean item of a target, (P or 1, D), and its bias, (P or 1, 1)."""
    bias = None if items.bias is None else target.mean_item(items.bias[:, None])
    return ItemVectors(target.mean_item(items.vectors), bias)


def answers_of(moment: Tensor, label_prob: Tensor, mass: Tensor) -> TargetAnswers:
    """Return the answers from the target's probabilities of the label and of the negatives.

    They are renormalised to sum to 1. If both are 0 in a row, its target is the label.

    Args:
        moment: (P,) sum_{i != y} s_i z_i.
        label_prob: (P,) s_y.
        mass: (P,) sum_{i != y} s_i.
    """
    total = label_prob + mass
    empty = total <= 0
    total = total.masked_fill(empty, 1)
    left = mass > torch.finfo(mass.dtype).tiny  # for smaller numbers 1 / mass is infinite
    return TargetAnswers(
        (label_prob / total).masked_fill(empty, 1),
        torch.where(left, mass / total, 0),
        torch.where(left, moment, 0) / torch.where(left, mass, 1),
    )


def no_answers(like: Tensor) -> TargetAnswers:
    """Return the answers of a one-hot target."""
    nothing = torch.zeros_like(like, requires_grad=False)
    return TargetAnswers(nothing + 1, nothing, nothing)
