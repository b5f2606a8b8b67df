"""A prior on the logits: what is counted about the items of the history, added to every score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from softrec.extras import optional
from softrec.models.counted.sparse import (
    TableScorer,
    largest,
    owners,
    product_blocks,
    recency_weights,
    weighted_histories,
)
from softrec.models.histories import Histories, prefixes
from softrec.types import Batch, Encoder, Events, ItemVectors, Offset, Vectors

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "a prior of items that occur together")


class Prior(nn.Module):
    r"""Numbers for the items that occur together with those of the history.

    $$o_i = g \log(1 + q_i / \epsilon), \qquad q_i = \frac{score_i}{\sum_j score_j}$$

    with the scores of a counted model for the last items of the history. Up to a constant of the
    row this is g log(q_i + epsilon), so that a softmax of z + o is proportional to exp(z) (q +
    epsilon)^g. Items without a score have o = 0, and nothing is stored for them.

    The counts contain each user's own events. In training an item that only this user has would
    then be marked by its label, and the model would learn to trust the prior too much. So users are
    divided into folds, and in training each fold reads the counts of all the others.

    Args:
        make: returns a new scorer with a table, not yet fitted.
        strength: g.
        floor: epsilon, the probability of an item that never occurs together with the history.
        last: how many of the last items of a history are read.
        items: how many items of a row have a number, at most: those with the largest.
        folds: of the users; 0 leaves the prior out of training.
    """

    def __init__(
        self,
        make: Callable[[], TableScorer],
        *,
        strength: float = 2.0,
        floor: float = 1e-5,
        last: int = 10,
        items: int = 500,
        folds: int = 0,
    ) -> None:
        super().__init__()
        self.make, self.strength, self.floor = make, strength, floor
        self.last, self.items, self.folds = last, items, folds
        self.whole = make()
        self.of_others: list[TableScorer] = []  # by part; not saved, only training needs them

    def fit(self, events: Events) -> None:
        """Count the events of the training part, and once more without each part of the users."""
        self.whole.fit(events)
        self.of_others = []
        for part in range(self.folds):
            scorer = self.make()
            scorer.fit(_without(events, part, self.folds))
            self.of_others.append(scorer)

    @torch.no_grad()
    def forward(self, batch: Batch) -> Offset:
        """Return the numbers of each prediction (P, N)."""
        histories = _last(prefixes(batch, self.whole.n_items, batch.history.shape[1]), self.last)
        device = batch.history.device
        histories = Histories(histories.items.cpu(), histories.lengths.cpu())
        if not self.training:
            return self._offset(self._scores(self.whole, histories)).to(device)
        part = (batch.prediction_user % self.folds).cpu()
        order = part.argsort(stable=True)
        found = []
        for number, scorer in enumerate(self.of_others):
            rows = order[part[order] == number]
            found.append(self._scores(scorer, Histories(*(p[rows] for p in histories[:2]))))
        rows = sparse.csr_matrix(sparse.vstack(found, format="csr"))
        return self._offset(rows[order.argsort().numpy()]).to(device)

    def _scores(self, scorer: TableScorer, histories: Histories) -> sparse.csr_matrix:
        """Return the largest scores of each history, divided by the sum of all, (p, N)."""
        weights = recency_weights(histories, scorer.n_items, scorer.recency).numpy()
        read = weighted_histories(histories.items.numpy(), weights, scorer.n_items)
        table, found = scorer.table, []
        for rows in product_blocks(read, table):
            block = sparse.csr_matrix(read[rows] @ table)
            total = np.asarray(block.sum(1)).ravel()
            block.data /= np.where(total > 0, total, 1)[owners(block)]
            found.append(largest(block, self.items))
        empty = sparse.csr_matrix((0, scorer.n_items), dtype=np.float32)
        return sparse.csr_matrix(sparse.vstack([empty, *found], format="csr"))

    def _offset(self, probs: sparse.csr_matrix) -> Offset:
        probs = probs.sorted_indices()
        chances = np.asarray(probs.data, dtype=np.float64)
        values = self.strength * np.log1p(chances / self.floor)
        return Offset(
            torch.from_numpy(probs.indptr.astype(np.int64)),
            torch.from_numpy(probs.indices.astype(np.int64)),
            torch.from_numpy(values.astype(np.float32)),
        )


def _last(histories: Histories, number: int) -> Histories:
    """Return the last items of each history."""
    if histories.items.shape[1] <= number:
        return histories
    columns = (histories.lengths[:, None] - number).clamp(min=0) + torch.arange(
        number, device=histories.items.device
    )
    return Histories(histories.items.gather(1, columns), histories.lengths.clamp(max=number))


def _without(events: Events, part: int, parts: int) -> Events:
    """Return the events of all users but those whose number is `part` modulo `parts`."""
    lengths = events.offsets.diff()
    kept = torch.arange(len(lengths)) % parts != part
    rows = torch.repeat_interleave(kept, lengths)
    offsets = torch.cat([lengths.new_zeros(1), (lengths * kept).cumsum(0)])
    times = None if events.times is None else events.times[rows]
    return Events(offsets, events.items[rows], times)


class WithPrior(Encoder):
    """An encoder whose scores have a prior added, in training and in every ranking.

    Args:
        encoder: any encoder whose scores are inner products.
        prior: the prior.
    """

    def __init__(self, encoder: Encoder, prior: Prior) -> None:
        super().__init__()
        self.encoder, self.prior = encoder, prior
        self.n_items, self.n_interests = encoder.n_items, encoder.n_interests
        self.reads, self.needs_times = encoder.reads, encoder.needs_times
        self.predicts_interests = encoder.predicts_interests
        self.train(encoder.training)

    @property
    def name(self) -> str:
        """Return the name of the encoder."""
        return self.encoder.name

    def items(self) -> ItemVectors:
        """Return the item vectors of the encoder."""
        return self.encoder.items()

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the vectors of the encoder, with the offset of each row."""
        found = self.encoder(batch, items)
        if self.training and not self.prior.folds:
            return found
        return found._replace(offset=self.prior(batch))

    def initialise_from(self, other: Encoder) -> None:
        """Copy the weights of a trained model, with a prior or without."""
        self.encoder.initialise_from(without_prior(other))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights and counts; the counts have the sizes that they have in `state_dict`."""
        self.prior.whole.load_state_dict(_inside(state_dict, "prior.whole."), strict, assign)
        return self.encoder.load_state_dict(_inside(state_dict, "encoder."), strict, assign)


def without_prior(encoder: Encoder) -> Encoder:
    """Return the encoder inside one with a prior; any other encoder is returned itself."""
    return encoder.encoder if isinstance(encoder, WithPrior) else encoder


def _inside(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): part for n, part in state.items() if n.startswith(prefix)}
