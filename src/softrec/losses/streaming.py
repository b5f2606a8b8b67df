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
after the last block. A teacher's softmax is read beside the student's own, for one product more;
its share e s_i of the gradient, e = dL/dE, joins c p^_i in the block.

Over a sample the block is P x M, and the label has a vector of its own. Losses on pairs of scores
are differentiated within the block, by the same two products.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from softrec.losses.contest import Contest, Expectation, Soft, check_contest, soft_over
from softrec.losses.pairwise import PairwiseLoss
from softrec.losses.softmax import (
    ObjectiveValue,
    Parts,
    SoftmaxStats,
    TargetAnswers,
    answers_of,
    check_whole,
    no_answers,
    sum_of,
)
from softrec.types import ItemVectors, ListedTarget, StreamedTarget, Target, add_mean_gradient

MIB = 2**20
CACHED = 48 * MIB  # about a last-level cache: larger blocks gain nothing more
LARGEST = 192 * MIB  # no block is larger, however many items there are
TINY = 1e-20  # a factor below this is no gradient any more
FEWEST_ROWS = 64  # fewer rows make the matrix products slow


def block_rows(n_items: int, bytes_per_number: int = 4) -> int:
    """Return how many rows of logits a block holds, for a catalogue of `n_items`."""
    row = n_items * bytes_per_number
    return max(1, min(max(FEWEST_ROWS, CACHED // row), LARGEST // row))


def _even(n_rows: int, most: int) -> int:
    """Return the size of equal blocks of at most `most` rows: a short last one runs slower."""
    return math.ceil(n_rows / max(1, math.ceil(n_rows / most)))


_workspaces = threading.local()


def _workspace(
    numbers: int, dtype: torch.dtype, device: torch.device, name: str = "logits"
) -> Tensor:
    """Return uninitialised memory that this thread uses again in the next step.

    On a CPU a fresh block costs a page fault every 4 KiB, in all some 5 % of a step; other
    devices have an allocator of their own that keeps memory.
    """
    if device.type != "cpu":
        return torch.empty(numbers, dtype=dtype, device=device)
    kept: Tensor | None = getattr(_workspaces, f"{name} {dtype}", None)
    if kept is None or len(kept) < numbers:
        kept = torch.empty(numbers, dtype=dtype)
        setattr(_workspaces, f"{name} {dtype}", kept)
    return kept[:numbers]


class _Gradients(NamedTuple):
    users: Tensor
    vectors: Tensor
    bias: Tensor | None
    label_vectors: Tensor | None
    label_bias: Tensor | None
    mean: Tensor | None
    mean_bias: Tensor | None


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
    n_items = len(items.vectors)
    check_whole(users, items, label)
    soft = None if target is None else soft_over(target, label, label, None, n_items)
    return streamed(Contest(users, items, label), parts, soft, weight, rows=rows)


def streamed(
    contest: Contest,
    loss: Parts | PairwiseLoss,
    soft: Soft | Expectation | None = None,
    weight: float = 0.0,
    *,
    rows: int | None = None,
) -> ObjectiveValue:
    """Return the mean loss of labels against shared candidates, a block of rows at a time.

    Rows without any other candidate have the loss 0. As for `streamed_softmax`, the gradient can
    be asked for once, and only through `total`.

    Args:
        contest: users, others, labels.
        loss: named softmax losses with coefficients, or one loss on pairs of scores.
        soft: the soft target over the candidates, or an exact mean item; None: the label alone.
        weight: the weight a of the soft target.
        rows: rows in a block.

    Raises:
        ValueError: as `full_softmax`.
    """
    check_contest(contest, loss, soft, weight)
    mean, mean_bias = (soft.mean, soft.bias) if isinstance(soft, Expectation) else (None, None)
    label = (None, None) if contest.label is None else contest.label[:2]
    total, *values = _Streamed.apply(
        contest.users, contest.others.vectors, contest.others.bias, *label, mean, mean_bias,
        _Work(contest, loss, soft, weight, rows),
    )  # fmt: skip
    names = list(loss) if isinstance(loss, Mapping) else ["loss"]
    return ObjectiveValue(total, dict(zip(names, values, strict=True)))


class _Work(NamedTuple):
    """All that is not differentiated through its own tensors."""

    contest: Contest
    loss: Parts | PairwiseLoss
    soft: Soft | Expectation | None
    weight: float
    rows: int | None


class _Streamed(torch.autograd.Function):
    """Value and gradient in one sweep; backward only hands the gradient out."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        *_, work = arguments
        sweep = _Sweep(work, wanted=any(ctx.needs_input_grad))
        values = sweep.run()
        ctx.gradients = sweep.gradients() if sweep.wanted else None
        ctx.mark_non_differentiable(*values.values())
        summed = sum_of(work.loss, values) if isinstance(work.loss, Mapping) else values["loss"]
        return (summed.mean(), *values.values())

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
        return (*gradients, None)


class _Sweep:
    """One pass over the rows; gradients gather in buffers on the way."""

    def __init__(self, work: _Work, *, wanted: bool) -> None:
        contest, soft = work.contest, work.soft
        self.contest, self.loss, self.weight = contest, work.loss, work.weight
        self.wanted = wanted
        users, others = contest.users, contest.others
        self.precise = torch.promote_types(users.dtype, torch.float32)
        n_rows, n_others = len(users), len(others.vectors)
        most = work.rows or block_rows(n_others, self.precise.itemsize)
        if not isinstance(work.loss, Mapping) and work.rows is None:
            most = max(1, most // 4)  # autograd holds several copies of a block
        if isinstance(soft, Soft) and isinstance(soft.target, StreamedTarget) and not work.rows:
            most = max(1, most // 2)  # two blocks share the cache
        self.rows = _even(n_rows, most)
        self.block = self._memory("logits")
        log_weight = contest.log_weight if isinstance(work.loss, Mapping) else None
        self.log_weight = log_weight
        self.shift = others.bias if log_weight is None else log_weight.to(self.precise)
        if log_weight is not None and others.bias is not None:
            self.shift = log_weight + others.bias
        self.mean: _MeanItem | None = None
        self.beside: _Teacher | _Listed | None = None
        if soft is not None and isinstance(work.loss, Mapping):
            if isinstance(soft, Soft) and isinstance(soft.target, StreamedTarget):
                self.beside = _Teacher(soft, self._memory("teacher"), contest, log_weight)
            elif (
                isinstance(soft, Soft)
                and isinstance(soft.target, ListedTarget)
                and contest.label is None
            ):
                self.beside = _Listed(soft, soft.target, self.precise)
            else:
                self.mean = _MeanItem(soft, others, self.precise)
        self.d_users = torch.empty_like(users) if wanted else None
        self.d_others = _ItemGradient(others, self.precise) if wanted else None
        own = contest.label
        self.d_label = torch.empty_like(own.vectors) if own is not None and wanted else None
        self.d_label_bias = (
            torch.empty_like(own.bias) if own is not None and own.bias is not None else None
        )

    def _memory(self, name: str) -> Tensor:
        n_others, device = len(self.contest.others.vectors), self.contest.users.device
        return _workspace(self.rows * n_others, self.precise, device, name).view(-1, n_others)

    def run(self) -> dict[str, Tensor]:
        """Return the value of each part, (P,), and fill the gradients."""
        n_rows = len(self.contest.users)
        parts = [
            slice(start, min(start + self.rows, n_rows)) for start in range(0, n_rows, self.rows)
        ]
        one = self._softmax if isinstance(self.loss, Mapping) else self._pairs
        values = [one(part) for part in parts]
        if self.d_others is not None and self.mean is not None:
            self.mean.finish(self.d_others)
        return {name: torch.cat([value[name] for value in values]) for name in values[0]}

    def _logits(self, part: slice) -> tuple[Tensor, Tensor]:
        """Return the block of logits of some rows and the label's own, (b,)."""
        contest = self.contest
        h, block = contest.users[part], self.block[: part.stop - part.start]
        if block.dtype == h.dtype:
            torch.mm(h, contest.others.vectors.T, out=block)
        else:
            block.copy_(h @ contest.others.vectors.T)
        if self.shift is not None:
            block += self.shift
        if contest.label is None:  # read from the block, so that it is rounded as the others are
            return block, block.gather(1, contest.column[part, None])[:, 0]
        own = (h.to(self.precise) * contest.label.vectors[part]).sum(1)
        if contest.label.bias is not None:
            own = own + contest.label.bias[part]
        return block, own.to(self.precise)

    def _rest(self, part: slice, block: Tensor) -> tuple[Tensor, Tensor | None]:
        """Leave the label out of `block` and turn it into exp(z - R); return R, (b,).

        R = max z - log max p^, since p^ = exp(z - R) has its largest value where z has: two cheap
        passes beside the fused softmax, instead of a slow logsumexp and a second exponential.
        Rows without others are returned as a mask; their R is 0.
        """
        contest = self.contest
        column = contest.column[part, None]
        if contest.label is None:
            block.scatter_(1, column, -math.inf)
            largest = block.amax(1)
            torch.softmax(block, 1, out=block)
            return largest - block.amax(1).log(), None
        place = column.clamp(min=0)
        before = block.gather(1, place)
        own = contest.own_log_weight(part).to(self.precise)[:, None]
        if self.log_weight is not None:
            own = own + before - self.log_weight[place]
        block.scatter_(1, place, torch.where(column < 0, before, own))
        if contest.left_out is not None:
            row, out = self._left_out(part)
            block[row, out] = -math.inf
        largest = block.amax(1)
        alone = largest == -math.inf
        if not bool(alone.any()):
            torch.softmax(block, 1, out=block)
            return largest - block.amax(1).log(), None
        block[alone] = 0
        torch.softmax(block, 1, out=block)
        rest = (largest - block.amax(1).log()).masked_fill(alone, 0)
        block[alone] = 0
        return rest, alone

    def _left_out(self, part: slice) -> tuple[Tensor, Tensor]:
        assert self.contest.left_out is not None
        row, place = self.contest.left_out
        here = (row >= part.start) & (row < part.stop)
        return row[here] - part.start, place[here]

    def _softmax(self, part: slice) -> dict[str, Tensor]:
        assert isinstance(self.loss, Mapping)
        h = self.contest.users[part]
        n_rows = len(self.contest.users)
        block, label_logit = self._logits(part)
        if self.beside is not None:
            self.beside.read(part, block)
        rest, alone = self._rest(part, block)
        with torch.enable_grad():
            leaves = [label_logit.detach().requires_grad_(), rest.detach().requires_grad_()]
            if self.beside is not None:
                leaves.append(self.beside.expected.requires_grad_())
                answers = self.beside.answers(leaves[-1], leaves[0])
            elif self.mean is not None:
                leaves.append(self.mean.expected_logit(h, part).requires_grad_())
                answers = self.mean.answers(leaves[-1], leaves[0], part)
            else:
                answers = no_answers(label_logit)
            model = SoftmaxStats(leaves[0], leaves[1])
            losses = {
                name: loss(model, answers, self.weight) for name, (loss, _) in self.loss.items()
            }
            if alone is not None:
                losses = {name: loss.masked_fill(alone, 0) for name, loss in losses.items()}
            mean_loss = sum_of(self.loss, losses).sum() / n_rows
        if self.d_users is not None and self.d_others is not None:
            slopes = torch.autograd.grad(mean_loss, leaves, allow_unused=True)
            by_label, by_rest, *by_soft = (
                torch.zeros_like(leaf) if slope is None else slope
                for slope, leaf in zip(slopes, leaves, strict=True)
            )
            if self.beside is None:
                # The factor c on the users instead of the block saves a pass over it.
                self._back(part, block, by_rest)
            else:
                # c (p^ + (e / c) s), again with c on the users; c may vanish, e need not.
                factor = torch.where(by_rest.abs() < TINY, TINY, by_rest)
                self.beside.spread(block, by_soft[0] / factor)
                self._back(part, block, factor)
            self._label_back(part, by_label)
            if self.mean is not None:
                self.d_users[part] += self.mean.backward(by_soft[0], h, part)
        return {name: loss.detach() for name, loss in losses.items()}

    def _pairs(self, part: slice) -> dict[str, Tensor]:
        """Return the values of a loss on pairs of scores; autograd works within the block."""
        assert not isinstance(self.loss, Mapping)
        contest = self.contest
        block, label_logit = self._logits(part)
        count = torch.ones_like(block) if contest.copies is None else (
            contest.copies.to(block).expand_as(block).clone()
        )  # fmt: skip
        column = contest.column[part, None]
        place = column.clamp(min=0)
        stays = torch.zeros_like(label_logit) if contest.own is None else contest.own[part]
        kept = torch.where(column < 0, count.gather(1, place), stays[:, None].to(count))
        count.scatter_(1, place, kept)
        if contest.left_out is not None:
            row, out = self._left_out(part)
            count[row, out] = 0
        with torch.enable_grad():
            leaves = [label_logit.detach().requires_grad_(), block.detach().requires_grad_()]
            loss = self.loss(leaves[0], leaves[1], count).masked_fill(count.sum(1) <= 0, 0)
            mean_loss = loss.sum() / len(contest.users)
        if self.wanted:
            by_label, by_others = torch.autograd.grad(mean_loss, leaves)
            self._back(part, by_others, None)
            self._label_back(part, by_label)
        return {"loss": loss.detach()}

    def _back(self, part: slice, block: Tensor, factor: Tensor | None) -> None:
        """Carry the gradient `factor` x `block` in the logits of the others back."""
        assert self.d_users is not None
        assert self.d_others is not None
        h, vectors = self.contest.users[part], self.contest.others.vectors
        product = block.to(h.dtype) @ vectors
        if factor is None:
            self.d_users[part] = product
            self.d_others.add(block, h.to(self.precise), torch.ones_like(block[:, 0]))
        else:
            self.d_users[part] = factor[:, None] * product
            self.d_others.add(block, factor[:, None] * h, factor)

    def _label_back(self, part: slice, by_label: Tensor) -> None:
        """Carry the gradient in the labels' own logits back, (b,)."""
        assert self.d_users is not None
        assert self.d_others is not None
        h = self.contest.users[part]
        slope = by_label[:, None]
        own = self.contest.label
        if own is None:
            y = self.contest.column[part]
            self.d_users[part] += slope * self.contest.others.vectors[y]
            self.d_others.add_at(y, slope * h, by_label)
            return
        assert self.d_label is not None
        self.d_users[part] += slope * own.vectors[part]
        self.d_label[part] = slope * h
        if self.d_label_bias is not None:
            self.d_label_bias[part] = by_label.to(self.d_label_bias.dtype)

    def gradients(self) -> _Gradients:
        """Return the gradient of the mean loss in all that has one."""
        assert self.d_users is not None
        assert self.d_others is not None
        given = self.mean is not None and self.mean.target is None
        return _Gradients(
            self.d_users,
            *self.d_others.result(self.contest.others),
            self.d_label,
            self.d_label_bias,
            self.mean.by_mean if given and self.mean is not None else None,
            self.mean.by_bias if given and self.mean is not None else None,
        )


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


class _Listed:
    """A few items a row over the full catalogue: read from the logits, written to the gradient.

    That touches k numbers a row, where the mean item needs k rows of D numbers each way.
    """

    def __init__(self, soft: Soft, target: ListedTarget, precise: torch.dtype) -> None:
        assert soft.surplus is not None
        assert soft.mass is not None
        self.items, shares = target.listed()
        self.shares = shares.to(precise)
        self.label = soft.label.to(precise)
        self.surplus, self.mass = soft.surplus.to(precise), soft.mass.to(precise)
        self.part = slice(0)
        self.expected = self.label

    def read(self, part: slice, logits: Tensor) -> None:
        """Take the mean logit of some rows; `logits` still has all."""
        self.part = part
        self.expected = (logits.gather(1, self.items[part]) * self.shares[part]).sum(1)

    def answers(self, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return what the losses ask."""
        part = self.part
        moment = expected - self.surplus[part] * label_logit
        return answers_of(moment, self.label[part], self.mass[part])

    def spread(self, block: Tensor, slope: Tensor) -> None:
        """Add slope x s to the gradient in the logits."""
        block.scatter_add_(1, self.items[self.part], slope[:, None] * self.shares[self.part])


def _row_dots(left: Tensor, right: Tensor) -> Tensor:
    """Return the dot product of each row of `left` with that of `right`, (b,), without a copy.

    In pairs of rows, of which two of four products count: single rows have a slow path.
    """
    even = len(left) // 2 * 2
    width = left.shape[1]
    pairs = left[:even].view(-1, 2, width) @ right[:even].view(-1, 2, width).transpose(1, 2)
    dots = pairs.diagonal(dim1=1, dim2=2).flatten()
    return dots if even == len(left) else torch.cat([dots, (left[-1] @ right[-1])[None]])


class _MeanItem:
    """The mean item m(W) of a target and, at the end, the way of its gradient back to W."""

    def __init__(self, soft: Soft | Expectation, others: ItemVectors, precise: torch.dtype) -> None:
        assert soft.surplus is not None
        assert soft.mass is not None
        self.label = soft.label.to(precise)
        self.surplus, self.mass = soft.surplus.to(precise), soft.mass.to(precise)
        mean_bias: Tensor | None
        if isinstance(soft, Expectation):
            self.target = None
            mean, mean_bias = soft.mean.detach(), soft.bias
        else:
            self.target = soft.target
            mean = soft.target.mean_item(others.vectors)
            mean_bias = None
            if others.bias is not None:
                mean_bias = soft.target.mean_item(others.bias[:, None])
        self.mean = mean.to(precise)
        self.mean_bias = None if mean_bias is None else mean_bias.detach().to(precise)
        self.by_mean = torch.zeros_like(self.mean)
        self.by_bias = None if self.mean_bias is None else torch.zeros_like(self.mean_bias)

    def rows(self, tensor: Tensor, part: slice) -> Tensor:
        """Return the block's rows of a (P, .) answer, or all of a shared (1, .) one."""
        return tensor if len(tensor) == 1 else tensor[part]

    def expected_logit(self, h: Tensor, part: slice) -> Tensor:
        """Return the sum of s_i z_i over the others, h . m + b . s, for the rows of a block."""
        expected = (h * self.rows(self.mean, part)).sum(1)
        if self.mean_bias is not None:
            expected = expected + self.rows(self.mean_bias, part)[:, 0]
        return expected

    def answers(self, expected: Tensor, label_logit: Tensor, part: slice) -> TargetAnswers:
        """Return what the losses ask."""
        moment = expected - self.surplus[part] * label_logit
        return answers_of(moment, self.label[part], self.mass[part])

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
        if self.target is None:
            return
        add_mean_gradient(self.target, self.by_mean, gradient.vectors)
        if self.by_bias is not None and gradient.bias is not None:
            add_mean_gradient(self.target, self.by_bias, gradient.bias[:, None])


class _Teacher:
    """A teacher's softmax over a block without the label, beside its log-odds of the label."""

    def __init__(
        self, soft: Soft, memory: Tensor, contest: Contest, log_weight: Tensor | None
    ) -> None:
        assert isinstance(soft.target, StreamedTarget)
        self.target: StreamedTarget = soft.target
        self.soft, self.memory, self.contest = soft, memory, contest
        self.log_weight = log_weight
        self.block = memory
        self.odds = self.expected = self.total = memory[0]

    def read(self, part: slice, logits: Tensor) -> None:
        """Fill the block with `total` x s over the others, 0 at the label; `logits` has all yet.

        Divided by `total` are numbers of a row, which saves the pass of a softmax that divides.
        """
        column = self.contest.column[part, None]
        place = column.clamp(min=0)
        self.block = self.target.fill(part, self.memory[: len(column)])
        # The lowest number instead of -inf: a row of the label alone has a softmax, too.
        lowest = torch.finfo(self.block.dtype).min
        own = self.block.gather(1, place).masked_fill(column >= 0, lowest)
        self.block.scatter_(1, place, own)
        largest = self.block.amax(1, keepdim=True)
        self.block.sub_(largest).exp_()
        self.total = self.block.sum(1)
        self.odds = self.soft.label[part].to(self.block) - largest[:, 0] - self.total.log()
        self.expected = _row_dots(self.block, logits)
        if self.log_weight is not None:
            self.expected -= self.block @ self.log_weight.to(self.block)
        self.expected /= self.total

    def spread(self, block: Tensor, slope: Tensor) -> None:
        """Add slope x s, without the label, to the gradient in the logits."""
        block.addcmul_(self.block, (slope / self.total)[:, None])

    def answers(self, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return what the losses ask; `expected` is the mean logit of the others."""
        return TargetAnswers(self.odds.sigmoid(), (-self.odds).sigmoid(), expected)
