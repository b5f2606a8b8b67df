"""A Markov chain: the items that followed the last item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from softrec.extras import optional
from softrec.models.counted.sparse import TableScorer, TableScores
from softrec.models.registry import MODELS
from softrec.types import Batch, Events

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "counting items that occur together")


@MODELS.named("markov")
class Markov(TableScorer):
    r"""The fraction of each item among the items that followed the last one.

    $$S_{ij} = \frac{c_{ij}}{\sum_k c_{ik}}, \qquad
    score_j = \sum_t r^{n - t} S_{h_t j} + \lambda n_j / \sum_k n_k$$

    A pair of items at distance d in a sequence adds 1/d to c_ij, for d up to `steps`. With r = 0
    only the last item of the history counts.

    Args:
        n_items: size N of the catalogue.
        steps: the largest distance of two items of a pair.
        recency: r, weight of an item of the history relative to the item after it.
        smoothing: lambda, the weight of the popularity that is added; with 0, items that never
            followed have the score 0.

    Example:
        >>> model = Markov(3)
        >>> model.fit(Events(torch.tensor([0, 3, 5]), torch.tensor([0, 1, 2, 1, 0])))
        >>> model.offsets.tolist(), model.values.tolist()
        ([0, 1, 3, 3], [1.0, 0.5, 0.5])

    Source: with several steps, the sequential rules of Ludewig and Jannach, "Evaluation of
    Session-Based Recommendation Algorithms", UMUAI 2018.
    """

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {
        "steps": (1, 3, 10),
        "recency": (0.2, 0.5, 0.8),
    }
    SCORING: ClassVar[tuple[str, ...]] = ("recency", "smoothing")

    shares: Tensor  # (N,) float32

    def __init__(
        self, n_items: int, *, steps: int = 1, recency: float = 0.0, smoothing: float = 0.0
    ) -> None:
        super().__init__(n_items, recency)
        self.steps, self.smoothing = steps, smoothing
        self.register_buffer("shares", torch.empty(0))

    def fit(self, events: Events) -> None:
        """Count pairs of items that follow each other."""
        users, items = events.users.numpy(), events.items.numpy()
        shape = (self.n_items, self.n_items)
        counts = sparse.csr_matrix(shape)
        for apart in range(1, self.steps + 1):
            same = users[apart:] == users[:-apart]
            pairs = items[:-apart][same], items[apart:][same]
            counts = counts + sparse.csr_matrix((np.full(len(pairs[0]), 1 / apart), pairs), shape)
        totals = np.asarray(counts.sum(1)).ravel()
        table = sparse.diags(1 / np.where(totals > 0, totals, 1)) @ counts
        self.keep(sparse.csr_matrix(table), events)
        popular = events.items.bincount(minlength=self.n_items).double()
        self.shares = (popular / popular.sum().clamp(min=1)).float()

    def forward(self, batch: Batch) -> TableScores:
        """Return the sums of rows of the table, with the popularity added."""
        scores = TableScores(self, *self.read(batch))
        scores.added = self.smoothing * self.shares if self.smoothing else None
        return scores
