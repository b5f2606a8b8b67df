"""One epoch of GRU4Rec on Diginetica, training and evaluation, compared with plain code.

Both sides have the same batches, the same initial weights and the same dropout. Steps of both sides
alternate, and so do parts of the evaluation. Times are scaled from the timed part to the epoch.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import dense
from benchmarks.data import diginetica, synthetic
from benchmarks.timing import Bar, Clock, Rates, Row, Side, agree, rates
from softrec.data.batches import Examples, TrainingBatches, examples
from softrec.data.splits import Cases, Split, rows_of
from softrec.evaluation.protocol import batches_of, evaluating, rank_cases
from softrec.losses import softmax_loss
from softrec.models.gru4rec import GRU4Rec
from softrec.objective import Objective
from softrec.training.loop import train
from softrec.training.module import SoftTargetModule
from softrec.types import Batch, Encoder, ItemVectors, Vectors

PARTS = ("data", "encoder", "loss", "optimiser", "trainer", "ranking")
PLAIN_AT_ONCE = 256  # users in a block of the plain evaluation


@dataclass(frozen=True)
class Shapes:
    """How much of the epoch is timed; None for all of it."""

    steps: int | None = 40
    users: int | None = 8_000
    pieces: int = 8  # the number of parts of the evaluation, in which both sides alternate
    batch: int = 256
    length: int = 20
    real: bool = True


QUICK = Shapes(steps=4, users=64, pieces=2, batch=16, real=False)
FULL = Shapes(steps=None, users=None)

Loss = Callable[[Tensor, ItemVectors, Tensor], Tensor]


@dataclass
class Trial:
    """One side: a model, its training, and the time of its parts."""

    model: GRU4Rec
    optimiser: torch.optim.Optimizer
    loss: Loss
    training: Clock = field(default_factory=Clock)
    evaluation: Clock = field(default_factory=Clock)

    def step(self, batch: Batch) -> float:
        """Make a training step and return its loss."""
        clock = self.training
        with clock.part("encoder"):
            users, items = self.model(batch)[:2]
        with clock.part("loss"):
            loss = self.loss(users, items, batch.label)
        arrived: list[float] = []
        # The backward pass of the loss ends when the gradient of the users is known.
        users.register_hook(lambda _: arrived.append(time.perf_counter()))
        begin = time.perf_counter()
        loss.backward()
        clock.add("loss", arrived[0] - begin)
        clock.add("encoder", time.perf_counter() - arrived[0])
        with clock.part("optimiser"):
            self.optimiser.step()
            self.optimiser.zero_grad()
        return loss.item()


def epoch(shapes: Shapes) -> list[Row]:
    """Time both sides, with the time of each part."""
    split, where = diginetica() if shapes.real else (synthetic(200, 300, 7.5, 20), "a tiny log")
    data = examples(split.train.sequences, "last", shapes.length)
    cases = split.cases("valid").new_only()
    ours, plain = _trials(split.train.n_items)
    timed_steps = _train(ours, plain, data, shapes, split.train.n_items)
    timed_users = _evaluate(ours, plain, cases, shapes)
    ours.training.add("trainer", _trainer(split, data, shapes, timed_steps, ours))
    whole_steps = len(data) / shapes.batch
    scales = whole_steps / timed_steps, len(cases) / timed_users
    times = [_scaled(side, *scales) for side in (ours, plain)]
    totals = [1e3 * sum(parts.values()) for parts in times]
    notes = (
        f"{where}; scaled from {timed_steps} of {whole_steps:.0f} steps and {timed_users:,} of "
        f"{len(cases):,} users",
        *_bounds(times, data, cases, ours.model, shapes),
    )
    return [
        Row(
            f"epoch of GRU4Rec, batch {shapes.batch}, length {shapes.length}, "
            f"N {split.train.n_items:,}, with one evaluation",
            Side("softrec", totals[0], totals[0]),
            Side("plain PyTorch", totals[1], totals[1]),
            totals[1] / totals[0],
            Bar(4.0, "at least", "speedup"),
            notes=notes,
        )
    ]


def _model(n_items: int) -> GRU4Rec:
    torch.manual_seed(0)
    return GRU4Rec(n_items, **GRU4Rec.PRESETS["desorec"])


def _trials(n_items: int) -> tuple[Trial, Trial]:
    def streamed(users: Tensor, items: ItemVectors, label: Tensor) -> Tensor:
        return softmax_loss(users, items.vectors, label, bias=items.bias)

    def materialised(users: Tensor, items: ItemVectors, label: Tensor) -> Tensor:
        return F.cross_entropy(dense.logits(users, items), label)

    first, second = _model(n_items), _model(n_items)
    module = SoftTargetModule(first, Objective(), lambda _: {}, lr=1e-3)
    return (
        Trial(first, module.configure_optimizers(), streamed),
        Trial(second, torch.optim.Adam(second.parameters(), lr=1e-3), materialised),
    )


def _train(ours: Trial, plain: Trial, data: Examples, shapes: Shapes, padding: int) -> int:
    """Make steps of both sides alternately; return how many were timed."""
    wanted = shapes.steps or -(-len(data) // shapes.batch)
    stream = itertools.chain.from_iterable(
        itertools.repeat(TrainingBatches(data, shapes.batch, padding))
    )
    for number in range(-2, wanted):
        if number == 0:  # two steps to warm up
            for side in (ours, plain):
                side.training = Clock()
        begin = time.perf_counter()
        batch = next(stream)
        assembled = time.perf_counter() - begin
        losses = []
        for side in (ours, plain):
            side.training.add("data", assembled)
            torch.manual_seed(number + 2)  # the same dropout
            losses.append(side.step(batch))
        agree(torch.tensor(losses[0]), torch.tensor(losses[1]), tolerance=1e-2)
    return wanted


def _evaluate(ours: Trial, plain: Trial, cases: Cases, shapes: Shapes) -> int:
    """Rank cases on both sides alternately, with the same weights; return how many."""
    wanted = min(shapes.users or len(cases), len(cases))
    model = ours.model
    same = 0
    with evaluating(model), torch.inference_mode():
        for piece in np.array_split(np.arange(wanted), shapes.pieces):
            some = Cases(
                cases.user[piece], rows_of(cases.history, piece), rows_of(cases.relevant, piece)
            )
            found = _our_ranks(model, some, shapes.length, ours.evaluation)
            expected = _plain_ranks(model, some, shapes.length, plain.evaluation)
            # Sums in another order exchange a few neighbours among so many items.
            same += int((abs(found - expected) <= 1).sum())
    if same < 0.99 * wanted:
        raise AssertionError(f"only {same:,} of {wanted:,} ranks are the same on both sides, or "
                             "one apart")  # fmt: skip
    return wanted


class _Timed(Encoder):
    """An encoder that measures its time."""

    def __init__(self, model: GRU4Rec, clock: Clock) -> None:
        super().__init__()
        self.model, self.clock, self.n_items = model, clock, model.n_items
        self.train(model.training)

    def items(self) -> ItemVectors:
        return self.model.items()

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        with self.clock.part("encoder"):
            return self.model(batch, items)


def _our_ranks(model: GRU4Rec, cases: Cases, length: int, clock: Clock) -> np.ndarray:
    before = clock.total
    begin = time.perf_counter()
    ranks = rank_cases(_Timed(model, clock), cases, length=length, k=20).rank
    clock.add("ranking", time.perf_counter() - begin - (clock.total - before))
    return ranks


def _plain_ranks(model: GRU4Rec, cases: Cases, length: int, clock: Clock) -> np.ndarray:
    items = model.items()
    pieces = []
    for rows, batch in batches_of(cases, length, model):
        with clock.part("encoder"):
            users = model(batch, items).users
        with clock.part("ranking"):
            seen = [cases.history[row].tolist() for row in range(rows.start, rows.stop)]
            for begin in range(0, len(users), PLAIN_AT_ONCE):
                part = slice(begin, begin + PLAIN_AT_ONCE)
                scores = dense.logits(users[part], items)
                pieces.append(dense.ranks(scores, batch.label[part], seen[part]).numpy())
    return np.concatenate(pieces)


def _trainer(split: Split, data: Examples, shapes: Shapes, steps: int, by_hand: Trial) -> float:
    """Return the time that `fit` adds to the steps: the loop, its logs, the sums of the losses."""
    few = slice(0, steps * shapes.batch)
    some = replace(data, start=data.start[few], stop=data.stop[few], user=data.user[few])
    batches = TrainingBatches(some, shapes.batch, split.train.n_items)
    with tempfile.TemporaryDirectory() as folder:
        trained = train(
            _model(split.train.n_items),
            Objective(),
            batches,
            lambda _: {"ndcg@10": 0.0},
            Path(folder),
            epochs=1,
            accelerator="cpu",
        )
    step = by_hand.training.total / steps
    return max(0.0, trained.seconds_per_epoch - len(batches) * step)


def _scaled(side: Trial, steps: float, users: float) -> dict[str, float]:
    """Return the seconds of each part in a whole epoch."""
    trained, evaluated = side.training.seconds, side.evaluation.seconds
    return {
        part: steps * trained.get(part, 0.0) + users * evaluated.get(part, 0.0) for part in PARTS
    }


def _bounds(
    times: list[dict[str, float]], data: Examples, cases: Cases, model: GRU4Rec, shapes: Shapes
) -> list[str]:
    """Return a text with the time of each part on both sides, and what limits it."""
    dim = model.dense.out_features
    machine = rates(shapes.batch, dim, model.n_items)
    needs = [_needs(data, cases, model, shapes, plain=plain) for plain in (False, True)]
    lines = [
        f"matrix products run at {machine.flop / 1e9:.0f} GFLOP/s, long vectors at "
        f"{machine.bytes / 1e9:.1f} GB/s; by part, softrec | plain:"
    ]
    for part in PARTS:
        said = [
            f"{parts[part]:.2f} s, {_bound(machine, parts[part], *need[part])}"
            if parts[part] > 0
            else "none"
            for parts, need in zip(times, needs, strict=True)
        ]
        lines.append(f"{part}: {said[0]} | {said[1]}")
    return lines


def _bound(machine: Rates, seconds: float, flop: float, moved: float, otherwise: str) -> str:
    return machine.bound(seconds, flop, moved, otherwise) if flop or moved else otherwise


def _needs(
    data: Examples, cases: Cases, model: GRU4Rec, shapes: Shapes, *, plain: bool
) -> dict[str, tuple[float, float, str]]:
    """Return the operations and the least bytes of each part, and what else may limit it."""
    n_items, dim = model.n_items, model.dense.out_features
    steps = len(data) / shapes.batch
    trained = float(np.sum(data.stop - data.start - 1))
    asked = float(np.minimum(cases.history.lengths, shapes.length).sum())
    per_position = 2.0 * sum(p.numel() for n, p in model.gru.named_parameters() if "weight" in n)
    parameters = sum(p.numel() for p in model.parameters())
    table = 4.0 * len(data) * n_items  # bytes of the logits of an epoch
    scores = 4.0 * len(cases) * n_items
    vectors = 4.0 * n_items * dim * steps
    return {
        "data": (0.0, 0.0, "small array operations"),
        # The gradient of the input table is dense: zeros except in the rows of the batch.
        "encoder": (per_position * (3 * trained + asked), vectors, "many small kernels"),
        # Plain code: logits, bias, softmax and its backward, three products: at least ten passes.
        "loss": (6.0 * len(data) * n_items * dim, 10 * table if plain else 3 * vectors,
                 "passes over the logits between the products"),
        "optimiser": (0.0, 7 * 4.0 * parameters * steps,
                      "more passes over the parameters than the least, which is one"),
        "trainer": (0.0, 0.0, "Python of the training loop"),
        # Ours writes scores, adds a bias, compares and counts; a sort has numbers of places, too.
        "ranking": (2.0 * len(cases) * n_items * dim, (9 if plain else 6) * scores,
                    "sorting whole rows" if plain else "passes over the scores, making masks"),
    }  # fmt: skip
