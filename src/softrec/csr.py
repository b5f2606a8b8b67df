"""Sparse matrices by rows, whose columns may be in any order and stand in a row twice."""

from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor


def csr(begin: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a sparse CSR tensor; values of the same place add in products.

    Args:
        begin: (rows + 1,) int64, where each row begins.
        columns: (n,) int64, below the second number of `shape`: not checked, and a product reads
            and writes wherever they say.
        values: (n,).
        shape: (rows, columns).

    Example:
        >>> begin, columns = torch.tensor([0, 2]), torch.tensor([1, 1])
        >>> matrix = csr(begin, columns, torch.tensor([2.0, 3.0]), (1, 2))
        >>> matrix @ torch.tensor([[7.0], [10.0]])
        tensor([[50.]])
    """
    _announce()
    return torch.sparse_csr_tensor(begin, columns, values, shape, check_invariants=False)


@cache
def _announce() -> None:
    """Let PyTorch say once, unheard, that its CSR tensors are a beta feature."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([]).long(), torch.zeros(0))
