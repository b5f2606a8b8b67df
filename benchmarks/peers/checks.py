"""What the scripts that check an adapter in another library compare."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor | None]:
    """Return the gradient of each parameter."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return list(torch.autograd.grad(loss, parameters, allow_unused=True))


def same(model: nn.Module, one: Callable[[], Tensor], other: Callable[[], Tensor]) -> None:
    """Check that two losses of a model and their gradients are equal, but for rounding."""
    first, second = one(), other()
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)
    for a, b in zip(gradients(model, first), gradients(model, second), strict=True):
        if a is None or b is None:
            assert all(one is None or not one.any() for one in (a, b))
        else:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def whole(logits: Tensor, label: Tensor, counts: Tensor, weight: float) -> Tensor:
    """Return the loss with a table of targets: (1 - a) e_y + a s, s in proportion to the counts.

    Args:
        logits: (P, R).
        label: (P,).
        counts: (R,) with 0 for padding.
        weight: a.
    """
    soft = (counts / counts.sum()).expand_as(logits)
    target = (1 - weight) * F.one_hot(label, logits.shape[1]) + weight * soft
    return -(target * logits.log_softmax(1)).sum(1).mean()
