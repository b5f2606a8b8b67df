"""Gradients that are computed together with their value; backward only returns them, once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Given = tuple[Tensor | None, Tensor | None]
"""The gradients in vectors and in their bias, if they are wanted."""


class Wanted(NamedTuple):
    """Which gradients of a problem are wanted; others take no memory and no product."""

    users: bool
    negatives: bool
    negatives_bias: bool
    positive: bool
    positive_bias: bool
    mean: bool  # of a given mean item
    mean_bias: bool


class GivenOnce(torch.autograd.Function):
    """A function whose forward stores the gradients of its first value in `ctx.gradients`.

    There is one for each argument except the last, which is not a tensor. If no gradient is wanted,
    it is None instead of a list.
    """

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients times the gradient of the first value, and release their memory."""
        gradients: list[Tensor | None] | None = ctx.gradients
        if gradients is None:
            raise RuntimeError(
                "the streamed pass computes its gradient only once; call it again, or use "
                "softrec.losses.reference.plain to differentiate twice"
            )
        ctx.gradients = None
        scale = grad_outputs[0]
        # Usually the scale is 1, because the loss is the root; on a CPU this check costs nothing.
        if scale.device.type != "cpu" or float(scale) != 1.0:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(scale)
        return (*gradients, None)
