"""Gradients that are computed together with their value: backward only hands them out, once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Given = tuple[Tensor | None, Tensor | None]
"""The gradients in vectors and in their bias, where they are asked for."""


class Wanted(NamedTuple):
    """Which gradients of a problem are asked for; for others there is no memory and no product."""

    users: bool
    negatives: bool
    negatives_bias: bool
    positive: bool
    positive_bias: bool
    mean: bool  # of a mean item that was given
    mean_bias: bool


class GivenOnce(torch.autograd.Function):
    """A function whose forward keeps, in `ctx.gradients`, those of its first value.

    One for each argument but the last, which is no tensor; None instead of the list if no gradient
    is asked for.
    """

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return the gradients times that of the first value, and let go of them."""
        gradients: list[Tensor | None] | None = ctx.gradients
        if gradients is None:
            raise RuntimeError(
                "the streamed pass computes its gradient only once; call it again, or use "
                "softrec.losses.reference.plain to differentiate twice"
            )
        ctx.gradients = None
        scale = grad_outputs[0]
        # Usually the loss is the root and the scale is 1; on a CPU that is free to find out.
        if scale.device.type != "cpu" or float(scale) != 1.0:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(scale)
        return (*gradients, None)
