"""The streamed pass, forward and backward, compared with tables of logits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from benchmarks import dense
from benchmarks.timing import Bar, Row, Work, agree, paired
from softrec.losses import plain as by_tables
from softrec.losses import softmax_loss
from softrec.losses.softmax import Parts, SoftmaxProblem, SoftTarget, decoupled, hard, mixed
from softrec.targets.dense import DenseTarget
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.targets.sparse import SparseTarget
from softrec.targets.teacher import TeacherTarget
from softrec.types import ItemVectors, Target

LISTED, TEACHER = 1.05, 1.35  # what targets may cost, of hard cross-entropy
WEIGHT, BALANCE = 0.3, 0.7  # lambda1 and lambda2 of DesoRec on Diginetica


@dataclass(frozen=True)
class Shapes:
    """A batch of B users, N items, vectors of width D, k items per row in a sparse target."""

    batch: int = 256
    n_items: int = 43_229
    dim: int = 128
    sparse: int = 64
    repeats: int = 15

    def __str__(self) -> str:
        return f"B {self.batch:,}, N {self.n_items:,}, D {self.dim}"


QUICK = Shapes(batch=16, n_items=500, dim=8, sparse=4, repeats=2)


class Inputs:
    """Random users, items, labels and a sparse target that contains the label."""

    def __init__(self, shapes: Shapes) -> None:
        draw = torch.Generator().manual_seed(0)
        s = shapes
        self.shapes = s
        self.users = torch.randn(s.batch, s.dim, generator=draw).requires_grad_()
        self.vectors = (
            torch.randn(s.n_items, s.dim, generator=draw) * s.dim**-0.5
        ).requires_grad_()
        self.label = torch.randint(s.n_items, (s.batch,), generator=draw)
        near = torch.randint(s.n_items, (s.batch, s.sparse), generator=draw)
        near[:, 0] = self.label
        shares = torch.rand(s.batch, s.sparse, generator=draw)
        shares[:, 0] += s.sparse / 2
        self.sparse = SparseTarget(near, shares / shares.sum(1, keepdim=True))

    @cached_property
    def popularity(self) -> PopularityTarget:
        return PopularityTarget(popularity(1e5 / torch.arange(1, self.shapes.n_items + 1)))

    @cached_property
    def teacher(self) -> TeacherTarget:
        users, vectors = self.users.detach(), self.vectors.detach()
        return TeacherTarget(users.flip(1), ItemVectors(vectors), 1.0)

    def streamed(self, parts: Parts, target: Target | None = None) -> Tensor:
        weight = 0.0 if target is None else WEIGHT
        return softmax_loss(
            self.users, self.vectors, self.label, target=target, weight=weight, loss=parts
        )

    def reference(self, parts: Parts, target: Target) -> Tensor:
        if isinstance(target, SparseTarget):  # a list is slow if every item is looked up
            whole = dense.table(target.items, target.probs, self.shapes.n_items)
            target = DenseTarget(whole)
        elif isinstance(target, TeacherTarget):  # its softmax is computed again for each item
            target = DenseTarget(torch.cat([z.softmax(1) for _, z in target.logit_blocks()]))
        problem = SoftmaxProblem(self.users, ItemVectors(self.vectors), self.label)
        return by_tables(problem, parts, SoftTarget(target, self.label), WEIGHT).total

    def gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, [self.users, self.vectors])

    def same(self, ours: Tensor, plain: Tensor) -> None:
        """Check that two losses have the same gradients; their values may differ by a constant."""
        for a, b in zip(self.gradients(ours), self.gradients(plain), strict=True):
            agree(a, b)


def loss(shapes: Shapes) -> list[Row]:
    """Time hard cross-entropy compared with PyTorch's, and with the three products it needs."""
    data = Inputs(shapes)

    def ours() -> tuple[Tensor, ...]:
        return data.gradients(data.streamed(hard()))

    def plain() -> tuple[Tensor, ...]:
        return data.gradients(dense.cross_entropy(data.users, data.vectors, data.label))

    data.same(data.streamed(hard()), dense.cross_entropy(data.users, data.vectors, data.label))
    agree(data.streamed(hard()), dense.cross_entropy(data.users, data.vectors, data.label))
    products = _three_products(data)
    work = f"hard cross-entropy, {shapes}"
    return [
        paired(ours, plain, shapes.repeats).speedup(
            work, "streamed", "cross_entropy(h @ W.T)", Bar(1.6, "at least", "speedup")
        ),
        paired(ours, products, shapes.repeats).speedup(
            work, "streamed", "three bare products", Bar(0.85, "at least", "share of the rate")
        ),
    ]


def _three_products(data: Inputs) -> Work:
    """Return the three products that are needed: logits, gradients of users and of items."""
    users, vectors = data.users.detach(), data.vectors.detach()
    logits = torch.empty(len(users), len(vectors))
    d_users, d_vectors = torch.empty_like(users), torch.empty_like(vectors)

    def work() -> None:
        torch.mm(users, vectors.T, out=logits)
        torch.mm(logits, vectors, out=d_users)
        torch.mm(logits.T, users, out=d_vectors)

    return work


def targets(shapes: Shapes) -> list[Row]:
    """Time soft targets compared with hard cross-entropy, both streamed."""
    data = Inputs(shapes)
    teacher = data.teacher
    named: dict[str, Target] = {
        "label smoothing": UniformTarget(shapes.n_items),
        "POP+": data.popularity,
        f"{shapes.sparse} sparse items a row": data.sparse,
        "a teacher's softmax": teacher,
    }

    def step(parts: Parts, target: Target | None) -> tuple[Tensor, ...]:
        return data.gradients(data.streamed(parts, target))

    rows = []
    for name, target in named.items():
        data.same(data.streamed(mixed(), target), data.reference(mixed(), target))
        pair = paired(partial(step, mixed(), target), partial(step, hard(), None), shapes.repeats)
        bar = Bar(TEACHER if target is teacher else LISTED, "at most", "cost")
        rows.append(pair.row(f"{name}, {shapes}", "streamed", "streamed hard", bar))
    rows.append(
        paired(
            partial(step, decoupled(BALANCE), data.sparse),
            partial(step, hard(), None),
            shapes.repeats,
        ).row(
            f"decoupled, {shapes.sparse} sparse items a row, {shapes}",
            "streamed",
            "streamed hard",
            Bar(LISTED, "at most", "cost"),
        )
    )
    return rows


def recipes(shapes: Shapes) -> list[Row]:
    """Time the mixed and the decoupled loss compared with plain code."""
    data = Inputs(shapes)
    near = data.sparse

    def dense_decoupled() -> Tensor:
        return dense.decoupled(
            data.users, data.vectors, data.label, near.items, near.probs, WEIGHT, BALANCE
        )

    def dense_mixed() -> Tensor:
        return dense.mixed(data.users, data.vectors, data.label, near.items, near.probs, WEIGHT)

    rows = []
    for name, parts, plain in (
        ("decoupled", decoupled(BALANCE), dense_decoupled),
        ("mixed", mixed(), dense_mixed),
    ):
        data.same(data.streamed(parts, near), plain())
        pair = paired(
            lambda parts=parts: data.gradients(data.streamed(parts, near)),
            lambda plain=plain: data.gradients(plain()),
            shapes.repeats,
        )
        work = f"{name}, {shapes.sparse} sparse items a row, {shapes}"
        rows.append(
            pair.speedup(work, "streamed", "dense recipe", Bar(12.0, "at least", "speedup"))
        )
    return rows
