"""Soft targets that the streamed pass reads block by block: none, lists of items, teachers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from softrec.losses.once import Given
from softrec.losses.softmax import SoftmaxProblem, SoftTarget, TargetAnswers, answers_of, no_answers
from softrec.types import ListedTarget, LogitTarget

TINY = 1e-20  # smaller factors count as 0


class Beside(Protocol):
    """How the streamed pass reads a soft target, block by block."""

    blocks: int  # how many blocks of logits are in memory at once

    def read(self, rows: slice, users: Tensor, block: Tensor) -> Tensor:
        """Return the expected logit of some rows, (b,), from the `block` of logits."""
        ...

    def answers(self, rows: slice, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the target's answers for the losses, differentiable in both logits."""
        ...

    def join(self, rows: slice, block: Tensor, by_rest: Tensor, by_expected: Tensor) -> Tensor:
        """Add the gradient through `expected` to the block; return the factor of the block, (b,).

        The block contains p^, and the gradient in the logits is the factor times the block.
        """
        ...

    def by_users(self, rows: slice, users: Tensor, by_expected: Tensor) -> Tensor | None:
        """Return the part of the users' gradient through `expected` outside the block, (b, D)."""
        ...

    def finish(self, vectors: Tensor | None, bias: Tensor | None) -> Given:
        """Add the remaining gradients to dL/dW (M, D) and dL/db (M,), if they are wanted.

        Return dL/dm if a mean item m was given.
        """
        ...


class LabelAlone:
    """No soft target."""

    blocks = 1

    def read(self, rows: slice, users: Tensor, block: Tensor) -> Tensor:
        """Return a number that no loss uses."""
        return block.new_zeros(len(block))

    def answers(self, rows: slice, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the answers of a one-hot target."""
        return no_answers(label_logit)

    def join(self, rows: slice, block: Tensor, by_rest: Tensor, by_expected: Tensor) -> Tensor:
        """Return the factor c of the block."""
        return by_rest

    def by_users(self, rows: slice, users: Tensor, by_expected: Tensor) -> Tensor | None:
        """Return nothing to add."""
        return None

    def finish(self, vectors: Tensor | None, bias: Tensor | None) -> Given:
        """Add nothing."""
        return None, None


class _InBlock:
    """Targets whose gradient is added to the block: c (p^ + (e / c) s), with c on the users."""

    blocks = 1

    def add(self, rows: slice, block: Tensor, slope: Tensor) -> None:
        """Add slope x s to the block."""
        raise NotImplementedError

    def join(self, rows: slice, block: Tensor, by_rest: Tensor, by_expected: Tensor) -> Tensor:
        factor = torch.where(by_rest.abs() < TINY, TINY, by_rest)  # c may be 0 where e is not
        self.add(rows, block, by_expected / factor)
        return factor

    def by_users(self, rows: slice, users: Tensor, by_expected: Tensor) -> Tensor | None:
        return None

    def finish(self, vectors: Tensor | None, bias: Tensor | None) -> Given:
        return None, None


class Listed(_InBlock):
    """A few items per row, over the full catalogue, read from the block of logits.

    This reads and writes k numbers per row; with the mean item it would be k rows of D numbers.
    """

    def __init__(self, soft: SoftTarget, place: Tensor, precise: torch.dtype) -> None:
        label, (target, surplus, mass) = soft.rest(place)
        assert isinstance(target, ListedTarget)
        self.items, probs = target.listed()
        self.probs, self.label = probs.to(precise), label.to(precise)
        self.surplus, self.mass = surplus.to(precise), mass.to(precise)

    def read(self, rows: slice, users: Tensor, block: Tensor) -> Tensor:
        """Return the sum of s_i z_i, (b,)."""
        return (block.gather(1, self.items[rows]) * self.probs[rows]).sum(1)

    def answers(self, rows: slice, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the target's answers."""
        moment = expected - self.surplus[rows] * label_logit
        return answers_of(moment, self.label[rows], self.mass[rows])

    def add(self, rows: slice, block: Tensor, slope: Tensor) -> None:
        """Add slope x s to the block."""
        block.scatter_add_(1, self.items[rows], slope[:, None] * self.probs[rows])


class Teacher(_InBlock):
    """A teacher's softmax over the negatives of a block, and its log-odds of the positive.

    Args:
        soft: the target over the whole catalogue, with the items of the negatives.
        target: the teacher, which is the target of `soft`.
        problem: the softmax problem of the same batch.
        room: returns memory for (b, M) numbers.
    """

    blocks = 2

    def __init__(
        self,
        soft: SoftTarget,
        target: LogitTarget,
        problem: SoftmaxProblem,
        room: Callable[[int], Tensor],
    ) -> None:
        some = soft.negatives
        self.target = target if some is None else target.within(some, soft.n_items)
        self.label_logit = target.logits_of(soft.label)
        self.place, self.log_weight, self.room = problem.place, problem.log_weight, room
        self.block = self.odds = self.total = self.label_logit

    def read(self, rows: slice, users: Tensor, block: Tensor) -> Tensor:
        """Fill a second block with `total` x s over the negatives, 0 at the positive; return M.

        Only one number per row is divided by `total`, which saves a pass over the block.
        """
        place = self.place[rows, None]
        column = place.clamp(min=0)
        self.block = self.target.fill(rows, self.room(len(place)))
        # The lowest number instead of -inf: so a row with only the positive has a softmax, too.
        lowest = torch.finfo(self.block.dtype).min
        own = self.block.gather(1, column).masked_fill(place >= 0, lowest)
        self.block.scatter_(1, column, own)
        largest = self.block.amax(1, keepdim=True)
        self.block.sub_(largest).exp_()
        self.total = self.block.sum(1)
        self.odds = self.label_logit[rows].to(self.block) - largest[:, 0] - self.total.log()
        expected = _row_dots(self.block, block)
        if self.log_weight is not None:
            expected -= self.block @ self.log_weight.to(self.block)
        return expected / self.total

    def answers(self, rows: slice, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the target's answers; `expected` is the mean logit of the negatives."""
        return TargetAnswers(self.odds.sigmoid(), (-self.odds).sigmoid(), expected)

    def add(self, rows: slice, block: Tensor, slope: Tensor) -> None:
        """Add slope x s, without the positive, to the block."""
        block.addcmul_(self.block, (slope / self.total)[:, None])


def _row_dots(left: Tensor, right: Tensor) -> Tensor:
    """Return the dot product of each row of `left` with that of `right`, (b,), without a copy.

    It multiplies pairs of rows and uses two of the four products, because products of single rows
    are slow.
    """
    even = len(left) // 2 * 2
    width = left.shape[1]
    pairs = left[:even].view(-1, 2, width) @ right[:even].view(-1, 2, width).transpose(1, 2)
    dots = pairs.diagonal(dim1=1, dim2=2).flatten()
    return dots if even == len(left) else torch.cat([dots, (left[-1] @ right[-1])[None]])
