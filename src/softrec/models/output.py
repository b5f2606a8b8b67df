"""The output layer: the vectors that user vectors are compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from softrec.types import ItemVectors


class ItemTable(nn.Embedding):
    """Item vectors to look histories up in, with one more row, all zero, for padding."""

    def __init__(self, n_items: int, dim: int) -> None:
        super().__init__(n_items + 1, dim, padding_idx=n_items)

    def zero_padding(self) -> None:
        """Set the padding row back to zero, after an initialisation has filled all rows."""
        with torch.no_grad():
            self.weight[-1].zero_()


class OutputLayer(nn.Module):
    """Item vectors of their own, or those of the input table; with or without a bias.

    Args:
        table: the input table, for its size, and its weights where tied.
        dim: width D of the user vectors; a tied layer has the width of the table.
        tied: use the rows of the input table.
        bias: add one number per item.
    """

    def __init__(self, table: ItemTable, dim: int, *, tied: bool, bias: bool) -> None:
        super().__init__()
        n_items = table.num_embeddings - 1
        if tied and dim != table.embedding_dim:
            raise ValueError(
                f"a tied output layer needs user vectors of width "
                f"{table.embedding_dim}, got {dim}; set tied=False"
            )
        self.vectors = None if tied else nn.Parameter(torch.empty(n_items, dim))
        self.bias = nn.Parameter(torch.zeros(n_items)) if bias else None
        if self.vectors is not None:
            nn.init.xavier_normal_(self.vectors)

    def forward(self, table: ItemTable) -> ItemVectors:
        """Return the vectors (N, D) and the bias (N,) or None."""
        if self.vectors is not None:
            return ItemVectors(self.vectors, self.bias)
        vectors: Any = _AllButLast.apply(table.weight) if table.sparse else table.weight[:-1]
        return ItemVectors(vectors, self.bias)


class _AllButLast(torch.autograd.Function):
    """`table[:-1]` whose gradient stays sparse: that of a slice is always written out."""

    @staticmethod
    def forward(ctx: Any, table: Tensor) -> Tensor:
        return table[:-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        rows, *dims = gradient.shape
        if not gradient.is_sparse:
            return torch.cat([gradient, gradient.new_zeros(1, *dims)])
        indices, values = gradient._indices(), gradient._values()
        longer = torch.sparse_coo_tensor(indices, values, (rows + 1, *dims), check_invariants=False)
        return longer._coalesced_(gradient.is_coalesced())
