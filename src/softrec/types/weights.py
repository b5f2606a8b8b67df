"""The weights of examples: each example's loss is multiplied by one before the mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from softrec.types.batch import Batch
from softrec.types.model import Encoder

Weigh = Callable[[Tensor, slice], Tensor]
"""(logits of the labels of some rows (b,), these rows) -> their weights (b,)."""


class GivenWeights(NamedTuple):
    """Weights that do not depend on the scores.

    Example:
        >>> import torch
        >>> GivenWeights(torch.tensor([1.0, 2.0]))(torch.zeros(1), slice(1, 2))
        tensor([2.])
    """

    values: Tensor  # (P,)

    def __call__(self, label_logit: Tensor, rows: slice) -> Tensor:
        """Return the weights of some rows."""
        return self.values[rows]


class WeightSource(Protocol):
    """Weighs the examples of a batch."""

    def __call__(self, batch: Batch) -> Weigh:
        """Return the weights of the examples of `batch`, as a function of their labels' logits."""
        ...

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        """Read the model at the beginning of an epoch, counted from 0; most weights do nothing."""
        ...


class BorderSource(Protocol):
    """Gives each prediction of a batch a score, such as that at rank K of its ranking."""

    def __call__(self, batch: Batch) -> Tensor:
        """Return the borders of the predictions of `batch`, (P,), without a gradient."""
        ...

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        """Read the model at the beginning of an epoch, counted from 0."""
        ...


def weighted_by(weigh: Weigh | None, values: Tensor, label_logit: Tensor, rows: slice) -> Tensor:
    """Return the values of some rows, (b,), times their weights; None leaves them unchanged."""
    return values if weigh is None else weigh(label_logit, rows).to(values) * values
