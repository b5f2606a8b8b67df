"""The positives of the streamed pass: in the table of negatives, or with their own vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from softrec.losses.gradients import Given, Gradients, Wanted
from softrec.losses.softmax import SoftmaxProblem
from softrec.losses.tiles import Entries


class Among:
    """Positives that are in the table of negatives: the full catalogue."""

    def __init__(self, problem: SoftmaxProblem, precise: torch.dtype) -> None:
        self.place, self.precise = problem.place, precise
        self.vectors, self.bias, _ = problem.negatives

    def logit(self, rows: slice, users: Tensor) -> Tensor:
        """Return z_y, (b,)."""
        place = self.place[rows]
        bias = None if self.bias is None else self.bias[place]
        return _dots(users, self.vectors[place], bias, self.precise)

    def left_out(self, rows: slice) -> Entries:
        """Return the entries that leave the positive out."""
        place = self.place[rows]
        nothing = torch.full_like(place, -math.inf, dtype=self.precise)
        return Entries(place, torch.arange(len(place), device=place.device), nothing, len(place))

    def back(self, rows: slice, users: Tensor, slope: Tensor, into: Gradients) -> None:
        """Add the gradients through z_y."""
        place = self.place[rows]
        if into.users is not None:
            into.users[rows] += slope[:, None] * self.vectors[place]
        into.add_at(place, users, slope)

    def gradients(self) -> Given:
        """Return nothing, because they are part of the negatives' gradients."""
        return None, None


class Owned(Among):
    """Positives that are in the shards of a catalogue; those of other processes are at -1."""

    def __init__(self, problem: SoftmaxProblem, precise: torch.dtype) -> None:
        super().__init__(problem, precise)
        self.here = self.place >= 0

    def logit(self, rows: slice, users: Tensor) -> Tensor:
        """Return z_y, (b,), 0 where another process has the positive."""
        place = self.place[rows].clamp(min=0)
        bias = None if self.bias is None else self.bias[place]
        dots = _dots(users, self.vectors[place], bias, self.precise)
        return dots.masked_fill(~self.here[rows], 0)

    def left_out(self, rows: slice) -> Entries:
        """Return the entries that leave the own positives out."""
        inside = self.here[rows].nonzero()[:, 0]
        nothing = torch.full_like(inside, -math.inf, dtype=self.precise)
        return Entries(self.place[rows][inside], inside, nothing, len(self.here[rows]))

    def back(self, rows: slice, users: Tensor, slope: Tensor, into: Gradients) -> None:
        """Add the gradients through the own z_y."""
        inside = self.here[rows].nonzero()[:, 0]
        place, slope = self.place[rows][inside], slope[inside]
        if into.users is not None:
            into.users[rows].index_add_(0, inside, slope[:, None] * self.vectors[place])
        into.add_at(place, users[inside], slope)


class Apart:
    """Positives with their own vectors, which may be among the negatives or not."""

    def __init__(self, problem: SoftmaxProblem, precise: torch.dtype, wanted: Wanted) -> None:
        assert problem.positive is not None
        self.problem, self.precise = problem, precise
        self.vectors, self.bias, _ = problem.positive
        self.d_vectors = torch.empty_like(self.vectors) if wanted.positive else None
        own_bias = self.bias if wanted.positive_bias else None
        self.d_bias = None if own_bias is None else torch.empty_like(own_bias)

    def logit(self, rows: slice, users: Tensor) -> Tensor:
        """Return z_y, (b,)."""
        bias = None if self.bias is None else self.bias[rows]
        return _dots(users, self.vectors[rows], bias, self.precise)

    def left_out(self, rows: slice) -> Entries:
        """Return the entries that leave out the positive, except for its hits, and masked items.

        A positive among the negatives counts as often as it was hit: the log of the hits is added,
        and the log of its count is subtracted, which is -inf without a hit.
        """
        problem, place = self.problem, self.problem.place[rows]
        inside = (place >= 0).nonzero()[:, 0]
        items = place[inside]
        values = torch.full_like(items, -math.inf, dtype=self.precise)
        if problem.hits is not None:
            values = problem.hits[rows][inside].to(self.precise).log()
            if problem.counts is not None:
                values = values - problem.counts[items].to(self.precise).log()
        masked = problem.masked_in(rows)
        if masked is not None:
            nothing = values.new_full((len(masked[0]),), -math.inf)
            inside, items = torch.cat([inside, masked[0]]), torch.cat([items, masked[1]])
            values = torch.cat([values, nothing])
        return Entries(items, inside, values, len(place))

    def back(self, rows: slice, users: Tensor, slope: Tensor, into: Gradients) -> None:
        """Add the gradients through z_y."""
        if into.users is not None:
            into.users[rows] += slope[:, None] * self.vectors[rows]
        if self.d_vectors is not None:
            self.d_vectors[rows] = slope[:, None] * users
        if self.d_bias is not None:
            self.d_bias[rows] = slope.to(self.d_bias.dtype)

    def gradients(self) -> Given:
        """Return the gradients in the vectors and biases of the positives."""
        return self.d_vectors, self.d_bias


def _dots(users: Tensor, vectors: Tensor, bias: Tensor | None, precise: torch.dtype) -> Tensor:
    dots = (users.to(precise) * vectors).sum(1)
    return (dots if bias is None else dots + bias).to(precise)
