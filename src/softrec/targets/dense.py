"""A target given as a table: the definition with which the tests compare all others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from softrec.types import Rest, Target


@dataclass(frozen=True)
class DenseTarget(Target):
    """Any distribution, as a P x N table. For tests and very small catalogues only.

    Example:
        >>> import torch
        >>> DenseTarget(torch.tensor([[0.25, 0.75]])).prob_of(torch.tensor([1]))
        tensor([0.7500])
    """

    probs: Tensor  # (P, N)

    def prob_of(self, items: Tensor) -> Tensor:
        """Return the entries at items (P,) or (P, M)."""
        return self.probs.gather(1, items.view(len(items), -1)).view(items.shape)

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the product of the table with the vectors, (P, D)."""
        return self.probs.to(vectors) @ vectors

    def within(self, items: Tensor, n_items: int) -> DenseTarget:
        """Return the target with only the columns of some items."""
        return DenseTarget(self.probs[:, items])

    def without(self, place: Tensor) -> Rest:
        """Return the table with 0 at the item left out."""
        column = place.clamp(min=0)[:, None]
        own = self.probs.gather(1, column).masked_fill(place[:, None] >= 0, 0)
        kept = self.probs.scatter(1, column, own)
        return Rest(DenseTarget(kept), torch.zeros_like(kept[:, 0]), kept.sum(1))
