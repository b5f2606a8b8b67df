"""Session-kNN: other items in the sequences that have items in common with the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from softrec.extras import optional
from softrec.models.counted.sparse import SparseScorer, interactions, recency_weights
from softrec.models.histories import prefixes
from softrec.models.registry import MODELS
from softrec.products import largest, owners, product_blocks
from softrec.types import Batch, Events, Scores

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "counting items that occur together")


@MODELS.named("session-knn")
class SessionKNN(SparseScorer):
    r"""Training sequences that are similar to the history vote for their items.

    $$sim_s = |s|^{-1/2} \sum_{i \in s} w_i, \qquad score_j = \sum_{s \ni j} sim_s$$

    with w_i the sum of r^{n - t} over the places t of i among the last items of the history, and
    the second sum over the k most similar sequences. For each item, only the `sample` most recent
    sequences with this item are used. A user's own sequence does not vote, because it is the
    history itself.

    Args:
        n_items: size N of the catalogue.
        k: the number of sequences that vote.
        sample: the number of sequences that are used for an item, the most recent by the time of
            their last event; without times, those with the highest numbers.
        last: how many of the last items of a history are used.
        recency: r, weight of an item of the history relative to the item after it.

    Source: Jannach and Ludewig, "When Recurrent Neural Networks Meet the Neighborhood for
    Session-Based Recommendation", RecSys 2017; a sample for each item as in VMIS-kNN (Kersbergen et
    al., "Serenade", SIGMOD 2022).
    """

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {
        "k": (100, 500),
        "recency": (0.5, 0.8, 1.0),
    }
    SCORING: ClassVar[tuple[str, ...]] = ("k", "recency", "last")

    offsets: Tensor  # (S + 1,) int64, the items of each sequence
    items: Tensor  # (total,) int32
    item_offsets: Tensor  # (N + 1,) int64, the sequences of each item
    sequences: Tensor  # (total,) int32
    lengths: Tensor  # (S,) float32

    def __init__(
        self,
        n_items: int,
        *,
        k: int = 100,
        sample: int = 500,
        last: int = 10,
        recency: float = 0.8,
    ) -> None:
        super().__init__(n_items)
        self.k, self.sample, self.last = k, sample, last
        self.recency = recency
        for name in ("offsets", "item_offsets"):
            self.register_buffer(name, torch.zeros(1, dtype=torch.int64))
        for name in ("items", "sequences"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int32))
        self.register_buffer("lengths", torch.empty(0))

    def fit(self, events: Events) -> None:
        """Store the sequences, and for each item the most recent sequences that have it."""
        self.count(events)
        whole = interactions(events, self.n_items)
        self.offsets = torch.from_numpy(whole.indptr.astype(np.int64))
        self.items = torch.from_numpy(whole.indices.astype(np.int32))
        self.lengths = torch.from_numpy(np.diff(whole.indptr).astype(np.float32))
        newest = _by_age(events)
        ranked = whole[newest].tocsc()  # the sequences of each item, the most recent first
        ranked.sort_indices()
        place = np.arange(ranked.nnz) - np.repeat(ranked.indptr[:-1], np.diff(ranked.indptr))
        recent = place < self.sample
        ends = np.concatenate([[0], np.cumsum(recent)])
        self.item_offsets = torch.from_numpy(ends[ranked.indptr].astype(np.int64))
        self.sequences = torch.from_numpy(newest[ranked.indices[recent]].astype(np.int32))

    def forward(self, batch: Batch) -> _Votes:
        """Return the votes for each prediction; they are counted one block of rows at a time."""
        histories = prefixes(batch, self.n_items, batch.history.shape[1])
        weights = recency_weights(histories, self.n_items, self.recency)
        columns = torch.arange(weights.shape[1], device=weights.device)
        early = columns < histories.lengths[:, None] - self.last
        weights = weights.masked_fill(early, 0)
        return _Votes(self, histories.items, weights, batch.prediction_user)


def _by_age(events: Events) -> np.ndarray:
    """Return the numbers of the sequences, the one with the latest last event first."""
    offsets = events.offsets.numpy()
    latest = np.arange(len(offsets) - 1, dtype=np.int64)
    if events.times is not None and len(events.times):
        last = events.times.numpy()[np.maximum(offsets[1:] - 1, 0)]
        latest = np.where(np.diff(offsets) > 0, last, np.iinfo(np.int64).min)
    return np.lexsort((np.arange(len(latest)), latest))[::-1].copy()


class _Votes(Scores):
    """The votes of similar sequences."""

    def __init__(self, scorer: SessionKNN, items: Tensor, weights: Tensor, user: Tensor) -> None:
        self.scorer, self.user = scorer, user
        self.n_items, self.like = scorer.n_items, scorer.lengths
        row, column = weights.nonzero(as_tuple=True)
        parts = weights[row, column], (row, items[row, column])
        self.histories = sparse.csr_matrix(_arrays(parts), (len(items), self.n_items))
        n_sequences = len(scorer.lengths)
        self.having = _matrix(scorer.item_offsets, scorer.sequences, n_sequences)
        self.whole = _matrix(scorer.offsets, scorer.items, self.n_items)

    def __len__(self) -> int:
        return len(self.user)

    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the votes of some rows to `out` (b, N)."""
        asked = self.histories[rows]
        for part in product_blocks(asked, self.having):
            similar = sparse.csr_matrix(asked[part] @ self.having)
            similar.data /= np.sqrt(self.scorer.lengths.cpu().numpy()[similar.indices])
            own = self.user[rows][part].cpu().numpy()
            similar.data[similar.indices == own[owners(similar)]] = 0
            similar.eliminate_zeros()
            voters = largest(similar, self.scorer.k)
            for some in product_blocks(voters, self.whole):
                votes = torch.from_numpy((voters[some] @ self.whole).toarray())
                out[part.start + some.start : part.start + some.stop] = votes
        return self.scorer.order_unscored(out)


def _arrays(parts: tuple[Tensor, tuple[Tensor, Tensor]]) -> tuple[np.ndarray, tuple[Any, Any]]:
    values, (row, column) = parts
    return values.cpu().numpy(), (row.cpu().numpy(), column.cpu().numpy())


def _matrix(offsets: Tensor, columns: Tensor, width: int) -> sparse.csr_matrix:
    """Return a sparse matrix with ones at the given places."""
    indices = columns.cpu().numpy()
    ones = np.ones(len(indices), dtype=np.float32)
    return sparse.csr_matrix((ones, indices, offsets.cpu().numpy()), (len(offsets) - 1, width))
