"""A target with a few items per row, such as propagated labels or a teacher's best items."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.blocks import blocks
from softrec.csr import csr
from softrec.types import ListedTarget, Rest

COLUMNS = 64  # items per row that are scattered at a time, so that a large k needs no large copy
LISTED = 2  # if more than N / 2 items are listed, a product is faster; measured on one core


@dataclass(frozen=True)
class SparseTarget(ListedTarget):
    """k items with their probabilities for each row; if an item occurs twice, they are added.

    Formula: s_b = sum_k probs[b, k] e_{items[b, k]}; each row of probs sums to 1. Rows with fewer
    items are filled up with any item and probability 0.

    Example:
        >>> near = SparseTarget(torch.tensor([[2, 0]]), torch.tensor([[0.7, 0.3]]))
        >>> near.prob_of(torch.tensor([2]))
        tensor([0.7000])
    """

    items: Tensor  # (P, k) int64
    probs: Tensor  # (P, k)

    def prob_of(self, items: Tensor) -> Tensor:
        """Return the probabilities of items (P,) or (P, M), with k x M comparisons per row."""
        if items.dim() == 1:
            return (self.probs * (self.items == items[:, None])).sum(1)
        found = torch.zeros(items.shape, dtype=self.probs.dtype, device=items.device)
        for item, prob in zip(self.items.unbind(1), self.probs.unbind(1), strict=True):
            found += prob[:, None] * (items == item[:, None])
        return found

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the weighted mean of k rows, (P, D); only these rows have a gradient."""
        return F.embedding_bag(
            self.items, vectors, per_sample_weights=self.probs.to(vectors), mode="sum"
        )

    def add_mean_gradient(self, rows: Tensor, out: Tensor) -> None:
        """Add each row, times the probabilities, to the gradients of its k items."""
        probs = self.probs.to(out)
        if _by_product(out, probs.numel()):
            out.addmm_(_transposed(self.items, probs, len(out)), rows.to(out))
            return
        for part in blocks(probs.shape[1], COLUMNS):
            scattered = probs[:, part, None] * rows[:, None]
            out.index_add_(0, self.items[:, part].flatten(), scattered.flatten(0, 1))

    def listed(self) -> tuple[Tensor, Tensor]:
        """Return items and probabilities, (P, k) each."""
        return self.items, self.probs

    def within(self, items: Tensor, n_items: int) -> SparseTarget:
        """Return the target with places among `items` (M,), ascending; other items have 0."""
        places = torch.searchsorted(items, self.items).clamp(max=len(items) - 1)
        found = items[places] == self.items
        return SparseTarget(places, self.probs * found)

    def part(self, items: slice, n_items: int) -> SparseTarget:
        """Return the target with places in a range of the items; other items have 0."""
        inside = (self.items >= items.start) & (self.items < items.stop)
        places = (self.items - items.start).clamp(0, items.stop - items.start - 1)
        return SparseTarget(places, self.probs * inside)

    def without(self, place: Tensor) -> Rest:
        """Return the same list with 0 for the item left out."""
        kept = self.probs.masked_fill(self.items == place[:, None], 0)
        return Rest(SparseTarget(self.items, kept), torch.zeros_like(kept[:, 0]), kept.sum(1))


def _by_product(out: Tensor, listed: int) -> bool:
    """Return whether S^T rows is faster as a sparse matrix product than item by item.

    The product copies no row, but it sorts the listed items first and reads all items. For a bias,
    with one column, it is never worth it.
    """
    if out.shape[1] == 1:
        return False
    native = out.device.type == "cpu" and out.dtype in (torch.float32, torch.float64)
    return native and torch.backends.mkl.is_available() and listed * LISTED >= len(out)


def _transposed(items: Tensor, probs: Tensor, n_items: int) -> Tensor:
    """Return S^T, (N, P): the rows that list an item, with the probabilities."""
    size = items.flatten().bincount(minlength=n_items)
    if len(size) > n_items:  # the product would write elsewhere
        raise IndexError(f"items must be in 0 .. {n_items - 1}, got {len(size) - 1}")
    order = items.flatten().int().argsort()  # half the digits of int64 to sort by
    begin = torch.zeros(n_items + 1, dtype=torch.int64)
    torch.cumsum(size, 0, out=begin[1:])
    rows = order // items.shape[1]
    return csr(begin, rows, probs.flatten()[order], (n_items, len(items)))
