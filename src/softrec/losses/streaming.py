"""The streamed pass: value and gradient of a loss over P x M logits, one block of rows at a time.

The loss of a row depends on its logits only through (z_y, R). When the logits of a few rows are in
the processor's cache, R, the derivatives of the loss in z_y and R, and the whole gradient of these
rows are computed before the next block overwrites them. So a step needs three matrix products
(logits, gradient of the users, gradient of the items), as many as hard cross-entropy, and there is
never a table of P x M numbers.

Inside a block the softmax over the negatives, p^_i = exp(z_i - R), overwrites the logits in place.
With c = dL/dR and g = dL/dz_y the gradient in the logits is c p^_i, and g at the positive. The
users are multiplied by c instead of the block, which saves a pass over the block:

    dL/dh  = c (p^ W) + g w_y           dL/dW += p^T (c h),  row y: + g h

The expected logit of a soft target is linear, E = h . m(W), so its gradient is added to the same
buffers once, after the last block. Targets that are read block by block are in `beside.py`,
positives with their own vectors in `sampled.py`, pairwise losses in `pairs.py`.
"""

from __future__ import annotations

import math
import threading
from functools import partial
from typing import Any

import torch
from torch import Tensor

from softrec.losses.beside import Beside, LabelAlone, Listed, Teacher
from softrec.losses.once import Given, GivenOnce, Wanted
from softrec.losses.pairs import PairBlocks
from softrec.losses.pairwise import Pairs
from softrec.losses.sampled import Apart
from softrec.losses.softmax import (
    Loss,
    ObjectiveValue,
    Parts,
    Slopes,
    SoftmaxProblem,
    SoftmaxStats,
    SoftTarget,
    TargetAnswers,
    answers_of,
    check_problem,
    loss_of,
    mean_of,
)
from softrec.types import ListedTarget, LogitTarget

MIB = 2**20
CACHED = 48 * MIB  # about a last-level cache; larger blocks are not faster
LARGEST = 192 * MIB  # the largest block, for any number of items
FEWEST_ROWS = 64  # with fewer rows the matrix products are slow
NOT_GIVEN = (None, None)


def streamed(
    problem: SoftmaxProblem,
    loss: Loss,
    soft: SoftTarget | None = None,
    weight: float = 0.0,
    *,
    rows: int | None = None,
) -> ObjectiveValue:
    """Return the mean loss of positives and negatives common to all rows, block by block.

    Rows without negatives have the loss 0. The gradient is computed together with the value, so
    `backward` can run once, and only through `total`. Statistics are float32 or wider for any type
    of the vectors.

    Args:
        problem: users, negatives, positives.
        loss: named softmax losses with coefficients, or one pairwise loss.
        soft: the soft target; None for the label alone.
        weight: of the soft target, in [0, 1]; a in the formulas.
        rows: rows in a block; by default chosen by the number of negatives.

    Raises:
        ValueError: if weight, shapes or labels are out of range, if a soft target is missing, or
            if there is one that the loss cannot use.

    Sibling: `softrec.losses.reference.plain`, from whole tables.
    """
    kind = loss_of(loss)
    kind.check(weight, soft=soft is not None)
    check_problem(problem, soft)
    given = (soft.mean if soft is not None else None) or NOT_GIVEN
    tensors = (
        problem.users,
        *problem.negatives[:2],
        *(problem.positive or NOT_GIVEN)[:2],
        *given[:2],
    )
    recorded = torch.is_grad_enabled()  # forward itself runs without gradients and cannot know this
    wanted = Wanted(*(recorded and t is not None and t.requires_grad for t in tensors))
    make = partial(Sweep, problem, kind, soft, weight, rows, wanted)
    total, *values = _Streamed.apply(*tensors, make)
    return ObjectiveValue(total, dict(zip(kind.names, values, strict=True)))


