"""Soft targets: a distribution over the items for each row, defined by two methods."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from softrec.types.batch import Batch


class Target(ABC):
    """A distribution s over the N items for each row, defined by two methods and not by a table.

    A subclass must have `prob_of` and `mean_item`. All other methods have defaults that use these
    two and are correct for every target. A subclass may override them to be faster, or more
    accurate where s_y is close to 1.

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
        """Return s_i for one item per row, or several: (P,) or (P, M) int64 -> the same shape."""

    @abstractmethod
    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return sum_i s_i v_i: (N, D) -> (P, D), or (1, D) when all rows have the same s."""

    def add_mean_gradient(self, rows: Tensor, out: Tensor) -> None:
        """Add the gradient of sum(mean_item(W) * rows) in W to `out` (N, D), in place.

        The default uses autograd. Since `mean_item` is linear, its gradient does not depend on the
        values of W, and `out` itself can be used in place of W.
        """
        with torch.enable_grad():
            stand_in = out.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(self.mean_item(stand_in), stand_in, rows)
        out += gradient.to_dense() if gradient.is_sparse else gradient

    def without(self, place: Tensor) -> Rest:
        """Return s without the item `place` (P,) of each row; -1 means that no item is left out.

        The default subtracts, with the rounding error of s_y: a remaining probability below 8 units
        in the last place of s_y counts as 0.
        """
        prob = self.prob_of(place.clamp(min=0)).detach().masked_fill(place < 0, 0)
        return Rest(self, prob, _left(torch.ones_like(prob), prob))

    def within(self, items: Tensor, n_items: int) -> Target:
        """Return s restricted to `items` (M,), ascending, numbered 0 .. M-1, not renormalised.

        A subclass that overrides it must override `without`, too, because the restricted target no
        longer sums to 1.
        """
        return _Within(self, items, n_items)

    def part(self, items: slice, n_items: int) -> Target:
        """Return s restricted to a range of the items, numbered from 0, not renormalised.

        Raises:
            ValueError: if the target has no such part, as most have none.
        """
        raise ValueError(
            f"the target {type(self).__name__} does not answer for a part of the catalogue; train "
            "without shards, or choose uniform, pop+ or a target of listed items"
        )

    def among(self, label: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return s of the label (P,) and of items (P, M) of each row, 0 where `hidden` is true.

        Each row may have a factor of its own, because losses renormalise.
        """
        return self.prob_of(label), self.prob_of(items).masked_fill(hidden, 0)


class Rest(NamedTuple):
    """A target without one item of each row, such as the label: s_i for all other items i.

    `surplus` is subtracted, and at most as large as `mass`, so that no difference cancels.
    """

    target: Target  # equal to s for the other items
    surplus: Tensor  # (P,) the probability that `target` has at the item left out; to be subtracted
    mass: Tensor  # (P,) the sum of s over the other items


class ListedTarget(Target):
    """A target on a few items per row. Losses over all items read their logits from the block."""

    @abstractmethod
    def listed(self) -> tuple[Tensor, Tensor]:
        """Return the items (P, k) and their probabilities (P, k), which together are all of s."""


class LogitTarget(Target):
    """A softmax over the whole catalogue, such as a teacher's. Losses read it in blocks of rows."""

    @abstractmethod
    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the logits of some rows, divided by the temperature, to `out` (b, N)."""

    @abstractmethod
    def logits_of(self, items: Tensor) -> Tensor:
        """Return the logits, divided by the temperature, at items (P,) or (P, M)."""

    @abstractmethod
    def within(self, items: Tensor, n_items: int) -> LogitTarget:
        """Return the softmax over `items` (M,) only, numbered 0 .. M-1."""

    def among(self, label: Tensor, items: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the softmax over label (P,) and items (P, M) of each row, 0 where hidden."""
        logits = torch.cat([self.logits_of(label)[:, None], self.logits_of(items)], 1)
        hidden = torch.cat([torch.zeros_like(hidden[:, :1]), hidden], 1)
        probs = logits.masked_fill(hidden, -torch.inf).softmax(1)
        return probs[:, 0], probs[:, 1:]


class MassSource(Protocol):
    """Returns the weight of the soft target of each example of a batch."""

    epoch: int
    """The epoch, counted from 0; the training sets it before each step."""

    def __call__(self, batch: Batch) -> Tensor:
        """Return the weights for the P predictions of `batch`, (P,), in [0, 1]."""
        ...


class TargetSource(Protocol):
    """Fitted once, on data or on a trained model; makes the target of each batch.

    If it stores tensors, it is an `nn.Module` with these as buffers, so that they move to the
    device of the objective.
    """

    def __call__(self, batch: Batch) -> Target:
        """Return the soft target for the P predictions of `batch`."""
        ...


@runtime_checkable
class Following(Protocol):
    """A source whose targets follow the model that is trained, step by step."""

    def after_step(self) -> None:
        """Read the model after a step of the optimiser."""
        ...


@dataclass(frozen=True)
class _Within(Target):
    """A target restricted to some items, by its two methods: the other items have zero vectors."""

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
    """Return `total` - `prob`, and 0 where the difference is only rounding."""
    left = total.detach() - prob
    return torch.where(left > 8 * torch.finfo(left.dtype).eps * total.detach(), left, 0)
