"""Weights that are known before the training: one for each item or for each context."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softrec.data.batches import Examples
from softrec.types import Batch, Encoder, GivenWeights


class StoredWeights(nn.Module):
    """Weights that do not depend on the model; a subclass has a method `forward`."""

    values: Tensor

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("values", values.float(), persistent=False)

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        """Do nothing."""


class OfLabels(StoredWeights):
    """The weight of an example is that of its label.

    Args:
        values: (N,), of each item.
    """

    def forward(self, batch: Batch) -> GivenWeights:
        """Return the weights of the labels of `batch`."""
        return GivenWeights(self.values[batch.label])


class OfContexts(StoredWeights):
    """One weight for each example.

    Args:
        values: (C,), in the order of the contexts.
        data: the training examples, which number the contexts.
    """

    def __init__(self, values: Tensor, data: Examples) -> None:
        super().__init__(values)
        self.data = data

    def forward(self, batch: Batch) -> GivenWeights:
        """Return the weights of the examples of `batch`."""
        return GivenWeights(self.values[contexts_of(self.data, batch)])


def contexts_of(data: Examples, batch: Batch) -> Tensor:
    """Return the numbers of the contexts of a batch, (P,), on its device."""
    step = None if batch.step is None else batch.step.cpu().numpy()
    numbers = data.contexts(batch.example.cpu().numpy(), step)
    return torch.from_numpy(numbers).to(batch.label.device)


def averaging_one(values: Tensor, often: Tensor | None = None) -> Tensor:
    """Return weights divided by their mean, so that the size of the gradient stays as it was.

    Args:
        values: weights.
        often: how often each is used in an epoch; None: once.

    Example:
        >>> averaging_one(torch.tensor([1.0, 3.0]), torch.tensor([3, 1]))
        tensor([0.6667, 2.0000])
    """
    if often is None:
        return values / values.mean()
    return values * (often.sum() / (values * often).sum())
