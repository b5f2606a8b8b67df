"""What goes into a model and what an encoder gives: a batch, and its vectors."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """What one training or evaluation step needs to know, as tensors on one device.

    A prediction is asked for at `(row, step)`: after the item number `step` (counted from 0, the
    oldest item kept) of history `row`. Counting real items rather than columns makes the question
    the same for left and right padding. Both are None when each row is asked once, at its end.
    """

    history: Tensor  # (B, L) int64, oldest first, padded with N on either side
    label: Tensor  # (P,) int64, the item to predict
    example: Tensor  # (P,) int64, which training example this is; sources with a memory need it
    user: Tensor  # (B,) int64
    row: Tensor | None = None  # (P,) int64
    step: Tensor | None = None  # (P,) int64
    time: Tensor | None = None  # (B, L) int64, of each event of the history

    @property
    def prediction_user(self) -> Tensor:
        """Return the user of each prediction, (P,)."""
        return self.user if self.row is None else self.user[self.row]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(*(None if part is None else part.to(device) for part in self))  # pyright: ignore[reportArgumentType]


class ItemVectors(NamedTuple):
    """The output layer of a model: logits are `users @ vectors.T + bias`."""

    vectors: Tensor  # (N, D)
    bias: Tensor | None = None  # (N,)
    carried: Any = None  # what `Encoder.items` found along the way and `Encoder.forward` needs


class Interests(NamedTuple):
    """The interests of users and their predicted logits: the score is that of the mean."""

    vectors: Tensor  # (P, K, D)
    logits: Tensor  # (P, K)

    def mean(self) -> Tensor:
        """Return the user vectors (P, D): the interests weighted by the softmax of their logits."""
        return (self.logits.softmax(-1)[:, None] @ self.vectors).squeeze(1)


class StoredVectors(NamedTuple):
    """What the vectors of a batch are made of, as by a graph. The penalty l2 is on these."""

    users: Tensor  # (P, D)
    items: Tensor  # (N, D)


class Vectors(NamedTuple):
    """What an encoder gives for a batch."""

    users: Tensor  # (P, D), or (P, K, D): an item's score is then that of its best interest
    items: ItemVectors
    interests: Interests | None = None  # of models that predict them; `users` is their mean
    stored: StoredVectors | None = None  # where the vectors are made of others
