"""The cost of the axes of a recipe: soft targets, teachers, samples, negatives for each row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from benchmarks import losses
from benchmarks.losses import BALANCE, WEIGHT, Inputs
from benchmarks.timing import Bar, Row, Work, agree, paired
from softrec.candidates import Candidates, CandidateSource, RowDraws, SharedUniform
from softrec.losses.bilateral import sl
from softrec.losses.softmax import decoupled, hard, mixed
from softrec.objective import Objective
from softrec.scoring import Scoring
from softrec.targets.smoothing import UniformTarget
from softrec.targets.teacher import TeacherTarget
from softrec.types import Batch, Encoder, ItemVectors, Vectors


@dataclass(frozen=True)
class Shapes:
    """Sizes of batches over N items: for soft targets, for a sample, for samples of each row."""

    soft: losses.Shapes = losses.Shapes()
    sparse: tuple[int, ...] = (64, 300)  # items a row of a sparse target
    teacher: int = 128  # width of the teacher's vectors
    sampled: losses.Shapes = losses.Shapes(n_items=200_000, repeats=7)
    share: float = 0.2  # of the catalogue that a sample holds
    by_row: losses.Shapes = losses.Shapes(batch=1_024, n_items=38_048, dim=64, repeats=9)
    draws: int = 800  # negatives of each row


QUICK = Shapes(
    soft=losses.QUICK,
    sparse=(4, 8),
    teacher=4,
    sampled=losses.QUICK,
    by_row=losses.QUICK,
    draws=20,
)


class Held(Encoder):
    """An encoder that only has vectors, and a batch for it, so that only the objective is timed."""

    def __init__(self, data: Inputs) -> None:
        super().__init__()
        self.data = data
        self.n_items = len(data.vectors)
        rows = torch.arange(len(data.label))
        self.batch = Batch(data.label[:, None], data.label, rows, rows)

    def items(self) -> ItemVectors:
        return ItemVectors(self.data.vectors)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        return Vectors(self.data.users, items or self.items())

    def gradients(self, objective: Objective) -> tuple[Tensor, ...]:
        """Return the gradients of users and item table, for any candidates."""
        return self.data.gradients(objective(self, self.batch).total)

    def same(self, ours: Objective, plain: Objective) -> None:
        """Check that two objectives have the same gradients."""
        for a, b in zip(self.gradients(ours), self.gradients(plain), strict=True):
            agree(a, b)


def axes(shapes: Shapes) -> list[Row]:
    """Time every axis compared with what it replaces."""
    return [*_soft(shapes), *_sampled(shapes), _by_row(shapes)]


def _soft(shapes: Shapes) -> list[Row]:
    """Time the decoupled loss with long sparse targets, and a teacher, against hard labels."""
    data = [Inputs(replace(shapes.soft, sparse=k)) for k in shapes.sparse]
    draw = torch.Generator().manual_seed(1)
    first = data[0]
    teacher = TeacherTarget(
        torch.randn(shapes.soft.batch, shapes.teacher, generator=draw),
        ItemVectors(
            torch.randn(shapes.soft.n_items, shapes.teacher, generator=draw) * shapes.teacher**-0.5
        ),
    )
    kinds = [
        (some, f"decoupled, {some.shapes.sparse} sparse items a row", decoupled(BALANCE),
         some.sparse, 1.10)
        for some in data
    ] + [
        (first, f"mixed, a teacher of width {shapes.teacher}", mixed(), teacher, 1.5)
    ]  # fmt: skip
    rows = []
    for some, name, parts, target, limit in kinds:
        some.same(some.streamed(parts, target), some.reference(parts, target))
        pair = paired(
            lambda some=some, parts=parts, target=target: some.gradients(
                some.streamed(parts, target)
            ),
            lambda some=some: some.gradients(some.streamed(hard())),
            shapes.soft.repeats,
        )
        bar = Bar(limit, "at most", "cost")
        rows.append(pair.row(f"{name}, {shapes.soft}", "streamed", "streamed hard", bar))
    return rows


def _sampled(shapes: Shapes) -> list[Row]:
    """Time steps with a new sample each, including reading and updating rows of the item table."""
    s = shapes.sampled
    held = Held(Inputs(s))
    number = round(shapes.share * s.n_items)
    named = {
        "sampled softmax": Objective,
        "sampled softmax, label smoothing": partial(
            Objective, mixed(), UniformTarget(s.n_items), WEIGHT
        ),
    }
    rows = []
    for name, objective in named.items():
        whole = objective()
        held.same(objective(candidates=SharedUniform(s.n_items, s.n_items)), whole)
        some = objective(candidates=SharedUniform(s.n_items, number))
        pair = paired(_step(held, some), _step(held, whole), s.repeats)
        work = f"{name}, {shapes.share:.0%} of the items, {s}"
        bar = Bar(0.35, "at most", "cost")
        rows.append(pair.row(work, "with log Q correction", "all items", bar))
    return rows


def _by_row(shapes: Shapes) -> Row:
    """Time SL on cosines with negatives sampled for each row, compared with all other items."""
    s = shapes.by_row
    held = Held(Inputs(s))
    objective = partial(Objective, {"sl": (sl, 1.0)}, scoring=Scoring("cosine", 0.1))
    whole, some = objective(), objective(candidates=RowDraws(s.n_items, shapes.draws))
    Held(Inputs(replace(s, batch=4))).same(objective(candidates=_all_others(s)), whole)
    pair = paired(_step(held, some), _step(held, whole), s.repeats)
    return pair.row(f"sl on cosines, {s}", f"{shapes.draws} draws a row", "all items", None)


def _all_others(shapes: losses.Shapes) -> CandidateSource:
    """Return candidates that are not random: every row has all items except its label."""

    def source(batch: Batch) -> Candidates:
        label = batch.label[:, None]
        items = torch.arange(shapes.n_items - 1).expand(len(label), -1)
        items = items + (items >= label)
        return Candidates(items, torch.ones(items.shape))

    return source


def _step(held: Held, objective: Objective) -> Work:
    return lambda: held.gradients(objective)
