"""Pairwise losses in the streamed pass, with autograd inside a block."""

from __future__ import annotations

import torch
from torch import Tensor

from softrec.losses.once import Given
from softrec.losses.pairwise import Pairs
from softrec.losses.softmax import Slopes, SoftmaxProblem


class PairBlocks:
    """A pairwise loss, computed on blocks of logits."""

    blocks = 4  # autograd keeps several copies of a block

    def __init__(self, problem: SoftmaxProblem, loss: Pairs) -> None:
        self.problem, self.loss = problem, loss

    def __call__(
        self, rows: slice, users: Tensor, block: Tensor, label_logit: Tensor, *, wanted: bool
    ) -> tuple[dict[str, Tensor], Slopes | None]:
        """Return the values of some rows and, if they are wanted, the gradients in the logits."""
        counts = self._counts(rows, block)
        with torch.enable_grad():
            leaves = [label_logit.detach().requires_grad_(), block.detach().requires_grad_()]
            value = self.loss.loss(leaves[0], leaves[1], counts)
            value = value.masked_fill(counts.sum(1) <= 0, 0)
            mean = value.sum() / len(self.problem.users)
        values = {"loss": value.detach()}
        if not wanted:
            return values, None
        by_label, by_negatives = torch.autograd.grad(mean, leaves)
        return values, Slopes(by_label, by_negatives, torch.ones_like(by_label), None)

    def finish(self, vectors: Tensor | None, bias: Tensor | None) -> Given:
        """Add nothing, because there is no soft target."""
        return None, None

    def _counts(self, rows: slice, block: Tensor) -> Tensor:
        """Return how often each negative counts in each row, (b, M)."""
        problem = self.problem
        if problem.counts is None:
            counts = torch.ones_like(block)
        else:
            counts = problem.counts.to(block).expand_as(block).clone()
        place = problem.place[rows, None]
        column = place.clamp(min=0)
        hits = counts.new_zeros(len(block)) if problem.hits is None else problem.hits[rows]
        kept = torch.where(place < 0, counts.gather(1, column), hits[:, None].to(counts))
        counts.scatter_(1, column, kept)
        masked = problem.masked_in(rows)
        if masked is not None:
            counts[masked] = 0
        return counts
