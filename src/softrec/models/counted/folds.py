"""What a counted model gives the items of a history, where a user's own events do not count."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from softrec.extras import optional
from softrec.models.counted.sparse import TableScorer, recency_weights, weighted_histories
from softrec.models.histories import Histories, prefixes
from softrec.products import largest, owners, product_blocks
from softrec.types import Batch, Events, Offset

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "counting items that occur together")


def last_items(batch: Batch, n_items: int, number: int) -> Histories:
    """Return the last items of the history of each prediction, on the CPU."""
    found = prefixes(batch, n_items, batch.history.shape[1])
    items, lengths = found.items.cpu(), found.lengths.cpu()
    if items.shape[1] <= number:
        return Histories(items, lengths)
    columns = (lengths[:, None] - number).clamp(min=0) + torch.arange(number)
    return Histories(items.gather(1, columns), lengths.clamp(max=number))


def shares(scorer: TableScorer, histories: Histories, items: int) -> sparse.csr_matrix:
    """Return the largest scores of each history, divided by the sum of all, (P, N).

    Args:
        scorer: a counted model with a table, fitted.
        histories: on the CPU.
        items: how many scores of a row are kept, at most.
    """
    weights = recency_weights(histories, scorer.n_items, scorer.recency).numpy()
    read = weighted_histories(histories.items.numpy(), weights, scorer.n_items)
    table, found = scorer.table, []
    for rows in product_blocks(read, table):
        block = sparse.csr_matrix(read[rows] @ table)
        total = np.asarray(block.sum(1)).ravel()
        block.data /= np.where(total > 0, total, 1)[owners(block)]
        found.append(largest(block, items))
    empty = sparse.csr_matrix((0, scorer.n_items), dtype=np.float32)
    return sparse.csr_matrix(sparse.vstack([empty, *found], format="csr"))


class Folds:
    """Users in folds: the users of a fold read the counts of all others.

    The counts of a log contain the pair that a training example asks for. If nobody else has this
    pair, it would give the label away.

    Args:
        make: returns a new scorer with a table, not yet fitted.
        number: how many folds; the fold of a user is its number modulo this. 0: all users read all
            counts.
        events: of the training part.
    """

    def __init__(self, make: Callable[[], TableScorer], number: int, events: Events) -> None:
        self.scorers: list[TableScorer] = []
        read = [events] if not number else (_without(events, i, number) for i in range(number))
        for some in read:
            scorer = make()
            scorer.fit(some)
            self.scorers.append(scorer)

    @property
    def n_items(self) -> int:
        """Return the size N of the catalogue."""
        return self.scorers[0].n_items

    def shares(self, histories: Histories, users: Tensor, items: int) -> sparse.csr_matrix:
        """Return the `shares` of each history, (P, N), from the counts of the other folds.

        Args:
            histories: of P predictions, on the CPU.
            users: (P,), whose histories they are.
            items: how many scores of a row are kept, at most.
        """
        part = (users % len(self.scorers)).cpu()
        order = part.argsort(stable=True)
        found = []
        for number, scorer in enumerate(self.scorers):
            rows = order[part[order] == number]
            some = Histories(histories.items[rows], histories.lengths[rows])
            found.append(shares(scorer, some, items))
        together = sparse.csr_matrix(sparse.vstack(found, format="csr"))
        return sparse.csr_matrix(together[order.argsort().numpy()])


def table_of(matrix: sparse.csr_matrix) -> Offset:
    """Return a sparse matrix (P, N) as tensors, with the items of a row in ascending order."""
    matrix = matrix.sorted_indices()
    parts = (matrix.indptr, np.int64), (matrix.indices, np.int64), (matrix.data, np.float32)
    return Offset(*(torch.from_numpy(part.astype(kind)) for part, kind in parts))


def _without(events: Events, part: int, parts: int) -> Events:
    """Return the events of all users but those whose number is `part` modulo `parts`."""
    lengths = events.offsets.diff()
    kept = torch.arange(len(lengths)) % parts != part
    rows = torch.repeat_interleave(kept, lengths)
    offsets = torch.cat([lengths.new_zeros(1), (lengths * kept).cumsum(0)])
    times = None if events.times is None else events.times[rows]
    return Events(offsets, events.items[rows], times)
