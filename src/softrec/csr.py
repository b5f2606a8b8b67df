"""Sparse matrices by rows; the columns of a row may be in any order and occur several times."""

from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor


def csr(begin: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a sparse CSR tensor; in products, values at the same place are added.

    Args:
        begin: (rows + 1,) int64, where each row begins.
        columns: (n,) int64, less than the number of columns of `shape`. This is not checked, and a
            product reads and writes memory at these places.
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
    """Suppress the warning that CSR tensors are a beta feature, which PyTorch gives once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.tensor([]).long(), torch.zeros(0))
