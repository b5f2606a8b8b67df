"""The input of a model and the output of an encoder: a batch, and its vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from softrec.types.offset import Offset


class Batch(NamedTuple):
    """The input of one training or evaluation step, as tensors on one device.

    A prediction is made at `(row, step)`: after the item number `step` of history `row`, counted
    from 0, the oldest item kept. Items are counted without the padding, so that `step` is the same
    for left and right padding. Both are None if there is one prediction per row, at its end.
    """

    history: Tensor  # (B, L) int64, oldest first, padded with N on either side
    label: Tensor  # (P,) int64, the item to predict
    example: Tensor  # (P,) int64, the number of the training example; some sources need it
    user: Tensor  # (B,) int64
    row: Tensor | None = None  # (P,) int64
    step: Tensor | None = None  # (P,) int64
    time: Tensor | None = None  # (B, L) int64, of each event of the history
    total: int | None = None  # predictions of all processes, if this is the part of one of them

    @property
    def prediction_user(self) -> Tensor:
        """Return the user of each prediction, (P,)."""
        return self.user if self.row is None else self.user[self.row]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        parts = (None if part is None else part.to(device) for part in self[:-1])
        return Batch(*parts, total=self.total)  # pyright: ignore[reportArgumentType]


class ItemVectors(NamedTuple):
    """The output layer of a model: logits are `users @ vectors.T + bias`."""

    vectors: Tensor  # (N, D)
    bias: Tensor | None = None  # (N,)
    carried: Any = None  # other results of `Encoder.items` that `Encoder.forward` needs


class Interests(NamedTuple):
    """The interests of users with their predicted logits; items are scored by the mean interest."""

    vectors: Tensor  # (P, K, D)
    logits: Tensor  # (P, K)

    def mean(self) -> Tensor:
        """Return the user vectors (P, D): the interests weighted by the softmax of their logits."""
        return (self.logits.softmax(-1)[:, None] @ self.vectors).squeeze(1)


class StoredVectors(NamedTuple):
    """The stored vectors from which a model, such as a graph model, computes those of a batch.

    The penalty l2 is on these.
    """

    users: Tensor  # (P, D)
    items: Tensor  # (N, D)


class Vectors(NamedTuple):
    """The output of an encoder for a batch."""

    users: Tensor  # (P, D), or (P, K, D): then the highest score over the interests counts
    items: ItemVectors
    interests: Interests | None = None  # of models that predict them; `users` is their mean
    stored: StoredVectors | None = None  # of models that compute the vectors from stored ones
    offset: Offset | None = None  # (P, N), added to the scores; of models with a prior