class _Streamed(GivenOnce):
    """The streamed pass as a function of autograd."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        sweep: Sweep = arguments[-1]()
        values = sweep.run()
        ctx.gradients = sweep.gradients() if sweep.wanted else None
        ctx.mark_non_differentiable(*values.values())
        return (sweep.loss.total(values).mean(), *values.values())


class Sweep:
    """One pass over the rows, which adds up the gradients in buffers."""

    def __init__(
        self,
        problem: SoftmaxProblem,
        loss: Parts | Pairs,
        soft: SoftTarget | None,
        weight: float,
        rows: int | None,
        wanted: Wanted,
    ) -> None:
        self.problem, self.loss, self.wanted = problem, loss, any(wanted)
        users, negatives = problem.users, problem.negatives
        precise = self.precise = torch.promote_types(users.dtype, torch.float32)
        apart = problem.positive is not None
        self.positive = Apart(problem, precise, wanted) if apart else Among(problem)
        self.shift = negatives.bias
        if isinstance(loss, Pairs):
            self.inside = PairBlocks(problem, loss)
        else:
            beside = _read_beside(problem, soft, precise, wanted)
            self.inside = SoftmaxBlocks(loss, weight, beside, self.positive, len(users))
            self.shift = problem.shift
        m = len(negatives.vectors)
        most = rows or max(1, block_rows(m, precise.itemsize) // self.inside.blocks)
        n = len(users)  # in equal blocks, because a short last block would be slow
        self.rows = math.ceil(n / math.ceil(n / most))
        self.block = workspace(self.rows, m, precise, users.device)
        self.into = Gradients(problem, precise, wanted)

    def run(self) -> dict[str, Tensor]:
        """Return the value of each part, (P,), and fill the gradients."""
        n_rows, values = len(self.problem.users), []
        for start in range(0, n_rows, self.rows):
            rows = slice(start, min(start + self.rows, n_rows))
            users = self.problem.users[rows]
            block = self._logits(users)
            found, slopes = self.inside(
                rows, users, block, self.positive.logit(rows, users, block), wanted=self.wanted
            )
            values.append(found)
            if slopes is not None:
                self._back(rows, users, slopes)
        return {name: torch.cat([found[name] for found in values]) for name in values[0]}

    def _logits(self, users: Tensor) -> Tensor:
        block, vectors = self.block[: len(users)], self.problem.negatives.vectors
        if block.dtype == users.dtype:
            torch.mm(users, vectors.T, out=block)
        else:
            block.copy_(users @ vectors.T)
        if self.shift is not None:
            block += self.shift
        return block

    def _back(self, rows: slice, users: Tensor, slopes: Slopes) -> None:
        """Add the gradients through the logits of some rows."""
        self.into.add(rows, users, slopes)
        self.positive.back(rows, users, slopes.positive, self.into)
        if slopes.users is not None and self.into.users is not None:
            self.into.users[rows] += slopes.users

    def gradients(self) -> list[Tensor | None]:
        """Return the gradients of the mean loss in all arguments, None where not wanted."""
        mean = self.inside.finish(self.into.vectors, self.into.bias)
        return [*self.into.result(), *self.positive.gradients(), *mean]


class SoftmaxBlocks:
    """Softmax losses on a block of logits, which is overwritten by the gradient."""

    def __init__(
        self, loss: Parts, weight: float, beside: Beside, positive: Among | Apart, n_rows: int
    ) -> None:
        self.loss, self.weight, self.beside = loss, weight, beside
        self.positive, self.n_rows = positive, n_rows
        self.blocks, self.finish = beside.blocks, beside.finish

    def __call__(
        self, rows: slice, users: Tensor, block: Tensor, label_logit: Tensor, *, wanted: bool
    ) -> tuple[dict[str, Tensor], Slopes | None]:
        """Return the values of some rows and, if they are wanted, the gradients in the logits."""
        expected = self.beside.read(rows, users, block)
        rest, alone = self.positive.rest(rows, block)
        with torch.enable_grad():
            leaves = [leaf.detach().requires_grad_() for leaf in (label_logit, rest, expected)]
            answers = self.beside.answers(rows, leaves[2], leaves[0])
            stats = SoftmaxStats(leaves[0], leaves[1])
            values = self.loss.values_of(stats, answers, self.weight)
            if alone is not None:
                values = {name: value.masked_fill(alone, 0) for name, value in values.items()}
            mean = self.loss.total(values).sum() / self.n_rows
        values = {name: value.detach() for name, value in values.items()}
        if not wanted:
            return values, None
        by_label, by_rest, by_expected = (
            torch.zeros_like(leaf) if slope is None else slope
            for slope, leaf in zip(
                torch.autograd.grad(mean, leaves, allow_unused=True), leaves, strict=True
            )
        )
        factor = self.beside.join(rows, block, by_rest, by_expected)
        by_users = self.beside.by_users(rows, users, by_expected)
        return values, Slopes(by_label, block, factor, by_users)


class Among:
    """Positives that are in the table of negatives: the full catalogue."""

    def __init__(self, problem: SoftmaxProblem) -> None:
        self.place, self.vectors = problem.place, problem.negatives.vectors

    def logit(self, rows: slice, users: Tensor, block: Tensor) -> Tensor:
        """Return z_y from the block, with the same rounding as the other logits, (b,)."""
        return block.gather(1, self.place[rows, None])[:, 0]

    def rest(self, rows: slice, block: Tensor) -> tuple[Tensor, Tensor | None]:
        """Leave the positive out of `block` and turn the block into exp(z - R); return R, (b,).

        R = max z - log max p^, because p^ = exp(z - R) has its maximum where z has. This takes two
        cheap passes in addition to the fused softmax, and no logsumexp and second exponential.
        """
        block.scatter_(1, self.place[rows, None], -math.inf)
        largest = block.amax(1)
        torch.softmax(block, 1, out=block)
        return largest - block.amax(1).log(), None

    def back(self, rows: slice, users: Tensor, slope: Tensor, into: Gradients) -> None:
        """Add the gradients through z_y."""
        place = self.place[rows]
        if into.users is not None:
            into.users[rows] += slope[:, None] * self.vectors[place]
        into.add_at(place, users, slope)

    def gradients(self) -> Given:
        """Return nothing, because they are part of the negatives' gradients."""
        return NOT_GIVEN


