"""Products of sparse matrices of which only the largest numbers of each row are kept.

SciPy computes them one block of rows at a time, so that a million items need no table of items x
items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from softrec.blocks import blocks_of_parts
from softrec.extras import optional
from softrec.limits import LIMITS

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "counting items that occur together")

Weigh = Callable[[slice, "sparse.csr_matrix"], np.ndarray]


def strongest(
    left: sparse.csr_matrix, right: sparse.csr_matrix, k: int, weigh: Weigh
) -> sparse.csr_matrix:
    """Return the k largest numbers of each row of a weighted product (R, N), without the diagonal.

    Args:
        left: (R, S).
        right: (S, N).
        k: how many numbers of a row are kept; zeros are never kept.
        weigh: returns the weighted numbers of a block, from its rows and its product.
    """
    parts = []
    for rows in product_blocks(left, right):
        block = sparse.csr_matrix(left[rows] @ right)
        block.data = weigh(rows, block)
        owner = owners(block) + rows.start
        block.data[block.indices == owner] = 0
        block.eliminate_zeros()
        parts.append(largest(block, k))
    return sparse.csr_matrix(sparse.vstack(parts, format="csr"))


def product_blocks(left: sparse.csr_matrix, right: sparse.csr_matrix) -> Iterator[slice]:
    """Return blocks of rows whose product has at most `limits.products` terms, or one row."""
    terms = np.diff(right.indptr).astype(np.int64)[left.indices]
    ends = np.concatenate([[0], np.cumsum(terms)])[left.indptr[1:]]  # terms up to each row
    return blocks_of_parts(ends, LIMITS.products)


def largest(matrix: sparse.csr_matrix, k: int) -> sparse.csr_matrix:
    """Return the k largest numbers of each row, float32; of equal ones those of lower columns.

    Example:
        >>> largest(sparse.csr_matrix([[2, 3, 2, 2]]), 2).toarray()
        array([[2., 3., 0., 0.]], dtype=float32)
    """
    matrix = matrix.sorted_indices()
    lengths = np.diff(matrix.indptr)
    kept = np.repeat(lengths <= k, lengths)
    crowded = np.flatnonzero(lengths > k)
    crowded = crowded[np.argsort(lengths[crowded])]
    while len(
        crowded
    ):  # rows sorted by length, the longest first, padded to the longest in a block
        width = int(lengths[crowded[-1]])
        some, crowded = np.split(
            crowded, [max(0, len(crowded) - max(1, LIMITS.products // width))]
        )[::-1]
        places = matrix.indptr[some][:, None] + np.arange(width)
        real = np.arange(width) < lengths[some][:, None]
        values = matrix.data.take(places, mode="clip").astype(np.float32)
        values[~real] = -np.inf
        least = torch.from_numpy(values).topk(k, dim=1, sorted=False).values.numpy().min(1)
        above, equal = values > least[:, None], values == least[:, None]
        room = k - above.sum(1)
        best = above | (equal & (equal.cumsum(1) <= room[:, None]))
        kept[places[best]] = True
    ends = np.concatenate([[0], np.cumsum(kept)])
    parts = matrix.data[kept].astype(np.float32), matrix.indices[kept], ends[matrix.indptr]
    return sparse.csr_matrix(parts, matrix.shape)


def owners(matrix: sparse.csr_matrix) -> np.ndarray:
    """Return the row of each number of a matrix."""
    return np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
