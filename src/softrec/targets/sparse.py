"""A target with a few items per row: neighbours, propagated labels, the top of a teacher."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

COLUMNS = 64  # items a row that are scattered at once, so that a large k needs no large copy


@dataclass(frozen=True)
class SparseTarget:
    """k items and their shares for each row; an item may be listed twice, its shares add.

    Formula: s_b = sum_k shares[b, k] e_{items[b, k]}; each row of shares sums to 1. Rows with
    fewer items are filled up with any item at share 0.

    Example:
        >>> import torch
        >>> near = SparseTarget(torch.tensor([[2, 0]]), torch.tensor([[0.7, 0.3]]))
        >>> near.prob_of(torch.tensor([2]))
        tensor([0.7000])
    """

    items: Tensor  # (P, k) int64
    shares: Tensor  # (P, k)

    def prob_of(self, items: Tensor) -> Tensor:
        """Return the share of one item a row, (P,)."""
        return (self.shares * (self.items == items[:, None])).sum(1)

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
