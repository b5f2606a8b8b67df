"""Soft targets: a distribution over the items for each row, known by its answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from softrec.types.batch import Batch


class Target(ABC):
    """A distribution s over the N items for each row, known by its answers, never by its table.

    Two answers make a target; all else has a default in terms of them. A default is right for any
    target; one that knows better answers faster, or keeps digits where s_y is nearly 1.

    Example:
        >>> class Middle(Target):
        ...     def prob_of(self, items):
        ...         return (items == 1).float()
        ...     def mean_item(self, vectors):
        ...         return vectors[1:2]
        >>> Middle().within(torch.tensor([1, 4]), n_items=6).prob_of(torch.tensor([0, 1]))
        tensor([1., 0.])
    """

    @abstractmethod
    def prob_of(self, items: Tensor) -> Tensor:
        """Return s at one item a row, or at several: (P,) or (P, M) int64 -> the same shape."""

    @abstractmethod
    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return sum_i s_i v_i: (N, D) -> (P, D), or (1, D) when all rows have the same s."""

    def add_mean_gradient(self, rows: Tensor, out: Tensor) -> None:
        """Add the gradient of sum(mean_item(W) * rows) in W to `out` (N, D), in place.

        By autograd. Since `mean_item` is linear, the values it is asked at do not matter, and
        `out` itself can stand in for W.
        """
        with torch.enable_grad():
            stand_in = out.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.mean_item(stand_in), stand_in, rows)
        out += gradient.to_dense() if gradient.is_sparse else gradient

    def without(self, place: Tensor) -> Rest:
        """Return s without the item `place` (P,) of each row; -1 stands for none.

        By subtraction, with the rounding of s_y: what is below 8 units in its last place counts
        as 0.
        """
        prob = self.prob_of(place.clamp(min=0)).detach().masked_fill(place < 0, 0)
        return Rest(self, prob, _left(torch.ones_like(prob), prob))

    def within(self, items: Tensor, n_items: int) -> Target:
        """Return s over `items` (M,) alone, ascending, numbered 0 .. M-1, not renormalised.

        Whoever overrides it overrides `without`, too: what is left no longer sums to 1.
        """
        return _Within(self, items, n_items)

    def among(self, label: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return what s gives to the label (P,) and to items (P, M) of each row, but the hidden.

        Right up to one factor a row, by which losses divide.
        """
        return self.prob_of(label), self.prob_of(items).masked_fill(hidden, 0)


class Rest(NamedTuple):
    """A target without one item of each row, such as the label: s_i for all i but that one.

    What is subtracted is at most as large as `mass`, so that no difference cancels.
    """

    target: Target  # s, but for the item left out
    surplus: Tensor  # (P,) what `target` still gives to that item: to be subtracted
    mass: Tensor  # (P,) what the other items have in all


class ListedTarget(Target):
    """A few items a row. Over all items, losses read and write them in the block of logits."""

    @abstractmethod
    def listed(self) -> tuple[Tensor, Tensor]:
        """Return the items (P, k) and their probabilities (P, k), which add up to all of s."""


class LogitTarget(Target):
    """A softmax as large as the catalogue: a teacher's. Losses read it a block at a time."""

    @abstractmethod
    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the logits of some rows, divided by the temperature, to `out` (b, N)."""

    @abstractmethod
    def logits_of(self, items: Tensor) -> Tensor:
        """Return the logits, divided by the temperature, at items (P,) or (P, M)."""

    @abstractmethod
    def within(self, items: Tensor, n_items: int) -> LogitTarget:
        """Return the softmax over `items` (M,) alone, numbered 0 .. M-1."""

    def among(self, label: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the softmax over label (P,) and items (P, M) of each row, but the hidden."""
        logits = torch.cat([self.logits_of(label)[:, None], self.logits_of(items)], 1)
        hidden = torch.cat([torch.zeros_like(hidden[:, :1]), hidden], 1)
        probs = logits.masked_fill(hidden, -torch.inf).softmax(1)
        return probs[:, 0], probs[:, 1:]


class TargetSource(Protocol):
    """Fitted once, from data or from a trained model; makes the target of a batch.

    What it remembers as tensors are buffers of an `nn.Module`, so that it moves with the rest.
    """

    def __call__(self, batch: Batch) -> Target:
        """Return the soft target for the P predictions of `batch`."""
        ...


@dataclass(frozen=True)
class _Within(Target):
    """Any target over some of the items, from its two answers: the others have zero vectors."""

    target: Target
    items: Tensor  # (M,) int64, distinct
    n_items: int

    def prob_of(self, items: Tensor) -> Tensor:
        return self.target.prob_of(self.items[items])

    def mean_item(self, vectors: Tensor) -> Tensor:
        whole = vectors.new_zeros(self.n_items, vectors.shape[1])
        return self.target.mean_item(whole.index_copy(0, self.items, vectors))

    def without(self, place: Tensor) -> Rest:
        item = torch.where(place >= 0, self.items[place.clamp(min=0)], -1)
        target, surplus, _ = self.target.without(item)
        some = _Within(target, self.items, self.n_items)
        ones = torch.ones(len(self.items), 1, dtype=surplus.dtype, device=surplus.device)
        return Rest(some, surplus, _left(some.mean_item(ones)[:, 0], surplus))


def _left(total: Tensor, prob: Tensor) -> Tensor:
    """Return what is left of `total` beside `prob`, and 0 where that is only rounding."""
    left = total.detach() - prob
    return torch.where(left > 8 * torch.finfo(left.dtype).eps * total.detach(), left, 0)
