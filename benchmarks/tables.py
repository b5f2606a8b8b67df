"""The update of a large table: of every row, or only of the rows that have a gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from benchmarks.timing import Row, Work, agree, paired
from softrec.candidates import RowDraws, SharedUniform
from softrec.models.gru4rec import GRU4Rec
from softrec.objective import Objective
from softrec.training.optimizers import LazyAdam, mark_sparse
from softrec.types import Batch


@dataclass(frozen=True)
class Shapes:
    """A training step of GRU4Rec with sampled candidates."""

    n_items: tuple[int, ...] = (20_000, 1_000_000)
    dim: int = 64
    batch: int = 256
    length: int = 20
    draws: int = 800
    repeats: int = 7


QUICK = Shapes((50,), dim=4, batch=8, length=3, draws=5, repeats=2)


def tables(shapes: Shapes) -> list[Row]:
    """Time a step with sparse-adam compared with Adam; the output is tied to the input table."""
    rows = []
    for n_items in shapes.n_items:
        for name, candidates in (
            ("shared", SharedUniform(n_items, shapes.draws)),
            ("for each row", RowDraws(n_items, shapes.draws)),
        ):
            objective = Objective(candidates=candidates)
            _check(shapes, n_items, objective)
            pair = paired(
                _step(shapes, n_items, objective, sparse=True),
                _step(shapes, n_items, objective, sparse=False),
                shapes.repeats,
            )
            work = (
                f"step of gru4rec, N {n_items:,}, D {shapes.dim}, batch {shapes.batch}, "
                f"{shapes.draws} draws {name}"
            )
            rows.append(pair.row(work, "sparse-adam", "adam", None))
    return rows


def _model(shapes: Shapes, n_items: int) -> GRU4Rec:
    torch.manual_seed(0)
    return GRU4Rec(n_items, dim=shapes.dim, dropout=0.0, tied=True, output_bias=False)


def _batch(shapes: Shapes, n_items: int) -> Batch:
    rows = torch.arange(shapes.batch)
    history = torch.randint(n_items, (shapes.batch, shapes.length))
    return Batch(history, torch.randint(n_items, (shapes.batch,)), rows, rows)


def _step(shapes: Shapes, n_items: int, objective: Objective, *, sparse: bool) -> Work:
    model = _model(shapes, n_items)
    if sparse:
        mark_sparse(model)
        optimizer: torch.optim.Optimizer = LazyAdam(model.parameters())
    else:
        optimizer = torch.optim.Adam(model.parameters(), fused=True)

    def step() -> None:
        objective(model, _batch(shapes, n_items)).total.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _check(shapes: Shapes, n_items: int, objective: Objective) -> None:
    """Compare the gradients of the table: the same numbers, sparse and dense."""
    found = []
    for sparse in (False, True):
        model = _model(shapes, n_items)
        if sparse:
            mark_sparse(model)
        torch.manual_seed(1)
        value = objective(model, _batch(shapes, n_items))
        value.total.backward()
        gradient = model.table.weight.grad
        assert gradient is not None
        found.append(gradient.to_dense())
    agree(found[1], found[0])
