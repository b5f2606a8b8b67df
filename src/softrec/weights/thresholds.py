"""The score at rank K of each user, which is the border of a list of K items."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from softrec.blocks import blocks
from softrec.data.batches import Examples, training_batch
from softrec.data.padding import Padding
from softrec.errors import RecipeError
from softrec.limits import LIMITS
from softrec.retrieval import top_k
from softrec.scoring import Scored, Scoring
from softrec.training_data import TrainingData
from softrec.types import Batch, Encoder, evaluating
from softrec.weights.stored import contexts_of


class Thresholds(nn.Module):
    """The K-th largest score of all items, for each user or for each context, without a gradient.

    For models that know users by number there is one for each user, for others one for each
    training context. They are computed when an epoch begins, and again after a few epochs. Between
    them they are constant, and saved with a checkpoint, because the weights of the model that they
    were computed with are gone when a run is resumed.

    Args:
        data: the training examples.
        n_users: U.
        reads: what the model reads, `Encoder.reads`.
        scoring: how scores are computed from the vectors of the model.
        rank: K, from 1 to N.
        every: the epochs after which they are computed again.
        side: where the padding of a history stands.
    """

    values: Tensor  # (U,) or (C,)
    computed: Tensor  # () int64, the epoch in which they were computed

    def __init__(
        self,
        data: Examples,
        n_users: int,
        reads: str,
        scoring: Scoring,
        *,
        rank: int,
        every: int,
        side: Padding = "right",
    ) -> None:
        super().__init__()
        self.data, self.scoring = data, scoring
        self.side: Padding = side
        self.rank, self.every, self.by_user = rank, every, reads == "user"
        number = n_users if self.by_user else data.n_contexts
        self.register_buffer("values", torch.zeros(number))
        self.register_buffer("computed", torch.tensor(-1))

    @classmethod
    def of(cls, training: TrainingData, rank: int, every: int, place: str) -> Thresholds:
        """Return the thresholds of the examples of a training.

        Args:
            training: the training part, and the model that will be trained on it.
            rank: K.
            every: the epochs after which they are computed again.
            place: of the rank in a recipe, for messages.

        Raises:
            RecipeError: if there are fewer than K items.
        """
        if rank > training.n_items:
            raise RecipeError(
                f"{place} is {rank:,}, more than the {training.n_items:,} items; choose the length "
                f"of the lists that are shown, such as {min(20, training.n_items)}"
            )
        return cls(
            training.data, training.split.train.n_users, training.encoder.reads, training.scoring,
            rank=rank, every=every, side=training.padding_side,
        )  # fmt: skip

    def forward(self, batch: Batch) -> Tensor:
        """Return the thresholds of the predictions of `batch`, (P,)."""
        return self.values[self._numbers(batch)]

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        """Compute them if it is time to; not twice in an epoch that is resumed."""
        if epoch % self.every or int(self.computed) == epoch:
            return
        device = self.values.device
        with evaluating(encoder), torch.no_grad():
            scores = Scored(encoder.as_trained(), self.scoring).scores()
            for batch in self._batches(encoder.n_items):
                here = batch.to(device)
                best = top_k(scores(here), self.rank).scores[:, -1]
                self.values[self._numbers(here)] = best.to(self.values)
        self.computed.fill_(epoch)

    def _numbers(self, batch: Batch) -> Tensor:
        return batch.prediction_user if self.by_user else contexts_of(self.data, batch)

    def _batches(self, n_items: int) -> Iterator[Batch]:
        """Yield batches that have every user, or every context, once."""
        if not self.by_user:
            for some in blocks(len(self.data), LIMITS.encoded):
                chosen = np.arange(some.start, some.stop)
                yield training_batch(self.data, chosen, n_items, self.side)
            return
        for some in blocks(len(self.values), LIMITS.encoded):
            user = torch.arange(some.start, some.stop)
            yield Batch(torch.full((len(user), 1), n_items), torch.zeros_like(user), user, user)
