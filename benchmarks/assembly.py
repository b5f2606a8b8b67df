"""The time to make a batch, compared with the training step for which it is made."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.data import movielens, synthetic
from benchmarks.timing import Bar, Row, paired
from softrec.data.batches import TrainingBatches, examples
from softrec.models.sasrec import SASRec
from softrec.objective import Objective
from softrec.training.module import SoftTargetModule


@dataclass(frozen=True)
class Shapes:
    """Lengths of histories, size of a batch, and data."""

    batch: int = 128
    length: int = 200
    repeats: int = 7
    real: bool = True


QUICK = Shapes(batch=8, length=20, repeats=2, real=False)


def batches(shapes: Shapes) -> list[Row]:
    """Time making a batch of MovieLens 1M for every position, and a step of SASRec on it."""
    split, where = movielens() if shapes.real else (synthetic(40, 50, 12.0, 30), "a tiny log")
    n_items = split.train.n_items
    data = examples(split.train.sequences, "positions", shapes.length)
    stream = itertools.chain.from_iterable(
        itertools.repeat(TrainingBatches(data, shapes.batch, padding=n_items))
    )
    torch.manual_seed(0)
    settings: dict[str, Any] = SASRec.PRESETS["original"] | {"length": shapes.length}
    model = SASRec(n_items, **settings)
    objective = Objective()
    optimiser = SoftTargetModule(model, objective, lambda _: {}, lr=1e-3).configure_optimizers()
    ready = [next(stream)]

    def assemble() -> None:
        ready[0] = next(stream)

    def step() -> None:
        optimiser.zero_grad()
        objective(model, ready[0]).total.backward()
        optimiser.step()

    pair = paired(assemble, step, shapes.repeats)
    work = f"batch of {shapes.batch}, length {shapes.length}, every position, N {n_items:,}"
    bar = Bar(0.05, "at most", "share of the step")
    predictions = len(ready[0].label)
    notes = (f"{where}; the last batch asked for {predictions:,} predictions",)
    return [pair.row(work, "assembly", "step of SASRec", bar, notes)]
