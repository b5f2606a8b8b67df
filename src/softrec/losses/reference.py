"""The reference of the streamed pass: the same loss from whole tables, for small sizes."""

from __future__ import annotations

import torch

from softrec.losses.checks import check_problem
from softrec.losses.softmax import (
    Loss,
    ObjectiveValue,
    SoftmaxProblem,
    SoftTarget,
    SoftWeight,
    loss_of,
)
from softrec.losses.table import row_answers, table_loss


def plain(
    problem: SoftmaxProblem,
    loss: Loss,
    soft: SoftTarget | None = None,
    weight: SoftWeight = 0.0,
) -> ObjectiveValue:
    """Return the result of `softrec.losses.streaming.streamed`, from tables of P x M numbers.

    It can be differentiated any number of times. Arguments and errors are those of `streamed`.
    """
    loss_of(loss).check(weight, soft=soft is not None)
    check_problem(problem, soft, weight)
    users, negatives, positive = problem.users, problem.negatives, problem.positive
    logits = users @ negatives.vectors.T
    if negatives.bias is not None:
        logits = logits + negatives.bias
    place, inside = problem.place.clamp(min=0)[:, None], problem.place[:, None] >= 0
    if positive is None:
        label_logit = logits.gather(1, place)[:, 0]
    else:
        label_logit = (users * positive.vectors).sum(1)
        if positive.bias is not None:
            label_logit = label_logit + positive.bias
    counts = torch.ones_like(logits) if problem.counts is None else (
        problem.counts.to(logits).expand_as(logits).clone()
    )  # fmt: skip
    hits = torch.zeros_like(label_logit) if problem.hits is None else problem.hits.to(label_logit)
    counts.scatter_(1, place, torch.where(inside, hits[:, None], counts.gather(1, place)))
    if problem.masked is not None:
        counts[problem.masked] = 0
    answers = None
    if soft is not None:
        hidden = torch.zeros_like(logits, dtype=torch.bool).scatter(1, place, inside)
        every = torch.arange(logits.shape[1], device=users.device)
        items = (every if soft.negatives is None else soft.negatives).expand_as(logits)
        answers = row_answers(soft, users, label_logit, logits, items, hidden)
    if problem.offset is not None and problem.label_offset is not None:
        nothing = torch.zeros_like(logits, requires_grad=False)
        logits = logits + problem.offset.add(slice(0, len(users)), nothing)
        label_logit = label_logit + problem.label_offset
    return table_loss(
        label_logit, logits, counts, loss,
        correction=problem.correction, answers=answers, weight=weight, weigh=problem.weigh,
    )  # fmt: skip
