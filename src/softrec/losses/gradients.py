"""The gradients of the streamed pass: computed with the value in buffers, returned once."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from softrec.losses.softmax import SoftmaxProblem

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


class Gradients:
    """The buffers of dL/dh, dL/dW and dL/db, if these are wanted."""

    def __init__(self, problem: SoftmaxProblem, precise: torch.dtype, wanted: Wanted) -> None:
        self.items, self.precise = problem.negatives, precise
        vectors, bias, _ = problem.negatives
        self.users = torch.empty_like(problem.users) if wanted.users else None
        self.vectors = torch.empty_like(vectors, dtype=precise) if wanted.negatives else None
        self.bias = None
        if bias is not None and wanted.negatives_bias:
            self.bias = torch.zeros_like(bias, dtype=precise)
        self.block: Tensor | None = None  # (b, D) of the users

    def start(self, users: Tensor) -> None:
        """Start a block of rows."""
        if self.users is not None:
            self.block = torch.zeros_like(users, dtype=self.precise)

    def add(self, items: slice, tile: Tensor, users: Tensor, *, first: bool) -> None:
        """Add the products of the gradient in a tile of logits, (items, rows).

        Args:
            items: of the tile.
            tile: dL/dz of these items and of the block's rows.
            users: (b, D) of the block.
            first: whether it is the first block, which writes its sums instead of adding them. So
                the buffer is not filled with zeros.
        """
        vectors = self.items.vectors[items]
        if self.bias is not None:
            self.bias[items] += tile.sum(1)
        if vectors.dtype == torch.float16:  # has no numbers as small as most gradients
            vectors, users = vectors.to(tile.dtype), users.to(tile.dtype)
        low = tile.to(vectors.dtype)
        if self.block is not None:
            _add_product(self.block, low.T, vectors, first=False)
        if self.vectors is not None:
            _add_product(self.vectors[items], low, users, first=first)

    def finish(self, rows: slice, more: Tensor | None) -> None:
        """Store the users' gradient of a block of rows, and what is added to it."""
        if self.users is not None and self.block is not None:
            self.users[rows] = self.block if more is None else self.block + more

    def add_at(self, place: Tensor, users: Tensor, slope: Tensor) -> None:
        """Add the positives' own rows."""
        if self.vectors is not None:
            rows = slope[:, None] * users
            self.vectors.index_add_(0, place, rows.to(self.vectors.dtype))
        if self.bias is not None:
            self.bias.index_add_(0, place, slope)

    def result(self) -> list[Tensor | None]:
        """Return the gradients in the types of users and items."""
        vectors, bias, _ = self.items
        return [
            self.users,
            None if self.vectors is None else self.vectors.to(vectors.dtype),
            None if self.bias is None or bias is None else self.bias.to(bias.dtype),
        ]


def _add_product(out: Tensor, left: Tensor, right: Tensor, *, first: bool) -> None:
    """Add a product to `out`, or write it; half-precision products are added in `out`'s type."""
    if left.dtype != out.dtype:
        product = left @ right
        out.copy_(product) if first else out.add_(product)
    elif first:
        torch.mm(left, right, out=out)
    else:
        out.addmm_(left, right)
