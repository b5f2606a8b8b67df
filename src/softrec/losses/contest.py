"""A label against other candidates: what every loss of the library is computed from."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from softrec.losses.softmax import TargetAnswers
from softrec.types import ItemVectors, StreamedTarget, Target, within


class Contest(NamedTuple):
    """The labels of a batch against others that its rows share.

    Over the full catalogue the others are all items, and the label is one of them. Over a sample
    the label has vectors of its own, and may or may not stand among the others.
    """

    users: Tensor  # (P, D)
    others: ItemVectors  # (M, D), (M,)
    column: Tensor  # (P,) int64, where the label stands among the others; -1: nowhere
    label: ItemVectors | None = None  # (P, D), (P,); None: the others' row `column`
    copies: Tensor | None = None  # (M,) how often each other counts; None: once
    correction: Tensor | None = None  # (M,) added to the logits for the softmax; None: 0
    own: Tensor | None = None  # (P,) copies of the label that stay among the others; None: none
    left_out: tuple[Tensor, Tensor] | None = None  # pairs (row, place among the others)

    @property
    def log_weight(self) -> Tensor | None:
        """Return what is added to the others' logits for the softmax, (M,): log(c_j / E_j)."""
        if self.copies is None:
            return None
        weight = self.copies.log()
        return weight if self.correction is None else weight + self.correction

    def own_log_weight(self, rows: slice) -> Tensor:
        """Return log(c / E) of the label's own copies that stay, (b,); -inf where none does."""
        column = self.column[rows].clamp(min=0)
        if self.own is None:
            return torch.full_like(column, -torch.inf, dtype=torch.float32)
        weight = self.own[rows].log()
        return weight if self.correction is None else weight + self.correction[column]


class Soft(NamedTuple):
    """A soft target over the others and the label; nothing of it is renormalised yet.

    A `StreamedTarget` is normalised where its logits are read, and has a label's logit instead of
    a label's share.
    """

    target: Target  # over the M others
    label: Tensor  # (P,) the label's share s_y, or its logit
    outside: Tensor | None  # (P,) 1 where the label is not among the others; None: nowhere
    mass: Tensor | None  # (P,) or (1,): the share of others and label together; None: 1


class Expectation(NamedTuple):
    """A mean item over the whole catalogue, for `exact` expectations beside a sample."""

    mean: Tensor  # (1, D) or (P, D), with gradient
    bias: Tensor | None  # (1, 1) or (P, 1)
    label: Tensor  # (P,) the label's share s_y


def soft_over(
    target: Target, label: Tensor, column: Tensor, items: Tensor | None, n_items: int
) -> Soft:
    """Return `target` restricted to the candidates `items` (M,), ascending, and each row's label.

    What a row gives to candidates and label together is its mass; losses divide by it. A row that
    gives nothing to any of them falls back on its label.

    Args:
        target: the soft target of the P rows.
        label: (P,) int64.
        column: (P,) places of the labels among `items`, or -1.
        items: None stands for the whole catalogue, where nothing is restricted.
        n_items: N.
    """
    if isinstance(target, StreamedTarget):
        if items is None:
            return Soft(target, target.logits_of(label), None, None)
        return Soft(target.within(items), target.logits_of(label), (column < 0).float(), None)
    share = target.prob_of(label).detach()
    if items is None:
        return Soft(target, share, None, None)
    part = within(target, items, n_items)
    outside = (column < 0).to(share)
    ones = torch.ones(len(items), 1, dtype=share.dtype, device=share.device)
    mass = part.mean_item(ones).detach()[:, 0] + outside * share
    return Soft(part, share, outside, mass)


def answers_of(
    expected: Tensor,
    label_logit: Tensor,
    share: Tensor,
    outside: Tensor | None,
    mass: Tensor | None,
) -> TargetAnswers:
    """Return (s_y, E_s[z]) over others and label from the sum over the others, renormalised."""
    if outside is not None:
        expected = expected + outside * share * label_logit
    if mass is None:
        return TargetAnswers(share, expected)
    nothing = mass <= 0
    mass = mass.masked_fill(nothing, 1)
    return TargetAnswers(
        torch.where(nothing, torch.ones_like(share), share / mass),
        torch.where(nothing, label_logit, expected / mass),
    )
