"""The one place that touches P x N numbers: a block of rows at a time, value and gradient at once.

The loss of a row depends on its logits through (z_y, R) alone. Once the logits of a few rows stand
in the cache, their R, the derivative of the loss in (z_y, R), and from it the whole gradient of
these rows follow before the block is overwritten by the next. A step is then three matrix products
(logits, gradient of the users, gradient of the items), which is the least that even hard
cross-entropy needs, and no table of P x N numbers exists at any time.

Inside a block the softmax over the rest, p^_i = exp(z_i - R), overwrites the logits in place. With
c = dL/dR and g = dL/dz_y the gradient in the logits is c p^_i, and g at the label. The factor c is
put on the users instead of the block, which saves a pass over it:

    dL/dh  = c (p^ W) + g w_y           dL/dW += p^T (c h),  row y: + g h

What the soft target adds is linear, E = h . m(W): its way back is added to the same buffers once,
after the last block.
"""

from __future__ import annotations

import math
import threading
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from softrec.losses.softmax import (
    ObjectiveValue,
    Parts,
    SoftmaxStats,
    TargetAnswers,
    no_answers,
    sum_of,
)
from softrec.types import ItemVectors, Target, add_mean_gradient

MIB = 2**20
CACHED = 48 * MIB  # about a last-level cache: larger blocks gain nothing more
LARGEST = 192 * MIB  # no block is larger, however many items there are
FEWEST_ROWS = 64  # fewer rows make the matrix products slow


