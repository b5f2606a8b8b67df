"""A target with a few items per row: neighbours, propagated labels, the top of a teacher."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

COLUMNS = 64  # items a row that are scattered at once, so that a large k needs no large copy


@dataclass(frozen=True)
class SparseTarget:
    """k items and their shares for each row; an item may be listed twice, its shares add.

    Formula: s_b = sum_k shares[b, k] e_{items[b, k]}; each row of shares sums to 1. Rows with
    fewer items are filled up with any item at share 0.

    Example:
        >>> near = SparseTarget(torch.tensor([[2, 0]]), torch.tensor([[0.7, 0.3]]))
        >>> near.prob_of(torch.tensor([2]))
        tensor([0.7000])
    """

    items: Tensor  # (P, k) int64
    shares: Tensor  # (P, k)

    def prob_of(self, items: Tensor) -> Tensor:
        """Return the shares of items (P,) or (P, M): k x M comparisons a row."""
        if items.dim() == 1:
            return (self.shares * (self.items == items[:, None])).sum(1)
        found = torch.zeros(items.shape, dtype=self.shares.dtype, device=items.device)
        for item, share in zip(self.items.unbind(1), self.shares.unbind(1), strict=True):
            found += share[:, None] * (items == item[:, None])
        return found

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the weighted mean of k rows, (P, D); the gradient touches only these rows."""
        return F.embedding_bag(
            self.items, vectors, per_sample_weights=self.shares.to(vectors), mode="sum"
        )

    def spread(self, rows: Tensor, out: Tensor) -> None:
        """Scatter each row to its k items: the way back of `mean_item`."""
        shares = self.shares.to(out)
        for some in range(0, shares.shape[1], COLUMNS):
            part = slice(some, some + COLUMNS)
            scattered = shares[:, part, None] * rows[:, None]
            out.index_add_(0, self.items[:, part].flatten(), scattered.flatten(0, 1))

    def within(self, items: Tensor) -> SparseTarget:
        """Return the places among `items` (M,), ascending; what is not among them has share 0."""
        places = torch.searchsorted(items, self.items).clamp(max=len(items) - 1)
        found = items[places] == self.items
        return SparseTarget(places, self.shares * found)