class MeanItem:
    """A target that is read by its mean item m(W), whose gradient is added to W's at the end."""

    blocks = 1

    def __init__(
        self, soft: SoftTarget, problem: SoftmaxProblem, precise: torch.dtype, wanted: Wanted
    ) -> None:
        label, (self.target, surplus, mass) = soft.rest(problem.place)
        self.label, self.surplus, self.mass = (t.to(precise) for t in (label, surplus, mass))
        self.given = soft.mean is not None
        mean = soft.mean or mean_of(self.target, problem.negatives)
        self.mean = mean.vectors.detach().to(precise)
        self.mean_bias = None if mean.bias is None else mean.bias.detach().to(precise)
        asked, asked_bias = wanted[5:] if self.given else wanted[1:3]
        self.d_mean = torch.zeros_like(self.mean) if asked else None
        own_bias = self.mean_bias if asked_bias else None
        self.d_bias = None if own_bias is None else torch.zeros_like(own_bias)

    def read(self, rows: slice, users: Tensor, block: Tensor) -> Tensor:
        """Return sum_i s_i z_i = h . m + b . s, (b,)."""
        expected = (users * _of(self.mean, rows)).sum(1)
        return expected if self.mean_bias is None else expected + _of(self.mean_bias, rows)[:, 0]

    def answers(self, rows: slice, expected: Tensor, label_logit: Tensor) -> TargetAnswers:
        """Return the target's answers, without the probability left at the positive."""
        moment = expected - self.surplus[rows] * label_logit
        return answers_of(moment, self.label[rows], self.mass[rows])

    def join(self, rows: slice, block: Tensor, by_rest: Tensor, by_expected: Tensor) -> Tensor:
        """Return the factor c of the block, which is not changed."""
        return by_rest

    def by_users(self, rows: slice, users: Tensor, by_expected: Tensor) -> Tensor | None:
        """Store dL/dm of some rows, and return dL/dh."""
        slope = by_expected[:, None]
        for kept, rate in ((self.d_mean, slope * users), (self.d_bias, slope)):
            if kept is not None:
                _of(kept, rows).add_(rate.sum(0, keepdim=True) if len(kept) == 1 else rate)
        return slope * _of(self.mean, rows)

    def finish(self, vectors: Tensor | None, bias: Tensor | None) -> Given:
        """Add the gradients of m in W and b to the buffers; return dL/dm if m was given."""
        if self.given:
            return self.d_mean, self.d_bias
        if self.d_mean is not None and vectors is not None:
            self.target.add_mean_gradient(self.d_mean, vectors)
        if self.d_bias is not None and bias is not None:
            self.target.add_mean_gradient(self.d_bias, bias[:, None])
        return NOT_GIVEN


