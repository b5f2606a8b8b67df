"""Dropout that draws 16 random bits for each number on a processor, 64 at a time.

torch draws a Bernoulli number each time there, which takes longer than the linear layer before it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16


def dropout(x: Tensor, rate: float, training: bool = True) -> Tensor:
    r"""Return x with some numbers set to 0 and the others divided by the share of those kept.

    $$y = x \, m / (1 - p), \qquad m \sim \mathrm{Bernoulli}(1 - p)$$

    Args:
        x: of any shape.
        rate: p in 0 .. 1; on a processor it is rounded to 1 / 65536.
        training: whether it does anything.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> sorted(set(dropout(torch.ones(100), 0.5).tolist()))
        [0.0, 2.0]

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting",
    JMLR 2014.
    """
    dropped = round(rate * LEVELS)
    if not training or dropped == 0:
        return x
    if x.device.type != "cpu" or dropped == LEVELS:
        return F.dropout(x, rate)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    level = bits.view(torch.int16)[: x.numel()].view(x.shape)  # -32768 .. 32767
    kept = level >= dropped - LEVELS // 2
    return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))


class Dropout(nn.Dropout):
    """`dropout` as a module.

    Args:
        p: the share of numbers that are set to 0 in training.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the input, in training with some numbers set to 0."""
        return dropout(input, self.p, self.training)
