"""An exponential moving average of the weights of a model, over the steps of its training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def trained_weights(model: nn.Module) -> list[Tensor]:
    """Return the trained weights of a model, without their gradients."""
    return [weight.data for weight in model.parameters() if weight.requires_grad]


@torch.no_grad()
def add_step(
    averages: Sequence[Tensor], weights: Sequence[Tensor], decay: float, step: int
) -> None:
    r"""Add the weights of one step to their averages, in place.

    $$\bar w_t = d_t \bar w_{t-1} + (1 - d_t) w_t, \qquad d_t = \min(d, t / (t + 9))$$

    The decay d_t of step t rises, so that the initial weights are soon forgotten.

    Args:
        averages: of the steps before; of the first step the initial weights.
        weights: after the step.
        decay: d.
        step: t, counted from 1.

    Example:
        >>> average = torch.tensor([0.0])
        >>> add_step([average], [torch.tensor([10.0])], 0.5, step=1)
        >>> average
        tensor([9.])

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992; the
    exponential form is that of `torch.optim.swa_utils`.
    """
    each = min(decay, step / (step + 9))
    get_ema_multi_avg_fn(each)(list(averages), list(weights), step)
