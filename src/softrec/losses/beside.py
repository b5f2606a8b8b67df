"""Soft targets that the streamed pass reads tile by tile: none, lists of items, teachers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from softrec.losses.gradients import Given, Wanted
from softrec.losses.softmax import (
    SoftmaxProblem,
    SoftTarget,
    TargetAnswers,
    answers_of,
    mean_of,
    no_answers,
)
from softrec.losses.tiles import Entries, Tiles, is_narrow
from softrec.types import ListedTarget, LogitTarget


class Beside(Protocol):
    """How the streamed pass reads a soft target, one block of rows after the other."""

    blocks: int  # how many blocks of logits are in memory at once
    reads: bool  # whether it reads the logits

    def start(self, rows: slice, users: Tensor, cut: list[slice]) -> None:
        """Start a block of rows."""
        ...

    def read(self, items: slice, tile: Tensor) -> None:
        """Read a tile of the student's logits, (items, rows), if `reads`."""
        ...

    def settled(self) -> bool:
        """Return whether the tiles need not be read once more, after all were read."""
        ...

    def expected(self) -> Tensor:
        """Return the expected logit of each row, (b,), after all tiles were read."""
        ...

    def answers(self, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the target's answers for the losses, differentiable in both logits."""
        ...

    def add(self, items: slice, tile: Tensor, by_expected: Tensor) -> None:
        """Add the gradient through the expected logit to a tile of the gradient."""
        ...

    def by_users(self, by_expected: Tensor) -> Tensor | None:
        """Return the part of the users' gradient that is in no tile, (b, D)."""
        ...

    def finish(self, vectors: Tensor | None, bias: Tensor | None) -> Given:
        """Add the remaining gradients to dL/dW (M, D) and dL/db (M,), if they are wanted.

        Return dL/dm if a mean item m was given.
        """
        ...


class LabelAlone:
    """No soft target, and what most targets do not need."""

    blocks = 1
    reads = False

    def start(self, rows: slice, users: Tensor, cut: list[slice]) -> None:
        """Remember the rows."""
        self.rows, self.users = rows, users

    def read(self, items: slice, tile: Tensor) -> None:
        """Read nothing."""

    def settled(self) -> bool:
        """Return true."""
        return True

    def expected(self) -> Tensor:
        """Return numbers that no loss uses."""
        wide = torch.promote_types(self.users.dtype, torch.float32)
        return self.users.new_zeros(len(self.users), dtype=wide)

    def answers(self, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the answers of a one-hot target."""
        return no_answers(label_logit)

    def add(self, items: slice, tile: Tensor, by_expected: Tensor) -> None:
        """Add nothing."""

    def by_users(self, by_expected: Tensor) -> Tensor | None:
        """Return nothing."""
        return None

    def finish(self, vectors: Tensor | None, bias: Tensor | None) -> Given:
        """Add nothing."""
        return None, None


class Listed(LabelAlone):
    """A few items per row, over the full catalogue, whose logits are read from the tiles.

    This reads and writes k numbers per row; with the mean item it would be k rows of D numbers.
    """

    reads = True

    def __init__(self, soft: SoftTarget, place: Tensor, precise: torch.dtype) -> None:
        label, (target, surplus, mass) = soft.rest(place)
        assert isinstance(target, ListedTarget)
        self.items, probs = target.listed()
        self.probs, self.label = probs.to(precise), label.to(precise)
        self.surplus, self.mass = surplus.to(precise), mass.to(precise)

    def start(self, rows: slice, users: Tensor, cut: list[slice]) -> None:
        """Sort the listed items of these rows by tile."""
        super().start(rows, users, cut)
        items, probs = self.items[rows], self.probs[rows]
        b, k = items.shape
        every = torch.arange(b, device=items.device).repeat_interleave(k)
        self.entries = Entries(items.flatten(), every, probs.flatten(), b).cut(cut)
        self.moment = probs.new_zeros(b)

    def read(self, items: slice, tile: Tensor) -> None:
        """Add s_i z_i of the tile's items."""
        self.entries.sums(items, tile, self.moment)

    def expected(self) -> Tensor:
        """Return the sum of s_i z_i, (b,)."""
        return self.moment

    def answers(self, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the target's answers."""
        moment = expected - self.surplus[self.rows] * label_logit
        return answers_of(moment, self.label[self.rows], self.mass[self.rows])

    def add(self, items: slice, tile: Tensor, by_expected: Tensor) -> None:
        """Add dL/dE s to a tile."""
        self.entries.add(items, tile, by_expected)


class Teacher(LabelAlone):
    """A teacher's softmax over the negatives of a block, and its log-odds of the positive.

    Args:
        soft: the target over the whole catalogue, with the items of the negatives.
        target: the teacher, which is the target of `soft`.
        problem: the softmax problem of the same batch.
        memory: returns memory for a block of b rows, kept or not, and for one of its tiles.
    """

    blocks = 2
    reads = True

    def __init__(
        self,
        soft: SoftTarget,
        target: LogitTarget,
        problem: SoftmaxProblem,
        memory: Callable[[int], tuple[Tensor | None, Tensor]],
    ) -> None:
        some = soft.negatives
        self.target = target if some is None else target.within(some, soft.n_items)
        self.label_logit = target.logits_of(soft.label)
        self.problem, self.memory, self.log_weight = problem, memory, problem.log_weight

    def start(self, rows: slice, users: Tensor, cut: list[slice]) -> None:
        """Prepare tiles of the teacher's logits, which are computed together with the student's."""
        super().start(rows, users, cut)
        kept, room = self.memory(len(users))
        place = self.problem.place[rows]
        inside = (place >= 0).nonzero()[:, 0]
        left_out = room.new_full((len(inside),), -torch.inf)
        entries = Entries(place[inside], inside, left_out, len(users))
        self.tiles = Tiles(self._fill, entries, cut, kept, room)
        self.mean = room.new_zeros(len(users))
        self.total = torch.zeros_like(self.mean)

    def _fill(self, items: slice, tile: Tensor) -> None:
        every = torch.arange(items.start, items.stop, device=tile.device)
        some = self.target.within(every, len(self.problem.negatives.vectors))
        some.fill(self.rows, tile.T)

    def read(self, items: slice, tile: Tensor) -> None:
        """Add s_i z_i of the tile's items, up to `scale`."""
        probs = self.tiles.first(items)
        self.total += probs.sum(0)
        if self.log_weight is not None:
            self.mean -= self.log_weight[items].to(probs) @ probs
        self.mean += torch.mul(probs, tile, out=self.tiles.place(items)).sum(0)

    def settled(self) -> bool:
        """Return whether no exponential was too large or small; otherwise choose an offset."""
        lse = self.tiles.lse_of(self.total)
        if self.tiles.offset is None and not is_narrow(lse):
            self.tiles.shift()
            self.mean.zero_()
            self.total.zero_()
            return False
        self.odds = self.label_logit[self.rows].to(lse) - lse
        # A row without negatives has no softmax; its sums are 0.
        self.scale = self.tiles.scale(lse.masked_fill(lse == -torch.inf, 0))
        return True

    def expected(self) -> Tensor:
        """Return the mean logit of the negatives, (b,)."""
        return self.mean * self.scale

    def answers(self, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the target's answers; `expected` is the mean logit of the negatives."""
        return TargetAnswers(self.odds.sigmoid(), (-self.odds).sigmoid(), expected)

    def add(self, items: slice, tile: Tensor, by_expected: Tensor) -> None:
        """Add dL/dM s, without the positive, to a tile."""
        tile.addcmul_(self.tiles.again(items), by_expected * self.scale)


class MeanItem(LabelAlone):
    """A target that is read by its mean item m(W), whose gradient is added to W's at the end."""

    def __init__(
        self, soft: SoftTarget, problem: SoftmaxProblem, precise: torch.dtype, wanted: Wanted
    ) -> None:
        label, (self.target, surplus, mass) = soft.rest(problem.place)
        self.label, self.surplus, self.mass = (t.to(precise) for t in (label, surplus, mass))
        self.given = soft.mean is not None
        mean = soft.mean or mean_of(self.target, problem.negatives)
        self.mean = mean.vectors.detach().to(precise)
        self.mean_bias = None if mean.bias is None else mean.bias.detach().to(precise)
        asked, asked_bias = wanted[5:] if self.given else wanted[1:3]
        self.d_mean = torch.zeros_like(self.mean) if asked else None
        own_bias = self.mean_bias if asked_bias else None
        self.d_bias = None if own_bias is None else torch.zeros_like(own_bias)

    def expected(self) -> Tensor:
        """Return sum_i s_i z_i = h . m + b . s, (b,)."""
        expected = (self.users * _of(self.mean, self.rows)).sum(1)
        if self.mean_bias is None:
            return expected
        return expected + _of(self.mean_bias, self.rows)[:, 0]

    def answers(self, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the target's answers, without the probability left at the positive."""
        moment = expected - self.surplus[self.rows] * label_logit
        return answers_of(moment, self.label[self.rows], self.mass[self.rows])

    def by_users(self, by_expected: Tensor) -> Tensor | None:
        """Store dL/dm of some rows, and return dL/dh."""
        slope = by_expected[:, None]
        for kept, rate in ((self.d_mean, slope * self.users), (self.d_bias, slope)):
            if kept is not None:
                rate = rate.sum(0, keepdim=True) if len(kept) == 1 else rate
                _of(kept, self.rows).add_(rate)
        return slope * _of(self.mean, self.rows)

    def finish(self, vectors: Tensor | None, bias: Tensor | None) -> Given:
        """Add the gradients of m in W and b to the buffers; return dL/dm if m was given."""
        if self.given:
            return self.d_mean, self.d_bias
        if self.d_mean is not None and vectors is not None:
            self.target.add_mean_gradient(self.d_mean, vectors)
        if self.d_bias is not None and bias is not None:
            self.target.add_mean_gradient(self.d_bias, bias[:, None])
        return None, None


def _of(tensor: Tensor, rows: slice) -> Tensor:
    """Return some rows of a (P, .) tensor, or all of a (1, .) tensor."""
    return tensor if len(tensor) == 1 else tensor[rows]
