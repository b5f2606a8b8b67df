"""Pairwise losses in the streamed pass, with autograd inside a block of rows."""

from __future__ import annotations

import torch
from torch import Tensor

from softrec.losses.gradients import Gradients, Wanted
from softrec.losses.pairwise import Pairs
from softrec.losses.positives import Among, Apart
from softrec.losses.softmax import SoftmaxProblem
from softrec.losses.tiles import sizes, workspace
from softrec.types import weighted_by

BLOCKS = 4  # autograd keeps several copies of a block


class PairSweep:
    """One pass over the rows, which adds up the gradients of a pairwise loss in buffers."""

    def __init__(
        self, problem: SoftmaxProblem, loss: Pairs, rows: int | None, wanted: Wanted
    ) -> None:
        self.problem, self.loss, self.wanted = problem, loss, any(wanted)
        users, m = problem.users, len(problem.negatives.vectors)
        self.precise = precise = torch.promote_types(users.dtype, torch.float32)
        apart = problem.positive is not None
        self.positive = Apart(problem, precise, wanted) if apart else Among(problem, precise)
        n, device = len(users), users.device
        self.size = sizes(n, m, precise.itemsize, device, blocks=BLOCKS, rows=rows)
        self.block = workspace(self.size.rows, m, precise, device)
        self.into = Gradients(problem, precise, wanted)

    def run(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the value of each row with its weight, and without, and fill the gradients."""
        found = [self._rows(rows) for rows in self.size.blocks(len(self.problem.users))]
        total, value = (torch.cat(parts) for parts in zip(*found, strict=True))
        return total, {"loss": value}

    def gradients(self) -> list[Tensor | None]:
        """Return the gradients of the mean loss in all arguments, None where not wanted."""
        return [*self.into.result(), *self.positive.gradients(), None, None]

    def _rows(self, rows: slice) -> tuple[Tensor, Tensor]:
        users = self.problem.users[rows]
        block, counts = self._logits(users), self._counts(rows, len(users))
        with torch.enable_grad():
            leaves = [self.positive.logit(rows, users), block]
            leaves = [leaf.detach().requires_grad_() for leaf in leaves]
            value = self.loss.loss(leaves[0], leaves[1], counts)
            value = value.masked_fill(counts.sum(1) <= 0, 0)
            total = weighted_by(self.problem.weigh, value, leaves[0], rows)
            mean = total.sum() / len(self.problem.users)
        if self.wanted:
            by_label, by_negatives = torch.autograd.grad(mean, leaves)
            self.into.start(users)
            every = slice(0, len(self.problem.negatives.vectors))
            self.into.add(every, by_negatives.T, users, first=rows.start == 0)
            self.into.finish(rows, None)
            self.positive.back(rows, users, by_label, self.into)
        return total.detach(), value.detach()

    def _logits(self, users: Tensor) -> Tensor:
        block, (vectors, bias, _) = self.block[: len(users)], self.problem.negatives
        if block.dtype == users.dtype:
            torch.mm(users, vectors.T, out=block)
        else:
            block.copy_(users @ vectors.T)
        if bias is not None:
            block += bias
        return block

    def _counts(self, rows: slice, n_rows: int) -> Tensor:
        """Return how often each negative counts in each row, (b, M)."""
        problem, like = self.problem, self.block[:n_rows]
        if problem.counts is None:
            counts = torch.ones_like(like)
        else:
            counts = problem.counts.to(like).expand_as(like).clone()
        place = problem.place[rows, None]
        column = place.clamp(min=0)
        hits = counts.new_zeros(n_rows) if problem.hits is None else problem.hits[rows]
        kept = torch.where(place < 0, counts.gather(1, column), hits[:, None].to(counts))
        counts.scatter_(1, column, kept)
        masked = problem.masked_in(rows)
        if masked is not None:
            counts[masked] = 0
        return counts
