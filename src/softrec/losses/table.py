"""Losses from tables of scores: for candidates drawn for each row, and as a plain reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from softrec.losses.contest import Contest, Expectation, Soft, check_contest, check_loss
from softrec.losses.pairwise import PairwiseLoss
from softrec.losses.softmax import (
    ObjectiveValue,
    Parts,
    SoftmaxStats,
    TargetAnswers,
    answers_of,
    no_answers,
    sum_of,
)
from softrec.types import StreamedTarget, Target


class Scores(NamedTuple):
    """The score of each label and of each row's other candidates."""

    label: Tensor  # (P,)
    others: Tensor  # (P, M)
    copies: Tensor  # (P, M) how often each other counts; 0 leaves it out
    correction: Tensor | None = None  # (P, M) or (M,), added for the softmax


class Shares(NamedTuple):
    """What a soft target gives to label and others; it need not sum to 1."""

    label: Tensor  # (P,)
    others: Tensor  # (P, M)


def table_loss(
    scores: Scores,
    loss: Parts | PairwiseLoss,
    soft: Shares | TargetAnswers | None = None,
    weight: float = 0.0,
) -> ObjectiveValue:
    """Return the mean loss of labels against the others of their row.

    Rows without any other candidate have the loss 0.

    Args:
        scores: of labels and others.
        loss: named softmax losses with coefficients, or one loss on pairs of scores.
        soft: the soft target over the candidates, renormalised here; or its answers.
        weight: the weight a of the soft target.

    Raises:
        ValueError: if shapes do not fit, the weight is outside [0, 1], or a soft target is missing
            or has no place in the loss.
    """
    check_loss(loss, weight, soft=soft is not None)
    rows = len(scores.label)
    if scores.label.dim() != 1 or scores.others.dim() != 2 or len(scores.others) != rows:
        raise ValueError(
            f"expected scores of labels (P,) and others (P, M), got {tuple(scores.label.shape)} "
            f"and {tuple(scores.others.shape)}"
        )
    alone = scores.copies.sum(1) <= 0
    if not isinstance(loss, Mapping):
        value = loss(scores.label, scores.others, scores.copies).masked_fill(alone, 0)
        return ObjectiveValue(value.mean(), {"loss": value.detach()})
    # A row of -inf alone would have no gradient but NaN; its value is masked below.
    weighted = scores.others + scores.copies.log().masked_fill(alone[:, None], 0)
    if scores.correction is not None:
        weighted = weighted + scores.correction
    rest = weighted.logsumexp(1)
    answers = no_answers(scores.label)
    if isinstance(soft, TargetAnswers):
        answers = soft
    elif soft is not None:
        moment = (soft.others * scores.others).sum(1)
        answers = answers_of(moment, soft.label, soft.others.sum(1))
    model = SoftmaxStats(scores.label, rest)
    values = {
        name: part(model, answers, weight).masked_fill(alone, 0) for name, (part, _) in loss.items()
    }
    total = sum_of(loss, values).mean()
    return ObjectiveValue(total, {name: value.detach() for name, value in values.items()})


def row_shares(target: Target, label: Tensor, items: Tensor, copies: Tensor) -> Shares:
    """Return what `target` gives to each label and to its row's candidates, each item once.

    Args:
        target: the soft target of the P rows.
        label: (P,) int64.
        items: (P, M) int64.
        copies: (P, M), 0 for what is left out.
    """
    order = items.argsort(dim=1)
    ranked = items.gather(1, order)
    again = torch.zeros_like(ranked, dtype=torch.bool)
    again[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    repeated = torch.empty_like(again).scatter_(1, order, again)
    left_out = repeated | (copies <= 0)
    if isinstance(target, StreamedTarget):
        logits = torch.cat([target.logits_of(label)[:, None], target.logits_of(items)], 1)
        gone = torch.cat([torch.zeros_like(left_out[:, :1]), left_out], 1)
        shares = logits.masked_fill(gone, -torch.inf).softmax(1)
        return Shares(shares[:, 0], shares[:, 1:])
    return Shares(target.prob_of(label), target.prob_of(items).masked_fill(left_out, 0))


def plain(
    contest: Contest,
    loss: Parts | PairwiseLoss,
    soft: Soft | Expectation | None = None,
    weight: float = 0.0,
) -> ObjectiveValue:
    """Return what `streamed` does, from whole tables: the reference, for small sizes."""
    check_contest(contest, loss, soft, weight)
    users, others, column = contest.users, contest.others, contest.column
    table = users @ others.vectors.T
    if others.bias is not None:
        table = table + others.bias
    place, inside = column.clamp(min=0)[:, None], column[:, None] >= 0
    if contest.label is None:
        label = table.gather(1, place)[:, 0]
    else:
        label = (users * contest.label.vectors).sum(1)
        if contest.label.bias is not None:
            label = label + contest.label.bias
    copies = torch.ones_like(table) if contest.copies is None else (
        contest.copies.to(table).expand_as(table).clone()
    )  # fmt: skip
    stays = torch.zeros_like(label) if contest.own is None else contest.own.to(label)
    copies.scatter_(1, place, torch.where(inside, stays[:, None], copies.gather(1, place)))
    if contest.left_out is not None:
        copies[contest.left_out] = 0
    scores = Scores(label, table, copies, contest.correction)
    return table_loss(scores, loss, _table_soft(contest, soft, label, inside, place), weight)


def _table_soft(
    contest: Contest,
    soft: Soft | Expectation | None,
    label: Tensor,
    inside: Tensor,
    place: Tensor,
) -> Shares | TargetAnswers | None:
    users, m = contest.users, len(contest.others.vectors)
    if soft is None:
        return None
    if isinstance(soft, Expectation):
        return soft.answers(users, label)
    every = torch.arange(m, device=users.device).expand(len(users), m)
    if isinstance(soft.target, StreamedTarget):
        logits = torch.cat([soft.label[:, None], soft.target.logits_of(every)], 1)
        hidden = torch.zeros_like(logits, dtype=torch.bool)
        hidden.scatter_(1, place + 1, inside)
        shares = logits.masked_fill(hidden, -torch.inf).softmax(1).to(users)
        return Shares(shares[:, 0], shares[:, 1:])
    others = soft.target.prob_of(every).to(users)
    others = others.scatter(1, place, torch.where(inside, 0.0, others.gather(1, place)))
    return Shares(soft.label.to(users), others)
