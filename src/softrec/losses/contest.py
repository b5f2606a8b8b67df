"""A label against other candidates: what every loss of the library is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from softrec.losses.pairwise import PairwiseLoss
from softrec.losses.softmax import (
    Parts,
    TargetAnswers,
    answers_of,
    check_parts,
    check_shapes,
    check_whole,
)
from softrec.types import ItemVectors, StreamedTarget, Target, within, without


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

    target: Target  # over the M others, but for the label: see `softrec.types.Others`
    label: Tensor  # (P,) the label's share s_y, or its logit
    surplus: Tensor | None = None  # (P,) what `target` still gives to the label
    mass: Tensor | None = None  # (P,) what the others have in all


class Expectation(NamedTuple):
    """A mean item over the whole catalogue, for `exact` expectations beside a sample."""

    mean: Tensor  # (1, D) or (P, D), with gradient; but for the label, as in `Soft`
    bias: Tensor | None  # (1, 1) or (P, 1)
    label: Tensor  # (P,) the label's share s_y
    surplus: Tensor  # (P,)
    mass: Tensor  # (P,)

    def answers(self, users: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return what the losses ask, for user vectors (P, D)."""
        expected = (users * self.mean).sum(1)
        if self.bias is not None:
            expected = expected + self.bias[:, 0]
        return answers_of(expected - self.surplus * label_logit, self.label, self.mass)


def check_contest(
    contest: Contest, loss: Parts | PairwiseLoss, soft: Soft | Expectation | None, weight: float
) -> None:
    """Refuse shapes that do not fit, labels that are no item, and what needs a soft target.

    Raises:
        ValueError: naming what was expected and what came.
    """
    check_loss(loss, weight, soft=soft is not None)
    if soft is not None and contest.left_out is not None:
        raise ValueError(
            "a soft target may give mass to the items that mask_positives leaves out, and nothing "
            "would hold their scores down; choose mask_positives=False"
        )
    users, others, column = contest.users, contest.others, contest.column
    if contest.label is None:
        check_whole(users, others, column)
        return
    check_shapes(users, others, column)
    check_shapes(users, contest.label, column)
    if len(contest.label.vectors) != len(users):
        raise ValueError(f"expected {len(users)} labels, got {len(contest.label.vectors)}")
    m = len(others.vectors)
    for name, weights in (("copies", contest.copies), ("a correction", contest.correction)):
        if weights is not None and weights.shape != (m,):
            raise ValueError(f"expected {name} of shape ({m},), got {tuple(weights.shape)}")


def check_loss(loss: Parts | PairwiseLoss, weight: float, *, soft: bool) -> None:
    """Refuse a weight or a soft target that the loss has no place for, or lacks."""
    if isinstance(loss, Mapping):
        check_parts(loss, weight, soft=soft)
    elif soft or weight:
        raise ValueError(
            "a loss on pairs of scores knows the label alone; got "
            + ("a soft target" if soft else f"a weight of {weight}")
        )


def soft_over(
    target: Target, label: Tensor, column: Tensor, items: Tensor | None, n_items: int
) -> Soft:
    """Return `target` restricted to the candidates `items` (M,), ascending, and each row's label.

    Losses divide by what a row gives to candidates and label together. A row that gives nothing to
    any of them falls back on its label.

    Args:
        target: the soft target of the P rows.
        label: (P,) int64.
        column: (P,) places of the labels among `items`, or -1.
        items: None stands for the whole catalogue, where nothing is restricted.
        n_items: N.
    """
    if isinstance(target, StreamedTarget):
        part = target if items is None else target.within(items)
        return Soft(part, target.logits_of(label))
    share = target.prob_of(label).detach()
    if items is None:
        others = without(target, column)
    else:
        others = without(within(target, items, n_items), column, len(items))
    return Soft(others.target, share, others.surplus, others.mass)
