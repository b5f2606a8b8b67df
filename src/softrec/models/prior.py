"""A prior on the logits: what is counted in the log, added to every score.

Of the items that occur together with those of the history it has a number for each user, and of the
popularity of an item at the end of the log one for all users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from softrec.errors import DataError
from softrec.extras import optional
from softrec.models.counted.folds import Folds, last_items, shares, table_of
from softrec.models.counted.popularity import recent_shares
from softrec.models.counted.sparse import TableScorer
from softrec.models.histories import Histories
from softrec.models.memory import Memory
from softrec.types import Batch, Encoder, Events, ItemVectors, Offset, Scores, Vectors, Wrapper

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "a prior of items that occur together")


class Prior(nn.Module):
    r"""Numbers for the items that occur together with those of the history.

    $$o_i = g t \log(1 + q_i / \epsilon), \qquad q_i = \frac{score_i}{\sum_j score_j}$$

    with the scores of a counted model for the last items of the history. Up to a constant of the
    row this is g t log(q_i + epsilon), so that a softmax of (z + o) / t is proportional to
    exp(z / t) (q + epsilon)^g. Items without a score have o = 0, and nothing is stored for them.

    A second counted model may have a term of its own, which is added: what follows an item and what
    goes with it are not the same. With the shares q' of its scores

    $$o_i = g t \log(1 + q_i / \epsilon) + g' t \log(1 + q'_i / \epsilon)$$

    The counts contain each user's own events. In training an item that only this user has would
    then be marked by its label, and the model would learn to trust the prior too much. So users are
    divided into folds, and in training each fold reads the counts of all the others.

    What is popular changes, and a model averages over the whole log. So in rankings every item
    has, like a bias, a number for its recent share p of the events, see `RecentPopularity`:

    $$b_i = g_p t \log(1 + p_i / \epsilon)$$

    Args:
        make: returns a new scorer with a table, not yet fitted.
        strength: g.
        floor: epsilon, the probability of an item that never occurs together with the history.
        last: how many of the last items of a history are read.
        items: how many items of a row have a number, at most: those with the largest.
        folds: of the users; 0 leaves the prior out of training.
        temperature: t, by which the model's scores are divided in the softmax it was trained with.
        popularity: g_p; 0 leaves popularity out.
        half_life: the fraction of the period of the log after which an event counts half in p.
        second: returns the second scorer, if there is one; not for training, so without folds.
        second_strength: g'.

    Source: logit adjustment (Menon et al., ICLR 2021), by the popularity of now in place of that
    in training; Zhang et al., "Causal Intervention for Leveraging Popularity Bias in
    Recommendation", SIGIR 2021, has popularity of now in rankings, too.
    """

    recent: Tensor  # (N,) float32, p; empty without popularity

    def __init__(
        self,
        make: Callable[[], TableScorer],
        *,
        strength: float = 2.0,
        floor: float = 1e-5,
        last: int = 10,
        items: int = 500,
        folds: int = 0,
        temperature: float = 1.0,
        popularity: float = 0.0,
        half_life: float = 0.01,
        second: Callable[[], TableScorer] | None = None,
        second_strength: float = 1.0,
    ) -> None:
        super().__init__()
        self.make, self.strength, self.floor = make, strength, floor
        self.last, self.items, self.folds = last, items, folds
        self.temperature = temperature
        self.popularity, self.half_life = popularity, half_life
        self.register_buffer("recent", torch.empty(0))
        self.whole = make()
        self.second = None if second is None else second()
        self.second_strength = second_strength
        self.others: Folds | None = None  # not saved, only training needs them
        self.memory: Memory | None = None  # of what is counted, while strengths are tried

    def fit(self, events: Events) -> None:
        """Count the events of the training part, and once more without each part of the users."""
        self.whole.fit(events)
        if self.second is not None:
            self.second.fit(events)
        self.others = Folds(self.make, self.folds, events) if self.folds else None
        self.fit_popularity(events)

    def fit_popularity(self, events: Events) -> None:
        """Count the recent share of each item, if popularity has a factor.

        Raises:
            DataError: if the events have no times.
        """
        if not self.popularity:
            self.recent = self.recent[:0]
            return
        if events.times is None:
            raise DataError(
                "prior.popularity counts events by their times, and the log has none; name their "
                "column with --time, or leave prior.popularity out"
            )
        found = recent_shares(events, self.whole.n_items, self.half_life)
        self.recent = found.to(self.recent.device)

    def of_items(self, items: slice = slice(None)) -> Tensor:
        """Return the numbers of items for their popularity, the same for all users, (N,)."""
        factor = self.popularity * self.temperature
        return factor * torch.log1p(self.recent[items].double() / self.floor)

    def terms(self) -> list[tuple[TableScorer, float]]:
        """Return the counted models with the factors of their logarithms, g t, if these are not 0.

        The factors are those of rankings.
        """
        both = (self.whole, self.strength), (self.second, self.second_strength)
        return [(one, g * self.temperature) for one, g in both if one is not None and g]

    @torch.no_grad()
    def forward(self, batch: Batch) -> Offset:
        """Return the numbers of each prediction (P, N)."""
        if self.training and self.others is not None:
            users = batch.prediction_user
            found = self.others.shares(self._read(batch), users, self.items)
            terms = [self._logarithms(found) * (self.strength * self.temperature)]
        else:
            terms = [self._counted(scorer, batch) * factor for scorer, factor in self.terms()]
        first, *more = terms
        return table_of(sparse.csr_matrix(sum(more, first))).to(batch.history.device)

    def _counted(self, scorer: TableScorer, batch: Batch) -> sparse.csr_matrix:
        """Return log(1 + q / epsilon) of a counted model, (P, N)."""

        def compute() -> sparse.csr_matrix:
            return self._logarithms(shares(scorer, self._read(batch), self.items))

        return compute() if self.memory is None else self.memory.of(scorer, batch, compute)

    def _read(self, batch: Batch) -> Histories:
        return last_items(batch, self.whole.n_items, self.last)

    def _logarithms(self, probs: sparse.csr_matrix) -> sparse.csr_matrix:
        values = np.log1p(probs.data.astype(np.float64) / self.floor)
        return sparse.csr_matrix((values, probs.indices, probs.indptr), probs.shape)


class WithPrior(Wrapper):
    """An encoder whose scores have a prior added, in training and in every ranking.

    Args:
        encoder: any encoder; one with scores of its own, such as cosines, is `Scored`.
        prior: the prior.
    """

    def __init__(self, encoder: Encoder, prior: Prior) -> None:
        super().__init__(encoder)
        self.prior = prior  # in shards of a catalogue, the counts are whole

    def as_trained(self) -> Encoder:
        """Return the encoder without the prior, unless it is trained with it."""
        return self if self.prior.folds else self.encoder

    def items(self) -> ItemVectors:
        """Return the item vectors of the encoder; in rankings popularity is part of their bias."""
        found = self.encoder.items()
        if self.training or not self.prior.popularity:
            return found
        own = self.catalogue  # of a catalogue in shards
        popular = self.prior.of_items(slice(None) if own is None else slice(own.start, own.stop))
        popular = popular.to(found.vectors)
        return found._replace(bias=popular if found.bias is None else found.bias + popular)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the vectors of the encoder, with the offset of each row."""
        found = self.encoder(batch, items)
        if (self.training and not self.prior.folds) or not self.prior.terms():
            return found
        return found._replace(offset=self.prior(batch))

    def similarities(self) -> Callable[[Tensor, Tensor], Scores]:
        """Return those of the encoder: what is counted says nothing of them."""
        return self.encoder.similarities()

    def initialise_from(self, other: Encoder) -> None:
        """Copy the weights of a trained model, with a prior or without."""
        self.encoder.initialise_from(without_prior(other))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load weights and counts; the counts have the sizes that they have in `state_dict`."""
        self.prior.whole.load_state_dict(_inside(state_dict, "prior.whole."), strict, assign)
        if self.prior.second is not None:
            self.prior.second.load_state_dict(_inside(state_dict, "prior.second."), strict, assign)
        self.prior.recent = state_dict.get("prior.recent", torch.empty(0)).clone()
        if self.prior.popularity and not len(self.prior.recent):
            raise RuntimeError("the popularity of the prior is missing")
        return self.encoder.load_state_dict(_inside(state_dict, "encoder."), strict, assign)


def without_prior(encoder: Encoder) -> Encoder:
    """Return the encoder inside one with a prior; any other encoder is returned itself."""
    return encoder.encoder if isinstance(encoder, WithPrior) else encoder


def _inside(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): part for n, part in state.items() if n.startswith(prefix)}
