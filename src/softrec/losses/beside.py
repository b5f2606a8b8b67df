"""What is computed with a block of logits where no mean item is: nothing, lists, teachers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from softrec.losses.once import Given
from softrec.losses.softmax import SoftmaxProblem, SoftTarget, TargetAnswers, answers_of, no_answers
from softrec.types import ListedTarget, LogitTarget

TINY = 1e-20  # a factor below this is no gradient any more


class Beside(Protocol):
    """How the streamed pass reads a soft target, block by block."""

    blocks: int  # how many blocks of logits are in the cache at once

    def read(self, rows: slice, users: Tensor, block: Tensor) -> Tensor:
        """Return the expected logit of some rows, (b,); `block` still has all logits."""
        ...

    def answers(self, rows: slice, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return what the losses ask, differentiable in both."""
        ...

    def join(self, rows: slice, block: Tensor, by_rest: Tensor, by_expected: Tensor) -> Tensor:
        """Add the gradient through `expected` to the block; return the factor on the block, (b,).

        The block holds p^, and its gradient is dL/dR times that.
        """
        ...

    def by_users(self, rows: slice, users: Tensor, by_expected: Tensor) -> Tensor | None:
        """Return the gradient through `expected` in the users that is not in the block, (b, D)."""
        ...

    def finish(self, vectors: Tensor | None, bias: Tensor | None) -> Given:
        """Add what is left to dL/dW (M, D) and dL/db (M,), where they are asked for.

        Return dL/dm for a mean m given.
        """
        ...


class LabelAlone:
    """No soft target."""

    blocks = 1

    def read(self, rows: slice, users: Tensor, block: Tensor) -> Tensor:
        """Return what no loss asks for."""
        return block.new_zeros(len(block))

    def answers(self, rows: slice, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the answers of the label alone."""
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
    """Targets whose gradient joins that of the block: c (p^ + (e / c) s), c on the users."""

    blocks = 1

    def add(self, rows: slice, block: Tensor, slope: Tensor) -> None:
        """Add slope x s to the block."""
        raise NotImplementedError

    def join(self, rows: slice, block: Tensor, by_rest: Tensor, by_expected: Tensor) -> Tensor:
        factor = torch.where(by_rest.abs() < TINY, TINY, by_rest)  # c may vanish, e need not
        self.add(rows, block, by_expected / factor)
        return factor

    def by_users(self, rows: slice, users: Tensor, by_expected: Tensor) -> Tensor | None:
        return None

    def finish(self, vectors: Tensor | None, bias: Tensor | None) -> Given:
        return None, None


class Listed(_InBlock):
    """A few items a row over the full catalogue: read from the logits, written to the gradient.

    That touches k numbers a row, where the mean item needs k rows of D numbers each way.
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
        """Return what the losses ask."""
        moment = expected - self.surplus[rows] * label_logit
        return answers_of(moment, self.label[rows], self.mass[rows])

    def add(self, rows: slice, block: Tensor, slope: Tensor) -> None:
        """Add slope x s to the block."""
        block.scatter_add_(1, self.items[rows], slope[:, None] * self.probs[rows])


class Teacher(_InBlock):
    """A teacher's softmax over a block without the positive, beside its log-odds of the positive.

    Args:
        soft: the target over the whole catalogue, and which of it the negatives are.
        target: its target.
        problem: the softmax problem of the same batch.
        room: gives memory for (b, M) numbers.
    """

    blocks = 2

    def __init__(
        self,
        soft: SoftTarget,
        target: LogitTarget,
        problem: SoftmaxProblem,
        room: Callable[[int], Tensor],
    ) -> None:
        some = soft.items
        self.target = target if some is None else target.within(some, soft.n_items)
        self.label_logit = target.logits_of(soft.label)
        self.place, self.log_weight, self.room = problem.place, problem.log_weight, room
        self.block = self.odds = self.total = self.label_logit

    def read(self, rows: slice, users: Tensor, block: Tensor) -> Tensor:
        """Fill the own block with `total` x s over the negatives, 0 at the positive; return M.

        Divided by `total` are numbers of a row, which saves the pass of a softmax that divides.
        """
        place = self.place[rows, None]
        column = place.clamp(min=0)
        self.block = self.target.fill(rows, self.room(len(place)))
        # The lowest number instead of -inf: a row of the positive alone has a softmax, too.
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
        """Return what the losses ask; `expected` is the mean logit of the negatives."""
        return TargetAnswers(self.odds.sigmoid(), (-self.odds).sigmoid(), expected)

    def add(self, rows: slice, block: Tensor, slope: Tensor) -> None:
        """Add slope x s, without the positive, to the block."""
        block.addcmul_(self.block, (slope / self.total)[:, None])


def _row_dots(left: Tensor, right: Tensor) -> Tensor:
    """Return the dot product of each row of `left` with that of `right`, (b,), without a copy.

    In pairs of rows, of which two of four products count: single rows have a slow path.
    """
    even = len(left) // 2 * 2
    width = left.shape[1]
    pairs = left[:even].view(-1, 2, width) @ right[:even].view(-1, 2, width).transpose(1, 2)
    dots = pairs.diagonal(dim1=1, dim2=2).flatten()
    return dots if even == len(left) else torch.cat([dots, (left[-1] @ right[-1])[None]])
