"""EASE: one ridge regression predicts every item from the items of the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.errors import DataError
from softrec.models.counted.sparse import interactions, recency_weights
from softrec.models.histories import prefixes
from softrec.models.registry import MODELS
from softrec.types import Batch, Events, Scorer, Scores

BYTES = 20  # for each pair of items: two tables in float64 and the stored one in float32
LARGEST = 10_000


@MODELS.named("ease")
class EASE(Scorer):
    r"""A ridge regression of every item on all others, for 10,000 items at most.

    $$B = I - P \, diag(P)^{-1}, \quad P = (X^T X + \lambda I)^{-1}, \qquad
    score_j = \sum_t r^{n - t} B_{h_t j}$$

    X is the matrix of users and items. B is dense: its memory grows with the square of the
    catalogue.

    Args:
        n_items: size N of the catalogue, 10,000 at most.
        l2: lambda, the L2 penalty.
        recency: r, weight of an item of the history relative to the item after it.

    Raises:
        DataError: if the catalogue is larger.

    Source: Steck, "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019.
    """

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {
        "l2": (50.0, 300.0),
        "recency": (0.5, 0.8, 1.0),
    }
    SCORING: ClassVar[tuple[str, ...]] = ("recency",)

    weights: Tensor  # (N, N) float32

    def __init__(self, n_items: int, *, l2: float = 200.0, recency: float = 0.8) -> None:
        super().__init__()
        if n_items > LARGEST:
            needed = BYTES * n_items**2 / 2**30
            raise DataError(
                f"ease needs {needed:,.1f} GiB for {n_items:,} items, and accepts at most "
                f"{LARGEST:,} items; choose item-knn or rp3beta, or clean the log with min-item"
            )
        self.n_items, self.l2, self.recency = n_items, l2, recency
        self.register_buffer("weights", torch.empty(0))

    def fit(self, events: Events) -> None:
        """Solve the regression."""
        users = interactions(events, self.n_items)
        pairs = torch.from_numpy((users.T @ users).toarray())
        pairs.diagonal().add_(self.l2)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(pairs))
        inverse /= -inverse.diagonal().clone()
        inverse.fill_diagonal_(0)
        self.weights = inverse.float()

    def forward(self, batch: Batch) -> _RowSums:
        """Return the weighted sums of rows of B."""
        histories = prefixes(batch, self.n_items, batch.history.shape[1])
        weights = recency_weights(histories, self.n_items, self.recency)
        return _RowSums(self.weights, histories.items.clamp(max=self.n_items - 1), weights)

    def similarities(self) -> Callable[[Tensor, Tensor], Scores]:
        """Return the weighted means of rows of B."""
        return lambda items, weights: _RowSums(self.weights, items, weights.float())


class _RowSums(Scores):
    """Weighted sums of the rows of a dense table."""

    def __init__(self, table: Tensor, items: Tensor, weights: Tensor) -> None:
        self.like, self.items, self.weights = table, items, weights
        self.n_items = len(table)

    tables = 2

    def __len__(self) -> int:
        return len(self.items)

    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the sums of some rows to `out` (b, N)."""
        items, weights = self.items[rows], self.weights[rows]
        return out.copy_(F.embedding_bag(items, self.like, per_sample_weights=weights, mode="sum"))
