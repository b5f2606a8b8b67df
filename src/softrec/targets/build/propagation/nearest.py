"""Label propagation among the nearest neighbours of each example, in linear memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch

from softrec.extras import optional, require
from softrec.limits import LIMITS
from softrec.targets.build.propagation.diffusion import (
    Diffusion,
    effective_rounds,
    row_blocks,
)

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "propagation")


def nearest_transition(
    vectors: np.ndarray, tau: float, neighbours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the m nearest others of each example, (n, m) int32, and their weights, rows sum to 1.

    The search is exact for up to `limits.exact_search` examples. For more, an inverted file with
    about 4 sqrt(n) lists is used, of which 16 are searched. Distances are computed again from
    differences, because computed from products, small distances are inaccurate.
    """
    faiss = require("faiss", "the search for neighbours")
    n, dim = vectors.shape
    if n > LIMITS.exact_search:
        lists = int(4 * n**0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(dim), dim, lists)
        index.cp.min_points_per_centroid = 1
        index.train(vectors[:: max(1, n // (64 * lists))])  # pyright: ignore[reportCallIssue]
        index.nprobe = 16
    else:
        index = faiss.IndexFlatL2(dim)
    index.add(vectors)  # pyright: ignore[reportCallIssue]
    near = np.empty((n, neighbours), dtype=np.int32)
    weights = np.empty((n, neighbours), dtype=np.float32)
    for rows in row_blocks(n, neighbours * dim):
        x = vectors[rows]
        _, found = index.search(x, neighbours + 1)  # pyright: ignore[reportCallIssue]
        selves = np.arange(rows.start, rows.stop)[:, None]
        # The example itself is moved to the end and removed; else the last neighbour is removed.
        order = np.argsort(found == selves, axis=1, kind="stable")[:, :neighbours]
        others = np.take_along_axis(found, order, axis=1)
        distance = np.linalg.norm(vectors[others] - x[:, None], axis=2).astype(np.float64)
        distance[others < 0] = np.inf  # the searched lists had too few examples
        alone = np.isinf(distance).all(1)
        others[alone, 0], distance[alone, 0] = selves[alone, 0], 0
        near[rows] = np.where(others < 0, selves, others)
        distance -= distance.min(1, keepdims=True)
        part = np.exp(distance / -tau)
        weights[rows] = part / part.sum(1, keepdims=True)
    return near, weights


def spread_rows(
    near: np.ndarray, weights: np.ndarray, columns: np.ndarray, n_labels: int, diffusion: Diffusion
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return columns and probabilities of the largest of each row, and the label's probability.

    One round is one product of sparse matrices, [a w | (1 - a) E] [q; I], where E is the one-hot
    matrix of the labels.
    """
    n, m = near.shape
    a = diffusion.damping
    step = sparse.csr_array(
        (
            np.concatenate([a * weights, np.full((n, 1), 1 - a)], 1, dtype=np.float32).ravel(),
            np.concatenate([near, n + columns[:, None]], 1, dtype=np.int32).ravel(),
            np.arange(0, n * (m + 1) + 1, m + 1),
        ),
        shape=(n, n + n_labels),
    )
    state = _Rows(n, 1, n_labels)
    state.kept[:, 0], state.probs[:, 0] = columns, 1
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for _ in range(effective_rounds(diffusion.rounds, a)):
            reach = min(n_labels, m * state.width + 1)
            fresh = _Rows(n, min(diffusion.keep, reach), n_labels)
            table = state.table()

            def work(rows: slice, table: sparse.csr_array = table, fresh: _Rows = fresh) -> None:
                fresh.fill(rows, step[rows] @ table)

            list(threads.map(work, row_blocks(n, reach)))
            state = fresh
    label_prob = np.empty(n, dtype=np.float32)
    for rows in row_blocks(n, state.width):
        own = state.kept[rows] == columns[rows, None]
        label_prob[rows] = (state.probs[rows] * own).sum(1)
    return state.kept, state.probs, label_prob


class _Rows:
    """k columns and probabilities of each of n rows, above the identity, as one CSR matrix."""

    def __init__(self, n: int, width: int, n_labels: int) -> None:
        self.width, self.n_labels = width, n_labels
        cells = n * width
        self._indices = np.empty(cells + n_labels, dtype=np.int32)
        self._data = np.empty(cells + n_labels, dtype=np.float32)
        self._indices[cells:], self._data[cells:] = np.arange(n_labels), 1
        self.kept = self._indices[:cells].reshape(n, width)
        self.probs = self._data[:cells].reshape(n, width)

    def table(self) -> sparse.csr_array:
        n = len(self.kept)
        cells = n * self.width
        starts = [np.arange(0, cells, self.width), np.arange(cells, cells + self.n_labels + 1)]
        return sparse.csr_array(
            (self._data, self._indices, np.concatenate(starts)),
            shape=(n + self.n_labels, self.n_labels),
        )

    def fill(self, rows: slice, product: sparse.csr_array) -> None:
        """Store the largest probabilities of some rows, largest first."""
        counts = np.diff(product.indptr)
        widest = int(counts.max())
        there = np.arange(widest) < counts[:, None]
        probs = np.zeros(there.shape, dtype=np.float32)
        kept = np.zeros(there.shape, dtype=np.int32)
        probs[there], kept[there] = product.data, product.indices
        width = min(self.width, widest)
        best, places = torch.topk(torch.from_numpy(probs), width)
        self.probs[rows, :width] = best.numpy()
        self.kept[rows, :width] = np.take_along_axis(kept, places.numpy(), axis=1)
        self.probs[rows, width:], self.kept[rows, width:] = 0, 0
