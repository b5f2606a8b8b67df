"""Positives that have their own vectors, and a sample of negatives, in the streamed pass."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from softrec.losses.once import Wanted
from softrec.losses.softmax import SoftmaxProblem


class Into(Protocol):
    """The buffer for the gradient in the users."""

    users: Tensor | None


class Apart:
    """Positives with their own vectors, which may be among the negatives or not."""

    def __init__(self, problem: SoftmaxProblem, precise: torch.dtype, wanted: Wanted) -> None:
        assert problem.positive is not None
        self.problem, self.precise = problem, precise
        self.vectors, self.bias, _ = problem.positive
        self.log_weight = problem.log_weight
        self.d_vectors = torch.empty_like(self.vectors) if wanted.positive else None
        own_bias = self.bias if wanted.positive_bias else None
        self.d_bias = None if own_bias is None else torch.empty_like(own_bias)

    def logit(self, rows: slice, users: Tensor, block: Tensor) -> Tensor:
        """Return z_y, (b,)."""
        own = (users.to(self.precise) * self.vectors[rows]).sum(1)
        if self.bias is not None:
            own = own + self.bias[rows]
        return own.to(self.precise)

    def rest(self, rows: slice, block: Tensor) -> tuple[Tensor, Tensor | None]:
        """Leave the positive out of `block`, except for its hits; turn the block into exp(z - R).

        Return R, (b,), and a mask of rows without negatives; their R is 0.
        """
        place = self.problem.place[rows, None]
        column = place.clamp(min=0)
        before = block.gather(1, column)
        own = self._log_hits(rows)[:, None]
        if self.log_weight is not None:
            own = own + before - self.log_weight[column]
        block.scatter_(1, column, torch.where(place < 0, before, own))
        masked = self.problem.masked_in(rows)
        if masked is not None:
            block[masked] = -math.inf
        largest = block.amax(1)
        alone = largest == -math.inf
        some = bool(alone.any())
        if some:
            block[alone] = 0
        torch.softmax(block, 1, out=block)
        rest = largest - block.amax(1).log()
        if not some:
            return rest, None
        block[alone] = 0
        return rest.masked_fill(alone, 0), alone

    def _log_hits(self, rows: slice) -> Tensor:
        """Return log(c / E) of the positive's hits, (b,); -inf where there are none."""
        place = self.problem.place[rows].clamp(min=0)
        hits, correction = self.problem.hits, self.problem.correction
        if hits is None:
            return torch.full_like(place, -torch.inf, dtype=self.precise)
        weight = hits[rows].log()
        weight = weight if correction is None else weight + correction[place]
        return weight.to(self.precise)

    def back(self, rows: slice, users: Tensor, slope: Tensor, into: Into) -> None:
        """Add the gradients through z_y."""
        if into.users is not None:
            into.users[rows] += slope[:, None] * self.vectors[rows]
        if self.d_vectors is not None:
            self.d_vectors[rows] = slope[:, None] * users
        if self.d_bias is not None:
            self.d_bias[rows] = slope.to(self.d_bias.dtype)

    def gradients(self) -> tuple[Tensor | None, Tensor | None]:
        """Return the gradients in the vectors and biases of the positives."""
        return self.d_vectors, self.d_bias
