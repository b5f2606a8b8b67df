"""The streamed pass: value and gradient of a loss over P x M logits, tile by tile.

The loss of a row depends on its logits only through (z_y, R). The logits of a block of rows are
computed tile by tile, a few items for all rows of the block, so that a tile is in the processor's
cache while its exponentials are summed and multiplied. From R follow the derivatives of the loss in
z_y and R, and then the gradient of each tile, before the next block overwrites them. So a step
needs three matrix products (logits, gradient of the users, gradient of the items), as many as hard
cross-entropy, or a fourth where computing logits again is cheaper than keeping them, and there is
never a table of P x M numbers.

With the softmax over the negatives, p^_i = exp(z_i - R), and c = dL/dR, g = dL/dz_y, the gradient
in the logits is c p^_i, and g at the positive:

    dL/dh  = (c p^) W + g w_y           dL/dW += (c p^)^T h,  row y: + g h

The expected logit of a soft target is linear, E = h . m(W), so its gradient is added to the same
buffers once, after the last block. Tiles are in `tiles.py`, targets in `beside.py`, positives in
`positives.py`, the buffers in `gradients.py`, pairwise losses in `pairs.py`.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from softrec.losses.beside import Beside, LabelAlone, Listed, MeanItem, Teacher
from softrec.losses.checks import check_problem
from softrec.losses.gradients import GivenOnce, Gradients, Wanted
from softrec.losses.pairs import PairSweep
from softrec.losses.pairwise import Pairs
from softrec.losses.positives import Among, Apart, Owned
from softrec.losses.softmax import (
    Loss,
    ObjectiveValue,
    Parts,
    SoftmaxProblem,
    SoftmaxStats,
    SoftTarget,
    SoftWeight,
    loss_of,
)
from softrec.losses.tiles import Entries, Tiles, sizes, workspace
from softrec.parallel import Catalogue
from softrec.types import ListedTarget, LogitTarget, weighted_by

NO_PAIRS = (
    "pairwise losses compare scores of pairs and take no offset; choose a softmax loss, or a model "
    "without a prior"
)

NO_SHARDS = "pairwise losses have no catalogue in shards; choose a softmax loss, or train without"


def streamed(
    problem: SoftmaxProblem,
    loss: Loss,
    soft: SoftTarget | None = None,
    weight: SoftWeight = 0.0,
    *,
    rows: int | None = None,
    catalogue: Catalogue | None = None,
) -> ObjectiveValue:
    """Return the mean loss of positives and negatives common to all rows, block by block.

    Rows without negatives have the loss 0. The gradient is computed together with the value, so
    `backward` can run once, and only through `total`. Statistics are float32 or wider for any type
    of the vectors.

    Args:
        problem: users, negatives, positives.
        loss: named softmax losses with coefficients, or one pairwise loss.
        soft: the soft target; None for the label alone.
        weight: of the soft target, in [0, 1], for all rows or (P,); a in the formulas.
        rows: the most rows in a block; by default chosen by the number of negatives and the caches.
        catalogue: the shards of the items; then negatives and offset are of the items of this
            process, `place` is the item of the positive, and users and the offset of the positive
            are the same in all processes. Value and gradient of the users are over all items, in
            each process.

    Raises:
        ValueError: if weight, shapes or labels are out of range, if a soft target is missing, or
            if there is one that the loss cannot use.

    Sibling: `softrec.losses.reference.plain`, from whole tables.
    """
    kind = loss_of(loss)
    kind.check(weight, soft=soft is not None)
    check_problem(problem, soft, weight, catalogue)
    if catalogue is not None:
        problem = problem._replace(place=catalogue.place(problem.place))
        soft = soft and soft._replace(
            part=slice(catalogue.start, catalogue.stop), n_items=catalogue.n_items
        )
    none = (None, None)
    given = (soft.mean if soft is not None else None) or none
    tensors = (
        problem.users,
        *problem.negatives[:2],
        *(problem.positive or none)[:2],
        *given[:2],
    )
    recorded = torch.is_grad_enabled()  # forward itself runs without gradients and cannot know this
    wanted = Wanted(*(recorded and t is not None and t.requires_grad for t in tensors))
    if isinstance(kind, Pairs):
        if problem.offset is not None:
            raise ValueError(NO_PAIRS)
        if catalogue is not None:
            raise ValueError(NO_SHARDS)
        make = partial(PairSweep, problem, kind, rows, wanted)
    else:
        make = partial(Sweep, problem, kind, soft, weight, rows, wanted, catalogue)
    total, *values = _Streamed.apply(*tensors, make)
    return ObjectiveValue(total, dict(zip(kind.names, values, strict=True)))


class _Streamed(GivenOnce):
    """The streamed pass as a function of autograd."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, ...]:
        sweep: Sweep | PairSweep = arguments[-1]()
        total, values = sweep.run()
        ctx.gradients = sweep.gradients() if sweep.wanted else None
        ctx.mark_non_differentiable(*values.values())
        return (total.mean(), *values.values())


