r"""A GRU over histories of any length, in training on a processor: only real items, few operations.

$$r = \sigma(W_r x + U_r h) \quad z = \sigma(W_z x + U_z h) \quad
  n = \tanh(W_n x + r \odot (U_n h + c)) \quad h' = (1 - z) \odot n + z \odot h$$

PyTorch's GRU has the same formulas. On a processor its backward pass has about 35 operations a
step, each with new memory. Here it has 15, in memory that stays in the cache.

Rows are sorted by length, so that step t is about the first rows, and its numbers stand together.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan  # pyright: ignore
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

ATEN = torch.ops.aten


class Steps(NamedTuple):
    """The real items of histories, sorted by step, then by decreasing length of the history."""

    sizes: list[int]  # how many histories have a step t, for t = 0 .. L-1
    items: Tensor  # (T,) int64, the places of the items in a table (B * L)
    start: Tensor  # (L,) int64, the first place of each step among T
    rank: Tensor  # (B,) int64, the place of each history within a step

    @classmethod
    def of(cls, lengths: Tensor, longest: int) -> Steps:
        """Return the steps of histories with `lengths` (B,), at least 1, padded on the right."""
        order = lengths.argsort(descending=True, stable=True)
        columns = torch.arange(longest)[:, None]
        real = columns < lengths[order]
        size = real.sum(1)
        rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
        items = (order * longest + columns)[real]
        return cls(size.tolist(), items, size.cumsum(0) - size, rank)


def states_at(gru: nn.GRU, inputs: Tensor, lengths: Tensor, row: Tensor, step: Tensor) -> Tensor:
    """Return the last layer's states (P, H) of rows (P,) after steps (P,).

    Args:
        gru: with `batch_first`, without dropout between its layers.
        inputs: (B, L, D), padded on the right.
        lengths: (B,) int64, at least 1.
        row: (P,) int64.
        step: (P,) int64, below the length of its row.
    """
    steps = Steps.of(lengths, inputs.shape[1])
    states = inputs.flatten(0, 1).index_select(0, steps.items)
    for weights in gru.all_weights:
        biases = weights[2:] or [None, None]
        states: Any = _Recurrence.apply(states, *weights[:2], *biases, steps.sizes)
    return states.index_select(0, steps.start[step] + steps.rank[row])


def scanned(gru: nn.GRU, inputs: Tensor) -> Tensor:
    """Return the last layer's states (B, L, H), by an operation that exports have for any length.

    PyTorch's GRU is exported for one length only.

    Args:
        gru: with `batch_first`, without dropout between its layers.
        inputs: (B, L, D); the states at padding are not defined.
    """
    states = inputs.transpose(0, 1)
    for by_x, by_h, *biases in gru.all_weights:
        bias_x, bias_h = biases or (None, None)
        step = partial(_next_state, by_h, bias_h)
        start = inputs.new_zeros(inputs.shape[0], by_h.shape[1])
        states: Any = scan(step, start, F.linear(states, by_x, bias_x))[1]
    return states.transpose(0, 1)


def _next_state(
    by_h: Tensor, bias_h: Tensor | None, h: Tensor, of_x: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the state (B, H) after one item, twice: to go on with, and as the output."""
    (r, z, n), (r_h, z_h, n_h) = of_x.chunk(3, -1), F.linear(h, by_h, bias_h).chunk(3, -1)
    new = (n + (r + r_h).sigmoid() * n_h).tanh()
    state = new + (z + z_h).sigmoid() * (h - new)
    return state, state.clone()


class _Recurrence(torch.autograd.Function):
    """One layer: the states (T, H) after inputs (T, D), both sorted by step."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        by_x: Tensor,
        by_h: Tensor,
        bias_x: Tensor | None,
        bias_h: Tensor | None,
        sizes: list[int],
    ) -> Tensor:
        width = by_h.shape[1]
        nothing = x.new_zeros(3 * width)
        bias_x = nothing if bias_x is None else bias_x
        bias_h = nothing if bias_h is None else bias_h
        gates, kept = [2 * width, width], len(x)
        (x_rz, x_n), (h_rz, h_n) = by_x.T.split(gates, 1), by_h.T.split(gates, 1)
        both, inner = (bias_x + bias_h)[: 2 * width], (bias_x[2 * width :], bias_h[2 * width :])
        rz, past, new, states = (x.new_empty(kept, w) for w in (2 * width, width, width, width))
        h = x.new_zeros(sizes[0], width)
        for x_t, rz_t, past_t, n_t, h_t in zip(
            *(part.split(sizes) for part in (x, rz, past, new, states)), strict=True
        ):
            h = h[: len(x_t)]
            torch.addmm(both, x_t, x_rz, out=rz_t).addmm_(h, h_rz).sigmoid_()
            r, z = rz_t.split(width, 1)
            torch.addmm(inner[1], h, h_n, out=past_t)
            torch.addmm(inner[0], x_t, x_n, out=n_t).addcmul_(r, past_t).tanh_()
            h = torch.lerp(n_t, h, z, out=h_t)
        ctx.save_for_backward(x, by_x, by_h, rz, past, new, states)
        ctx.sizes = sizes
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        x, by_x, by_h, rz, past, new, states = ctx.saved_tensors
        sizes, width = ctx.sizes, by_h.shape[1]
        # Gradients of the four gates n, r, z and U_n h, side by side: x has the first three of
        # them, h the last three, so each needs one product.
        x_nrz = torch.cat([by_x[2 * width :], by_x[: 2 * width]])
        of_x_nrz, of_h = torch.zeros_like(x_nrz), torch.zeros_like(by_h)
        of_bias = x.new_zeros(4 * width)
        of_input = torch.empty_like(x)
        room, carried, free = (x.new_empty(sizes[0], w) for w in (4 * width, width, width))
        carried.zero_()
        parts = (part.split(sizes) for part in (x, rz, past, new, of_input, gradient))
        h_of = (x.new_zeros(sizes[0], width), *states.split(sizes))
        for h, size, (x_t, rz_t, past_t, n_t, of_x_t, of_h_t) in zip(
            reversed(h_of[:-1]), reversed(sizes), reversed(list(zip(*parts, strict=True))),
            strict=True,
        ):  # fmt: skip
            gates, of_past, left = room[:size], carried[:size], free[:size]
            of_n, of_r, of_z, of_u = gates.split(width, 1)
            r, z = rz_t.split(width, 1)
            whole = of_past.add_(of_h_t)
            torch.sub(h[:size], n_t, out=left).mul_(whole)
            ATEN.sigmoid_backward.grad_input(left, z, grad_input=of_z)
            torch.addcmul(whole, whole, z, value=-1, out=left)
            ATEN.tanh_backward.grad_input(left, n_t, grad_input=of_n)
            torch.mul(of_n, r, out=of_u)
            torch.mul(of_n, past_t, out=left)
            ATEN.sigmoid_backward.grad_input(left, r, grad_input=of_r)
            by_input, by_state = gates[:, : 3 * width], gates[:, width:]
            of_past.mul_(z).addmm_(by_state, by_h)
            torch.mm(by_input, x_nrz, out=of_x_t)
            of_x_nrz.addmm_(by_input.T, x_t)
            of_h.addmm_(by_state.T, h[:size])
            of_bias += gates.sum(0)
        of_by_x = torch.cat([of_x_nrz[width:], of_x_nrz[:width]])
        of_biases = torch.cat([of_bias[width : 3 * width], of_bias[:width]]), of_bias[width:]
        if not ctx.needs_input_grad[3]:
            of_biases = None, None
        return of_input, of_by_x, of_h, *of_biases, None
