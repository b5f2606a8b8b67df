r"""Logits of given (user, item) pairs, without gathering the vectors of the pairs.

Gathering the vectors of M items per row takes P x M x D numbers, and as many for their gradient.
Instead, the logits are a sparse P x N matrix S with entries only at items_b in row b, and all three
products are computed entry by entry:

    logits                S = h W^T, only at these entries
    gradient of users     dh = G W      with G the gradient at the same entries
    gradient of items     dW = G^T h

If N is small compared with M, dense products are faster: they compute one block of rows of the
P x N table at a time. With both methods nothing larger than a block is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from softrec.blocks import blocks
from softrec.csr import csr
from softrec.limits import LIMITS

DENSE_UP_TO = (
    8  # dense for N up to this times M; measured on one core, both are equally fast at about 15
)


def pair_logits(
    user_vectors: Tensor,
    item_vectors: Tensor,
    items: Tensor,
    bias: Tensor | None = None,
    *,
    dense: bool | None = None,
) -> Tensor:
    """Return the logits of M items for each user, with P x M and not P x M x D numbers in memory.

    Formula: z_bj = h_b . w_i + b_i with i = items_bj, (P, M), in float32 or wider, also for
    half-precision vectors. It can be differentiated once.

    Args:
        user_vectors: h, (P, D).
        item_vectors: w, (N, D).
        items: (P, M) int64, in 0 .. N-1; an item may occur in a row several times.
        bias: b, (N,), or None.
        dense: whether to compute dense blocks of the P x N table, instead of single pairs; by
            default dense for N up to 8 M.

    Raises:
        ValueError: if the shapes do not fit.
        IndexError: if an item is outside 0 .. N-1.

    Example:
        >>> users = torch.tensor([[1.0, 2.0]])
        >>> vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> pair_logits(users, vectors, torch.tensor([[2, 0, 2, 1]]))
        tensor([[3., 1., 3., 2.]])

    Sibling: `gathered_logits`, the plain form.
    """
    if items.dim() != 2 or user_vectors.dim() != 2 or len(items) != len(user_vectors):
        raise ValueError(
            f"expected users (P, D) and items (P, M), got shapes {tuple(user_vectors.shape)} and "
            f"{tuple(items.shape)}"
        )
    if items.numel() == 0:
        return gathered_logits(user_vectors, item_vectors, items, bias)
    if dense is None:
        dense = len(item_vectors) <= DENSE_UP_TO * items.shape[1]
    # Half-precision vectors are converted first, so that products are not rounded again.
    precise = torch.promote_types(
        torch.promote_types(user_vectors.dtype, item_vectors.dtype), torch.float32
    )
    logits: Any = _PairLogits.apply(
        user_vectors.to(precise), item_vectors.to(precise), items, dense
    )
    if bias is None:
        return logits
    return logits + bias.index_select(0, items.flatten()).view_as(items)


def gathered_logits(
    user_vectors: Tensor, item_vectors: Tensor, items: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Return the logits of `pair_logits` by gathering P x M x D numbers: its reference."""
    logits = torch.einsum("pd,pmd->pm", user_vectors, item_vectors[items])
    return logits if bias is None else logits + bias[items]


class _PairLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, user_vectors: Tensor, item_vectors: Tensor, items: Tensor, dense: bool
    ) -> Tensor:
        ctx.save_for_backward(user_vectors, item_vectors, items)
        ctx.dense = dense
        return (_dense_logits if dense else _sparse_logits)(user_vectors, item_vectors, items)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore
        user_vectors, item_vectors, items = ctx.saved_tensors
        back = _dense_gradients if ctx.dense else _sparse_gradients
        return (
            *back(gradient, user_vectors, item_vectors, items, ctx.needs_input_grad[:2]),
            None,
            None,
        )


# --- pair by pair ---


def _sparse_logits(user_vectors: Tensor, item_vectors: Tensor, items: Tensor) -> Tensor:
    n_rows, n_pairs = items.shape
    native = user_vectors.device.type == "cpu" and user_vectors.dtype in (
        torch.float32,
        torch.float64,
    )
    if not native or n_pairs > len(
        item_vectors
    ):  # a sparse tensor has at most as many entries as a full one
        rows = max(1, LIMITS.gathered // (n_pairs * user_vectors.shape[1]))
        parts = zip(user_vectors.split(rows), items.split(rows), strict=True)
        return torch.cat([gathered_logits(h, item_vectors, places) for h, places in parts])
    lowest, highest = items.aminmax()
    if lowest < 0 or highest >= len(item_vectors):  # the product below would read other memory
        raise IndexError(
            f"items must be in 0 .. {len(item_vectors) - 1}, got {int(lowest)} .. {int(highest)}"
        )
    begin = torch.arange(0, items.numel() + 1, n_pairs)
    nothing = user_vectors.new_zeros(items.numel())
    places = csr(begin, items.flatten(), nothing, (n_rows, len(item_vectors)))
    product = torch.sparse.sampled_addmm(places, user_vectors, item_vectors.T, beta=0.0)
    return product.values().view_as(items)


def _sparse_gradients(
    gradient: Tensor,
    user_vectors: Tensor,
    item_vectors: Tensor,
    items: Tensor,
    needed: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    by_users = by_vectors = None
    if needed[0]:
        by_users = F.embedding_bag(items, item_vectors, per_sample_weights=gradient, mode="sum")
    if needed[1]:  # the bag of an item is the users that have it
        order = items.flatten().int().argsort()  # sorting int32 is faster than sorting int64
        size = items.flatten().bincount(minlength=len(item_vectors))
        by_vectors = F.embedding_bag(
            order // items.shape[1],
            user_vectors,
            size.cumsum(0) - size,
            per_sample_weights=gradient.flatten()[order],
            mode="sum",
        )
    return by_users, by_vectors


# --- by dense blocks ---


def _dense_logits(user_vectors: Tensor, item_vectors: Tensor, items: Tensor) -> Tensor:
    logits = user_vectors.new_empty(items.shape)
    for part, block in _blocks(user_vectors, item_vectors):
        torch.mm(user_vectors[part], item_vectors.T, out=block)
        torch.gather(block, 1, items[part], out=logits[part])
    return logits


def _dense_gradients(
    gradient: Tensor,
    user_vectors: Tensor,
    item_vectors: Tensor,
    items: Tensor,
    needed: tuple[bool, bool],
) -> tuple[Tensor | None, Tensor | None]:
    by_users = torch.empty_like(user_vectors) if needed[0] else None
    by_vectors = torch.zeros_like(item_vectors) if needed[1] else None
    for part, block in _blocks(user_vectors, item_vectors):
        block.zero_().scatter_add_(1, items[part], gradient[part])
        if by_users is not None:
            torch.mm(block, item_vectors, out=by_users[part])
        if by_vectors is not None:
            by_vectors.addmm_(block.T, user_vectors[part])
    return by_users, by_vectors


def _blocks(user_vectors: Tensor, item_vectors: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield blocks of rows, each with memory for its logits, which is the same for all blocks."""
    rows = max(1, LIMITS.paired // len(item_vectors))
    room = user_vectors.new_empty(min(rows, len(user_vectors)), len(item_vectors))
    for part in blocks(len(user_vectors), rows):
        yield part, room[: len(user_vectors[part])]