class Sweep:
    """One pass over the rows, which adds up the gradients of a softmax loss in buffers."""

    def __init__(
        self,
        problem: SoftmaxProblem,
        loss: Parts,
        soft: SoftTarget | None,
        weight: SoftWeight,
        rows: int | None,
        wanted: Wanted,
        catalogue: Catalogue | None = None,
    ) -> None:
        self.catalogue = catalogue
        self.problem, self.loss, self.weight = problem, loss, weight
        self.wanted, self.shift = any(wanted), problem.shift
        users, m = problem.users, len(problem.negatives.vectors)
        # All processes have the same blocks of rows, also if one has an item more than another.
        self.m = m if catalogue is None else catalogue.most
        self.precise = precise = torch.promote_types(users.dtype, torch.float32)
        apart = problem.positive is not None
        among = Among if catalogue is None else Owned
        self.positive = Apart(problem, precise, wanted) if apart else among(problem, precise)
        self.beside = self._beside(soft, wanted)
        self.size = sizes(
            len(users), self.m, precise.itemsize, users.device, blocks=self.beside.blocks, rows=rows
        )
        self.cut = self.size.tiles(m)
        self.into = Gradients(problem, precise, wanted)

    def _beside(self, soft: SoftTarget | None, wanted: Wanted) -> Beside:
        """Return how a soft target is read; any target can be read by its mean item."""
        problem, precise = self.problem, self.precise
        if soft is None:
            return LabelAlone()
        if soft.mean is None and soft.part is None and isinstance(soft.target, LogitTarget):
            memory = partial(self._memory, "teacher", overwritten=False)
            return Teacher(soft, soft.target, problem, memory)
        full = problem.positive is None and soft.mean is None
        if full and isinstance(soft.target, ListedTarget):
            return Listed(soft, problem.place, precise)
        return MeanItem(soft, problem, precise, wanted)

    def _memory(self, name: str, n_rows: int, *, overwritten: bool) -> tuple[Tensor | None, Tensor]:
        """Return memory for all tiles of `n_rows` rows, if they are kept, and for one.

        A single tile may be overwritten when it is visited for the second time.
        """
        device = self.problem.users.device
        kept = self.size.kept and self.wanted
        whole = workspace(self.m, n_rows, self.precise, device, name) if kept else None
        if whole is not None and overwritten and len(self.cut) == 1:
            return whole, whole
        return whole, workspace(self.size.items, n_rows, self.precise, device, f"{name}, a tile")

    def run(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the value of each row and of each part, (P,), and fill the gradients."""
        found = [self._rows(rows) for rows in self.size.blocks(len(self.problem.users))]
        parts = {name: torch.cat([values[name] for _, values in found]) for name in found[0][1]}
        return torch.cat([total for total, _ in found]), parts

    def gradients(self) -> list[Tensor | None]:
        """Return the gradients of the mean loss in all arguments, None where not wanted."""
        mean = self.beside.finish(self.into.vectors, self.into.bias)
        if self.catalogue is not None and self.into.users is not None:
            self.catalogue.summed(self.into.users)
        return [*self.into.result(), *self.positive.gradients(), *mean]

    def _rows(self, rows: slice) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the values of some rows, and of their parts, and add their gradients."""
        users, beside = self.problem.users[rows], self.beside
        beside.start(rows, users, self.cut)
        logits = Tiles(
            partial(self._fill, users), self._entries(rows), self.cut,
            *self._memory("logits", len(users), overwritten=True),
        )  # fmt: skip
        read = beside.read if beside.reads else None
        rest = logits.lse(read)
        while not beside.settled():
            rest = logits.lse(read)
        label_logit, expected = self.positive.logit(rows, users), beside.expected()
        if self.catalogue is not None:
            rest, label_logit, expected = self.catalogue.statistics(rest, label_logit, expected)
        alone = rest == -math.inf  # rows without negatives
        rest = rest.masked_fill(alone, 0)
        values, slopes = self._values(rows, label_logit, rest, expected, alone)
        if not self.wanted:
            return values
        by_label, by_rest, by_expected = slopes
        self.into.start(users)
        factor = by_rest * logits.scale(rest)
        for items in self.cut:
            tile = logits.weighted(items, factor)
            beside.add(items, tile, by_expected)
            self.into.add(items, tile, users, first=rows.start == 0)
        self.into.finish(rows, beside.by_users(by_expected))
        self.positive.back(rows, users, by_label, self.into)
        return values

    def _entries(self, rows: slice) -> Entries:
        """Return what is added to the logits: -inf at the positive, and the offset."""
        entries, offset = self.positive.left_out(rows), self.problem.offset
        if offset is None:
            return entries
        some = offset.of(rows)
        return entries.joined(some.items, some.rows, some.values.to(self.precise))

    def _fill(self, users: Tensor, items: slice, tile: Tensor) -> None:
        """Write the logits of some items to a tile, (items, b)."""
        vectors = self.problem.negatives.vectors[items]
        if tile.dtype == users.dtype:
            torch.mm(vectors, users.T, out=tile)
        else:
            tile.copy_(vectors @ users.T)
        if self.shift is not None:
            tile += self.shift[items, None]

    def _values(
        self, rows: slice, label_logit: Tensor, rest: Tensor, expected: Tensor, alone: Tensor
    ) -> tuple[tuple[Tensor, dict[str, Tensor]], list[Tensor]]:
        """Return the values, (b,), and the mean loss's gradient in three numbers."""
        added = self.problem.label_offset
        with torch.enable_grad():
            numbers = (label_logit, rest, expected)
            leaves = [leaf.detach().requires_grad_(self.wanted) for leaf in numbers]
            answers = self.beside.answers(leaves[2], leaves[0])
            whole = leaves[0] if added is None else leaves[0] + added[rows]
            weight = self.weight[rows] if isinstance(self.weight, Tensor) else self.weight
            values = self.loss.values_of(SoftmaxStats(whole, leaves[1]), answers, weight)
            values = {name: value.masked_fill(alone, 0) for name, value in values.items()}
            total = weighted_by(self.problem.weigh, self.loss.total(values), whole, rows)
            mean = total.sum() / len(self.problem.users)
        told = total.detach(), {name: value.detach() for name, value in values.items()}
        if not self.wanted:
            return told, []
        slopes = torch.autograd.grad(mean, leaves, allow_unused=True)
        return told, [
            torch.zeros_like(leaf) if slope is None else slope
            for slope, leaf in zip(slopes, leaves, strict=True)
        ]