def _of(tensor: Tensor, rows: slice) -> Tensor:
    """Return some rows of a (P, .) tensor, or all of a (1, .) tensor."""
    return tensor if len(tensor) == 1 else tensor[rows]


def _read_beside(
    problem: SoftmaxProblem, soft: SoftTarget | None, precise: torch.dtype, wanted: Wanted
) -> Beside:
    """Return how a soft target is read; any target can be read by its mean item."""
    if soft is None:
        return LabelAlone()
    if soft.mean is None and isinstance(soft.target, LogitTarget):
        m, device = len(problem.negatives.vectors), problem.users.device
        return Teacher(
            soft, soft.target, problem, lambda b: workspace(b, m, precise, device, "teacher")
        )
    full = problem.positive is None and soft.mean is None
    if full and isinstance(soft.target, ListedTarget):
        return Listed(soft, problem.place, precise)
    return MeanItem(soft, problem, precise, wanted)


class Gradients:
    """The buffers of dL/dh, dL/dW and dL/db, if these are wanted."""

    def __init__(self, problem: SoftmaxProblem, precise: torch.dtype, wanted: Wanted) -> None:
        self.items = items = problem.negatives
        self.users = torch.empty_like(problem.users) if wanted.users else None
        self.vectors = torch.empty_like(items.vectors, dtype=precise) if wanted.negatives else None
        bias = items.bias if wanted.negatives_bias else None
        self.bias = None if bias is None else torch.zeros_like(bias, dtype=precise)
        self.fresh = True

    def add(self, rows: slice, users: Tensor, slopes: Slopes) -> None:
        """Write c (p^ W), and add p^T (c h) and p^T c."""
        factor, rest, low = slopes.factor[:, None], slopes.negatives, self.items.vectors.dtype
        if self.users is not None:
            self.users[rows] = factor * (rest.to(users.dtype) @ self.items.vectors)
        if self.bias is not None:
            self.bias += rest.T @ slopes.factor
        if self.vectors is None:
            return
        weighted = factor * users
        if low == self.vectors.dtype:
            # The first block overwrites the buffer, which saves filling it with zeros.
            beta = 0.0 if self.fresh else 1.0
            torch.addmm(self.vectors, rest.T, weighted, beta=beta, out=self.vectors)
        else:
            product = (rest.T.to(low) @ weighted.to(low)).to(self.vectors.dtype)
            self.vectors = product if self.fresh else self.vectors + product
        self.fresh = False

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


def block_rows(n_items: int, bytes_per_number: int = 4) -> int:
    """Return how many rows of logits a block has, for a catalogue of `n_items`."""
    row = n_items * bytes_per_number
    return max(1, min(max(FEWEST_ROWS, CACHED // row), LARGEST // row))


_kept = threading.local()


def workspace(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device, name: str = "logits"
) -> Tensor:
    """Return uninitialised memory (rows, columns) that this thread uses again in the next step.

    On a CPU new memory costs a page fault every 4 KiB, about 5 % of the time of a step. Other
    devices have allocators that reuse memory.
    """
    if device.type != "cpu":
        return torch.empty(rows, columns, dtype=dtype, device=device)
    numbers = rows * columns
    kept: Tensor | None = getattr(_kept, f"{name} {dtype}", None)
    if kept is None or len(kept) < numbers:
        kept = torch.empty(numbers, dtype=dtype)
        setattr(_kept, f"{name} {dtype}", kept)
    return kept[:numbers].view(rows, columns)
