"""Sparse tables of items x items, summed over histories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from softrec.extras import optional
from softrec.limits import LIMITS
from softrec.models.histories import Histories, prefixes
from softrec.products import product_blocks
from softrec.types import Batch, Events, Scorer, Scores

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "counting items that occur together")


def interactions(events: Events, n_items: int) -> sparse.csr_matrix:
    """Return the matrix of users and items, (U, N), with 1 if a user has an item."""
    users, items = events.users.numpy(), events.items.numpy()
    found = sparse.csr_matrix(
        (np.ones(len(items)), (users, items)), (len(events.offsets) - 1, n_items)
    )
    found.sum_duplicates()
    found.data[:] = 1
    return found


class SparseScorer(Scorer):
    r"""A scorer with scores above 0 for some items; all others follow, popular ones first.

    $$score_j = - 2^{-20} / (1 + n_j)$$

    for an item j without a score, which has n_j events in the training part. It is so small that a
    softmax of the scores hardly changes.
    """

    unscored: Tensor  # (N,) float32; empty in runs that were counted before there was one

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.n_items = n_items
        self.register_buffer("unscored", torch.empty(0))

    def count(self, events: Events) -> None:
        """Count the events of each item."""
        counts = events.items.bincount(minlength=self.n_items).double()
        self.unscored = (-(2.0**-20) / (1 + counts)).float()

    def order_unscored(self, out: Tensor) -> Tensor:
        """Write the scores of items that have none in `out` (b, N)."""
        if not len(self.unscored):
            return out
        return torch.where(out == 0, self.unscored.to(out.dtype), out, out=out)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load buffers; `unscored` may be missing."""
        whole = {"unscored": torch.empty(0), **state_dict}
        return super().load_state_dict(whole, strict, assign)


class TableScorer(SparseScorer):
    r"""A table S of items x items: the score is a weighted sum of its rows over the history.

    $$score_j = \sum_t r^{n - t} S_{h_t j} + b_j$$

    for a history h_1 .. h_n, with recency r. A subclass computes S in `fit` and passes it to
    `keep`, with the events.

    Attributes:
        sums: whether its scores are these sums, so that its table can stand for it in a prior.
    """

    sums: ClassVar[bool] = True
    offsets: Tensor  # (N + 1,) int64
    columns: Tensor  # (nnz,) int32
    values: Tensor  # (nnz,) float32

    def __init__(self, n_items: int, recency: float) -> None:
        super().__init__(n_items)
        self.recency = recency
        self.register_buffer("offsets", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("columns", torch.empty(0, dtype=torch.int32))
        self.register_buffer("values", torch.empty(0))

    def keep(self, table: sparse.csr_matrix, events: Events) -> None:
        """Store the table (N, N), computed from `events`."""
        self.count(events)
        self.offsets = torch.from_numpy(table.indptr.astype(np.int64))
        self.columns = torch.from_numpy(table.indices.astype(np.int32))
        self.values = torch.from_numpy(table.data.astype(np.float32))

    @property
    def table(self) -> sparse.csr_matrix:
        """Return the table (N, N); it shares the memory of buffers that NumPy can read."""
        half = self.values.dtype in (torch.bfloat16, torch.float16)  # of a model in 16 bits
        values = self.values.float() if half else self.values
        parts = (part.cpu().numpy() for part in (values, self.columns, self.offsets))
        return sparse.csr_matrix(tuple(parts), (self.n_items, self.n_items), copy=False)

    def forward(self, batch: Batch) -> Scores:
        """Return the weighted sums of rows of the table."""
        return TableScores(self, *self.read(batch))

    def read(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the history of each prediction, (P, L), and the weights of its items."""
        histories = prefixes(batch, self.n_items, batch.history.shape[1])
        return histories.items, recency_weights(histories, self.n_items, self.recency)

    def similarities(self) -> Callable[[Tensor, Tensor], Scores]:
        """Return the weighted means of rows of the table; of pairs that it lacks, -inf."""
        return lambda items, weights: Similarities(self, items, weights)


def recency_weights(histories: Histories, n_items: int, recency: float) -> Tensor:
    """Return recency ** (steps before the last item) at items and 0 at padding, (P, L) float32.

    Example:
        >>> histories = Histories(torch.tensor([[4, 2, 9]]), torch.tensor([2]))
        >>> recency_weights(histories, 9, 0.5)
        tensor([[0.5000, 1.0000, 0.0000]])
    """
    columns = torch.arange(histories.items.shape[1], device=histories.items.device)
    steps = (histories.lengths[:, None] - 1 - columns).clamp(min=0)
    weights = torch.full((), recency, dtype=torch.float32, device=steps.device) ** steps
    return weights.masked_fill(histories.items == n_items, 0)


def weighted_histories(items: np.ndarray, weights: np.ndarray, n_items: int) -> sparse.csr_matrix:
    """Return histories (P, L) as a matrix (P, N) of their weights; items of weight 0 are left out.

    Example:
        >>> weighted_histories(np.array([[1, 0]]), np.array([[0.5, 1.0]]), 3).toarray()
        array([[1. , 0.5, 0. ]])
    """
    counts = weights != 0
    begin = np.concatenate([[0], counts.sum(1).cumsum()])
    return sparse.csr_matrix((weights[counts], items[counts], begin), (len(weights), n_items))


class TableScores(Scores):
    """Weighted sums of the rows of a sparse table.

    Args:
        scorer: the scorer, which has the table.
        items: (P, L) int64 histories.
        weights: (P, L), 0 where an item does not count.
    """

    added: Tensor | None = None
    """Scores that all rows have, (N,)."""

    def __init__(self, scorer: TableScorer, items: Tensor, weights: Tensor) -> None:
        self.scorer, self.weights = scorer, weights
        self.items = items.cpu().numpy()
        self.n_items, self.like = scorer.n_items, scorer.values
        table, cells = scorer.table, self.n_items**2
        lengths = np.append(np.diff(table.indptr), 0)  # the row of padding is empty
        dense = (
            lengths[self.items].sum() > cells and cells * self.like.element_size() <= LIMITS.scores
        )
        self.table = table.toarray() if dense else table  # no indices to follow

    def __len__(self) -> int:
        return len(self.items)

    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the sums of some rows to `out` (b, N); SciPy adds them, on the CPU."""
        weights = self.weights[rows].cpu().numpy()
        histories = weighted_histories(self.items[rows], weights, self.n_items)
        if isinstance(self.table, np.ndarray):
            out.copy_(torch.from_numpy(histories @ self.table))
        else:
            for some in product_blocks(histories, self.table):
                sums = sparse.csr_matrix(histories[some] @ self.table)
                out[some] = torch.from_numpy(sums.toarray()).to(out)
        self.scorer.order_unscored(out)
        return out if self.added is None else out.add_(self.added)


class Similarities(TableScores):
    """Weighted means of the rows of a table, without the order of items that have no score."""

    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the means of some rows to `out` (b, N)."""
        super().fill(rows, out)
        return out.masked_fill_(out <= 0, -torch.inf)