def block_rows(n_items: int, bytes_per_number: int = 4) -> int:
    """Return how many rows of logits a block holds, for a catalogue of `n_items`."""
    row = n_items * bytes_per_number
    return max(1, min(max(FEWEST_ROWS, CACHED // row), LARGEST // row))


def _even(n_rows: int, most: int) -> int:
    """Return the size of equal blocks of at most `most` rows: a short last one runs slower."""
    return math.ceil(n_rows / max(1, math.ceil(n_rows / most)))


_workspaces = threading.local()


def _workspace(numbers: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return uninitialised memory that this thread uses again in the next step.

    On a CPU a fresh block costs a page fault every 4 KiB, in all some 5 % of a step; other
    devices have an allocator of their own that keeps memory.
    """
    if device.type != "cpu":
        return torch.empty(numbers, dtype=dtype, device=device)
    kept: Tensor | None = getattr(_workspaces, str(dtype), None)
    if kept is None or len(kept) < numbers:
        kept = torch.empty(numbers, dtype=dtype)
        setattr(_workspaces, str(dtype), kept)
    return kept[:numbers]


class _Gradients(NamedTuple):
    users: Tensor
    vectors: Tensor
    bias: Tensor | None


def streamed_softmax(
    parts: Parts,
    users: Tensor,
    items: ItemVectors,
    label: Tensor,
    target: Target | None,
    weight: float,
    *,
    rows: int | None = None,
) -> ObjectiveValue:
    """Return the mean loss over the full catalogue in blocks of rows; see `full_softmax`.

    The gradient is computed together with the value, so it can be asked for once, and only
    through `total`. Statistics are float32 or wider whatever the dtype of the vectors.

    Args:
        parts: as for `full_softmax`, as are users, items, label, target and weight.
        users: (P, D).
        items: vectors (N, D) and bias (N,) or None; N is at least 2.
        label: (P,) int64.
        target: the soft target of the P rows, or None.
        weight: the weight a of the soft target.
        rows: rows in a block; chosen by the size of the catalogue if None.
    """
    if len(items.vectors) < 2:
        raise ValueError(f"a softmax needs at least 2 items, got {len(items.vectors)}")
    if not len(users):
        raise ValueError("a loss needs at least one example, got a batch of none")
    names = list(parts)
    total, *values = _Streamed.apply(
        users, items.vectors, items.bias, label, parts, target, weight, rows
    )
    return ObjectiveValue(total, dict(zip(names, values, strict=True)))


class _Streamed(torch.autograd.Function):
    """Value and gradient in one sweep; backward only hands the gradient out."""

    @staticmethod
    def forward(
        ctx: Any,
        users: Tensor,
        vectors: Tensor,
        bias: Tensor | None,
        label: Tensor,
        parts: Parts,
        target: Target | None,
        weight: float,
        rows: int | None,
    ) -> tuple[Tensor, ...]:
        wanted = any(ctx.needs_input_grad[:3])
        values, gradients = _sweep(
            parts, users, ItemVectors(vectors, bias), label, target, weight, rows, wanted
        )
        ctx.gradients = gradients
        ctx.mark_non_differentiable(*values.values())
        return (sum_of(parts, values).mean(), *values.values())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        gradients: _Gradients | None = ctx.gradients
        if gradients is None:
            raise RuntimeError(
                "the streamed pass gives its gradient once; call it again, or use "
                "softrec.losses.softmax.full_softmax to differentiate twice"
            )
        ctx.gradients = None
        scale = grad_outputs[0]
        # Usually the loss is the root and the scale is 1; on a CPU that is free to find out.
        if scale.device.type != "cpu" or float(scale) != 1.0:
            for gradient in gradients:
                if gradient is not None:
                    gradient.mul_(scale)
        return (*gradients, None, None, None, None, None)


def _sweep(
    parts: Parts,
    users: Tensor,
    items: ItemVectors,
    label: Tensor,
    target: Target | None,
    weight: float,
    rows: int | None,
    wanted: bool,
) -> tuple[dict[str, Tensor], _Gradients | None]:
    """Return the values (P,) of all parts and, if wanted, the gradient of their mean."""
    precise = torch.promote_types(users.dtype, torch.float32)
    n_rows, n_items = len(users), len(items.vectors)
    rows = _even(n_rows, rows or block_rows(n_items, precise.itemsize))
    mean = None if target is None else _MeanItem(target, items, precise)
    label_prob = None if target is None else target.prob_of(label).detach().to(precise)
    block = _workspace(rows * n_items, precise, users.device).view(rows, n_items)
    values: dict[str, list[Tensor]] = {name: [] for name in parts}
    d_users = torch.empty_like(users) if wanted else None
    d_items = _ItemGradient(items, precise) if wanted else None
    for start in range(0, n_rows, rows):
        part = slice(start, min(start + rows, n_rows))
        h, y = users[part], label[part]
        stats, rest = _rest_softmax(h, items, y, block[: len(h)])
        with torch.enable_grad():
            leaves = [stat.detach().requires_grad_() for stat in stats]
            model = SoftmaxStats(*leaves)
            if mean is None or label_prob is None:
                answers = no_answers(stats.label_logit)
            else:
                leaves.append(mean.expected_logit(h, part).requires_grad_())
                answers = TargetAnswers(label_prob[part], leaves[-1])
            losses = {name: loss(model, answers, weight) for name, (loss, _) in parts.items()}
            mean_loss = sum_of(parts, losses).sum() / n_rows
        for name, loss in losses.items():
            values[name].append(loss.detach())
        if d_users is None or d_items is None:
            continue
        slopes = torch.autograd.grad(mean_loss, leaves, allow_unused=True)
        by_label, by_rest, *by_mean = (
            torch.zeros_like(leaf) if slope is None else slope
            for slope, leaf in zip(slopes, leaves, strict=True)
        )
        weighted = by_rest[:, None] * h  # in float32 or wider
        d_users[part] = by_rest[:, None] * (rest.to(h.dtype) @ items.vectors)
        d_users[part] += by_label[:, None] * items.vectors[y]
        d_items.add(rest, weighted, by_rest)
        d_items.add_at(y, by_label[:, None] * h, by_label)
        if mean is not None:
            d_users[part] += mean.backward(by_mean[0], h, part)
    if d_items is not None and mean is not None:
        mean.finish(d_items)
    joined = {name: torch.cat(pieces) for name, pieces in values.items()}
    if d_users is None or d_items is None:
        return joined, None
    return joined, _Gradients(d_users, *d_items.result(items))


def _rest_softmax(
    h: Tensor, items: ItemVectors, y: Tensor, block: Tensor
) -> tuple[SoftmaxStats, Tensor]:
    """Fill `block` with exp(z - R), 0 at the label; return (z_y, R) and the block.

    R = max z - log max p^, since p^ = exp(z - R) has its largest value where z has: two cheap
    passes beside the fused softmax, instead of a slow logsumexp and a second exponential.
    """
    if block.dtype == h.dtype:
        torch.mm(h, items.vectors.T, out=block)
    else:
        block.copy_(h @ items.vectors.T)
    if items.bias is not None:
        block += items.bias
    column = y[:, None]
    label_logit = block.gather(1, column)[:, 0]
    block.scatter_(1, column, -math.inf)
    largest = block.amax(1)
    torch.softmax(block, 1, out=block)
    return SoftmaxStats(label_logit, largest - block.amax(1).log()), block


class _ItemGradient:
    """The buffers dL/dW and dL/db that all rows add to."""

    def __init__(self, items: ItemVectors, precise: torch.dtype) -> None:
        self.vectors = torch.empty_like(items.vectors, dtype=precise)
        self.bias = None if items.bias is None else torch.zeros_like(items.bias, dtype=precise)
        self.fresh = True
        self.low = items.vectors.dtype

    def add(self, rest: Tensor, weighted: Tensor, by_rest: Tensor) -> None:
        """Add p^T (c h) and p^T c."""
        if self.low == self.vectors.dtype:
            # The first block overwrites the buffer, which saves filling it with zeros.
            beta = 0.0 if self.fresh else 1.0
            torch.addmm(self.vectors, rest.T, weighted, beta=beta, out=self.vectors)
        else:
            product = rest.T.to(self.low) @ weighted.to(self.low)
            self.vectors = product.to(self.vectors.dtype) if self.fresh else self.vectors + product
        self.fresh = False
        if self.bias is not None:
            self.bias += rest.T @ by_rest

    def add_at(self, y: Tensor, rows: Tensor, numbers: Tensor) -> None:
        """Add the labels' own rows."""
        self.vectors.index_add_(0, y, rows.to(self.vectors.dtype))
        if self.bias is not None:
            self.bias.index_add_(0, y, numbers)

    def result(self, items: ItemVectors) -> tuple[Tensor, Tensor | None]:
        bias = None if items.bias is None or self.bias is None else self.bias.to(items.bias.dtype)
        return self.vectors.to(items.vectors.dtype), bias


class _MeanItem:
    """The mean item m(W) of a target and, at the end, the way of its gradient back to W."""

    def __init__(self, target: Target, items: ItemVectors, precise: torch.dtype) -> None:
        self.target = target
        self.mean = target.mean_item(items.vectors).to(precise)
        self.by_mean = torch.zeros_like(self.mean)
        self.mean_bias = None
        self.by_bias = None
        if items.bias is not None:
            self.mean_bias = target.mean_item(items.bias[:, None]).to(precise)
            self.by_bias = torch.zeros_like(self.mean_bias)

    def rows(self, tensor: Tensor, part: slice) -> Tensor:
        """Return the block's rows of a (P, .) answer, or all of a shared (1, .) one."""
        return tensor if len(tensor) == 1 else tensor[part]

    def expected_logit(self, h: Tensor, part: slice) -> Tensor:
        """Return E = h . m + b . s for the rows of a block."""
        expected = (h * self.rows(self.mean, part)).sum(1)
        if self.mean_bias is not None:
            expected = expected + self.rows(self.mean_bias, part)[:, 0]
        return expected

    def backward(self, by_expected: Tensor, h: Tensor, part: slice) -> Tensor:
        """Take dL/dE of a block; keep its share for m and return that for h."""
        slope = by_expected[:, None]
        self._keep(self.by_mean, slope * h, part)
        if self.by_bias is not None:
            self._keep(self.by_bias, slope, part)
        return slope * self.rows(self.mean, part)

    def _keep(self, sums: Tensor, share: Tensor, part: slice) -> None:
        self.rows(sums, part).add_(share.sum(0, keepdim=True) if len(sums) == 1 else share)

    def finish(self, gradient: _ItemGradient) -> None:
        """Carry dL/dm back to W and b, in place in the buffers of the sweep."""
        add_mean_gradient(self.target, self.by_mean, gradient.vectors)
        if self.by_bias is not None and gradient.bias is not None:
            add_mean_gradient(self.target, self.by_bias, gradient.bias[:, None])
