"""The prediction of another model, the softmax of its logits, which is never stored as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.blocks import blocks
from softrec.limits import LIMITS
from softrec.targets.sparse import SparseTarget
from softrec.types import ItemVectors, LogitTarget, Rest, Target


@dataclass(frozen=True)
class TeacherTarget(LogitTarget):
    """The prediction of a model with vectors of its own, at a temperature.

    Formula: s = softmax(z / T) with z = users @ vectors.T + bias. Teacher and student may have
    different widths. Losses call `fill` for one block of rows at a time, together with the
    student's logits, which costs one more matrix product. `prob_of` and `mean_item` compute all
    logits again.

    Args:
        users: (P, D_T) the teacher's user vectors.
        items: its item vectors (N, D_T) and bias.
        temperature: T > 0; larger is flatter.

    Source: Cheng et al., SIGIR 2021, eq. 8-11: SKD, CKD and, with the student itself on a
    neighbour's history as the teacher, CSN.

    Example:
        >>> teacher = TeacherTarget(torch.tensor([[0.0, 1.0]]), ItemVectors(torch.eye(2)), 1.0)
        >>> teacher.prob_of(torch.tensor([1]))
        tensor([0.7311])
    """

    users: Tensor
    items: ItemVectors
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < inf:
            raise ValueError(f"the temperature must be above 0, got {self.temperature}")

    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write z / T of some rows to `out` (b, N)."""
        users = self.users[rows] / self.temperature
        if out.dtype == users.dtype:
            torch.mm(users, self.items.vectors.T, out=out)
        else:
            out.copy_(users @ self.items.vectors.T)
        if self.items.bias is not None:
            out += self.items.bias / self.temperature
        return out

    def logits_of(self, items: Tensor) -> Tensor:
        """Return z / T at items (P,) or (P, M)."""
        wide = items.view(len(items), -1)
        columns = [
            (self.users * self.items.vectors[some]).sum(1) for some in wide.unbind(1)
        ]  # one column at a time: no P x M x D
        logits = torch.stack(columns, 1)
        if self.items.bias is not None:
            logits = logits + self.items.bias[wide]
        return (logits / self.temperature).view(items.shape)

    def within(self, items: Tensor, n_items: int) -> TeacherTarget:
        """Return the softmax over some items only."""
        bias = None if self.items.bias is None else self.items.bias[items]
        chosen = ItemVectors(self.items.vectors[items], bias)
        return TeacherTarget(self.users, chosen, self.temperature)

    def prob_of(self, items: Tensor) -> Tensor:
        """Return s at items (P,) or (P, M)."""
        lse = torch.cat([block.logsumexp(1) for _, block in self.logit_blocks()])
        logits = self.logits_of(items)
        return (logits - lse.view(-1, *[1] * (items.dim() - 1))).exp()

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the mean of `vectors` under the softmax of each row, (P, D)."""
        means = [block.softmax(1).to(vectors.dtype) @ vectors for _, block in self.logit_blocks()]
        return torch.cat(means)

    def without(self, place: Tensor) -> Rest:
        """Return the softmax without one item per row, which is left out of all sums."""
        lse = torch.cat([_hide(b, place[rows]).logsumexp(1) for rows, b in self.logit_blocks()])
        own = self.logits_of(place.clamp(min=0)).masked_fill(place < 0, -torch.inf)
        whole = torch.logaddexp(lse, own)
        rest = _TeacherWithout(self, place, whole)
        return Rest(rest, torch.zeros_like(lse), (lse - whole).exp())

    def logit_blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield rows and their z / T, (b, N), in memory of its own; `limits.scores` says how many.

        Example:
            >>> teacher = TeacherTarget(torch.eye(2), ItemVectors(torch.eye(2)), 0.5)
            >>> [(rows, block.tolist()) for rows, block in teacher.logit_blocks()]
            [(slice(0, 2, None), [[2.0, 0.0], [0.0, 2.0]])]
        """
        n_items = len(self.items.vectors)
        size = LIMITS.scores // (n_items * self.users.element_size())
        for rows in blocks(len(self.users), size):
            logits = F.linear(self.users[rows], self.items.vectors, self.items.bias)
            yield rows, logits.div_(self.temperature)


@dataclass(frozen=True)
class _TeacherWithout(Target):
    """A teacher's probabilities of all items except one per row."""

    teacher: TeacherTarget
    place: Tensor  # (P,)
    lse: Tensor  # (P,) the logsumexp of all logits, including that of the item

    def prob_of(self, items: Tensor) -> Tensor:
        lse, place = (
            part if items.dim() == 1 else part[:, None] for part in (self.lse, self.place)
        )
        return (self.teacher.logits_of(items) - lse).exp().masked_fill(items == place, 0)

    def mean_item(self, vectors: Tensor) -> Tensor:
        means = [
            (_hide(block, self.place[rows]) - self.lse[rows, None]).exp().to(vectors) @ vectors
            for rows, block in self.teacher.logit_blocks()
        ]
        return torch.cat(means)


def _hide(block: Tensor, place: Tensor) -> Tensor:
    """Set one logit per row to -inf, in place; -1 stands for none."""
    column = place.clamp(min=0)[:, None]
    own = block.gather(1, column).masked_fill(place[:, None] >= 0, -torch.inf)
    return block.scatter_(1, column, own)


@dataclass(frozen=True)
class TopTarget(Target):
    """The k best items of a teacher; the remaining probability is spread evenly over all items.

    Formula: s = sum_k probs_k e_{items_k} + floor sum_i e_i with floor = (1 - sum_k probs_k) / N.

    Example:
        >>> best = TopTarget.of(torch.tensor([[2]]), torch.tensor([[0.6]]), n_items=4)
        >>> best.prob_of(torch.tensor([2]))
        tensor([0.7000])
    """

    best: SparseTarget
    floor: Tensor  # (P,) the probability that every item has in addition
    n_items: int

    @classmethod
    def of(cls, items: Tensor, probs: Tensor, n_items: int) -> TopTarget:
        """Return the target of k items a row, (P, k), whose probabilities sum to at most 1."""
        left = (1 - probs.sum(1, dtype=torch.float64)).clamp(min=0)
        return cls(SparseTarget(items, probs), left.to(probs) / n_items, n_items)

    def prob_of(self, items: Tensor) -> Tensor:
        """Return s at items (P,) or (P, M)."""
        floor = self.floor if items.dim() == 1 else self.floor[:, None]
        return self.best.prob_of(items) + floor

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the mean row, (P, D)."""
        return self.best.mean_item(vectors) + self.floor.to(vectors)[:, None] * vectors.sum(0)

    def add_mean_gradient(self, rows: Tensor, out: Tensor) -> None:
        """Add the gradients of the best items, and of all items."""
        self.best.add_mean_gradient(rows, out)
        out += self.floor.to(out) @ rows

    def within(self, items: Tensor, n_items: int) -> TopTarget:
        """Return the target with the probabilities of some items, not renormalised."""
        return TopTarget(self.best.within(items, n_items), self.floor, len(items))

    def part(self, items: slice, n_items: int) -> TopTarget:
        """Return the target with the probabilities of a range of the items."""
        return TopTarget(self.best.part(items, n_items), self.floor, items.stop - items.start)

    def without(self, place: Tensor) -> Rest:
        """Return the other items among the k best; the floor of the item is subtracted."""
        best, _, mass = self.best.without(place)
        inside = (place >= 0).to(self.floor)
        assert isinstance(best, SparseTarget)
        rest = TopTarget(best, self.floor, self.n_items)
        return Rest(rest, self.floor * inside, mass + self.floor * (self.n_items - inside))
