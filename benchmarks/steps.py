"""A training step of every backbone with the sizes of MovieLens-1M, and the time of its parts.

Each model has the settings of a paper that compares it: size, batch, length of the histories, loss
and candidates. The histories are simulated; their number, lengths and items are those of the data
set. In each round every model makes one step.

A step is divided at the vectors: the encoder computes the vectors of users and items; the loss and
its gradients are computed from detached copies of them; then come the backward pass of the encoder
and the step of the optimiser. Before the timing, the gradients of a step in parts are compared with
those of a whole step.

With names of papers or models it times these and prints the time of each part:
`python -m benchmarks.steps TiMiRec mf`.
"""

from __future__ import annotations

import argparse
import inspect
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.timing import Bar, Clock, Row, Side, agree
from softrec.candidates import InBatch, RowDraws
from softrec.interacted import Interacted
from softrec.losses.bilateral import sl
from softrec.losses.distillation import interest_distillation
from softrec.losses.pairwise import bpr
from softrec.losses.softmax import decoupled
from softrec.objective import Objective
from softrec.recipe.specs.models import MODELS, ModelSettings
from softrec.scoring import Scoring
from softrec.targets.sparse import SparseTarget
from softrec.training.module import SoftTargetModule
from softrec.training.optimizers import OptimizerName, mark_sparse
from softrec.types import Batch, Encoder, Interests, ItemVectors, Vectors

PARTS = ("encoder", "loss", "optimiser")
SHARED = 300  # items per row in the soft target of DesoRec's recipes


@dataclass(frozen=True)
class Shapes:
    """E interactions of U users with N items."""

    n_users: int = 6_040
    n_items: int = 3_706
    events: int = 1_000_209
    batch: int | None = None  # instead of that of the paper
    repeats: int = 7


YELP2018 = Shapes(n_users=31_668, n_items=38_048, events=1_561_406)
QUICK = Shapes(n_users=50, n_items=60, events=600, batch=8, repeats=1)


class Log:
    """Events of users, and batches of histories that end at any of them."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self.draw = torch.Generator().manual_seed(0)

    def drawn(self, highest: int, *shape: int) -> Tensor:
        return torch.randint(highest, shape, generator=self.draw)

    @cached_property
    def edges(self) -> Tensor:
        """Return pairs (user, item), (2, E); a few occur twice."""
        s = self.shapes
        return torch.stack([self.drawn(s.n_users, s.events), self.drawn(s.n_items, s.events)])

    @cached_property
    def interacted(self) -> Interacted:
        user, item = self.edges
        return Interacted(user, item, self.shapes.n_users, self.shapes.n_items)

    def batch(self, rows: int, length: int, *, times: bool) -> Batch:
        """Return histories that end anywhere in a log of mean length, cut to the last `length`."""
        s = self.shapes
        ends = 1 + self.drawn(s.events // s.n_users, rows)
        history = self.drawn(s.n_items, rows, length)
        history[torch.arange(length) >= ends[:, None]] = s.n_items
        when = self.drawn(10**6, rows, length).cumsum(1) if times else None
        label, user = self.drawn(s.n_items, rows), self.drawn(s.n_users, rows)
        return Batch(history, label, torch.arange(rows), user, time=when)


# --- what the papers train, and how ---


def _one_negative(log: Log) -> Objective:
    draws = RowDraws(log.shapes.n_items, 1, corrected=False, interacted=log.interacted)
    return Objective(loss=bpr, candidates=draws)


def _distilled(log: Log) -> Objective:
    plain = _one_negative(log)

    def part(logits: Tensor, cosines: Tensor) -> Tensor:
        return interest_distillation(logits, cosines, 0.5)

    return Objective(loss=plain.loss, candidates=plain.candidates, interest_part=part)


def _all_items(log: Log) -> Objective:
    return Objective()


def _labels_shared(log: Log) -> Objective:
    users, n_items = log.shapes.n_users, log.shapes.n_items
    items = log.drawn(n_items, users, min(SHARED, n_items))
    shares = torch.rand(items.shape, generator=log.draw)
    shares /= shares.sum(1, keepdim=True)

    def source(batch: Batch) -> SparseTarget:
        return SparseTarget(items[batch.user], shares[batch.user])

    return Objective(loss=decoupled(0.5), source=source, weight=0.5)


def _sl_in_batch(log: Log) -> Objective:
    return Objective(
        {"sl": (sl, 1.0)}, candidates=InBatch(), scoring=Scoring("cosine", 0.15), l2=1e-5
    )


def _sl_drawn(log: Log) -> Objective:
    draws = RowDraws(log.shapes.n_items, 800, corrected=False)
    return Objective({"sl": (sl, 1.0)}, candidates=draws, scoring=Scoring("cosine", 0.11), l2=1e-3)


@dataclass(frozen=True)
class Paper:
    """The common settings of a paper's models."""

    name: str
    batch: int
    length: int
    examples: int  # of an epoch on MovieLens-1M


TIMIREC = Paper("TiMiRec", 256, 20, 982_089)  # all prefixes, with an item left to predict
SOFTREC = Paper("SoftRec", 128, 30, 982_089)
DESOREC = Paper("DesoRec", 256, 20, 6_040)  # one example a user
BSL = Paper("BSL", 1024, 1, 1_000_209)  # interactions; no histories are read
BPR = Paper("BPR", 8192, 1, 1_237_259)  # the training part of Yelp2018 as in LightGCN


@dataclass(frozen=True)
class Setting:
    """A model with the settings of a paper."""

    paper: Paper
    model: str
    preset: str | None
    objective: Callable[[Log], Objective]
    own: dict[str, Any] = field(default_factory=dict)
    label: str | None = None  # instead of the name of the model
    shapes: Shapes | None = None  # instead of those of MovieLens-1M
    optimizer: OptimizerName = "adam"
    limit: float | None = None  # seconds of an epoch

    @property
    def name(self) -> str:
        return self.label or self.model


SETTINGS = (
    Setting(TIMIREC, "gru4rec", "timirec", _one_negative),
    Setting(TIMIREC, "youtubednn", "timirec", _one_negative),
    Setting(TIMIREC, "sasrec", "timirec", _one_negative),
    Setting(TIMIREC, "tisasrec", "timirec", _one_negative, {"heads": 1}),
    Setting(TIMIREC, "mind", "timirec", _one_negative),
    Setting(TIMIREC, "comirec-sa", "timirec", _one_negative),
    Setting(TIMIREC, "comirec-sa", "timirec+", _one_negative, label="comirec-sa+"),
    Setting(TIMIREC, "comirec-dr", "original", _one_negative),
    Setting(TIMIREC, "timirec", "movielens-1m-plain", _distilled),
    Setting(TIMIREC, "timirec", "movielens-1m", _distilled, label="timirec+", limit=74),
    Setting(SOFTREC, "gru4rec", None, _all_items, {"dim": 128}),
    Setting(SOFTREC, "caser", "softrec", _all_items),
    Setting(SOFTREC, "nfm", "softrec", _all_items),
    Setting(SOFTREC, "youtubednn", "softrec", _all_items),
    Setting(DESOREC, "deepfm", "desorec", _labels_shared),
    Setting(DESOREC, "youtubednn", "desorec", _labels_shared),
    Setting(DESOREC, "gru4rec", "desorec", _labels_shared),
    Setting(DESOREC, "sasrec", "desorec", _labels_shared),
    Setting(BSL, "mf", "bsl", _sl_drawn),
    Setting(BSL, "lightgcn", "bsl", _sl_in_batch),
    Setting(BSL, "ngcf", "bsl", _sl_in_batch),
    Setting(
        BPR,
        "mf",
        None,
        _one_negative,
        label="mf, sparse-adam",
        shapes=YELP2018,
        optimizer="sparse-adam",
        limit=2,
    ),
)


# --- steps ---


def _tensors(vectors: Vectors) -> list[Tensor]:
    """Return the tensors that may have a gradient of the loss."""
    users, items, interests = vectors[:3]
    given = (users,) if interests is None else interests
    return [tensor for tensor in (*given, items.vectors, items.bias) if tensor is not None]


def _cut(vectors: Vectors) -> Vectors:
    """Return detached copies."""
    leaves = {id(tensor): tensor.detach().requires_grad_() for tensor in _tensors(vectors)}
    users, items, interests = vectors[:3]
    bias = None if items.bias is None else leaves[id(items.bias)]
    if interests is not None:
        interests = Interests(*(leaves[id(tensor)] for tensor in interests))
    users = leaves[id(users)] if interests is None else interests.mean()
    return Vectors(users, ItemVectors(leaves[id(items.vectors)], bias), interests)


class _Given(Encoder):
    """An encoder that is only the vectors of one batch."""

    def __init__(self, vectors: Vectors, *, sparse: bool) -> None:
        super().__init__()
        self.vectors, self.n_items, self.sparse = vectors, len(vectors.items.vectors), sparse

    def items(self) -> ItemVectors:
        return self.vectors.items

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        return self.vectors


class Trial:
    """A model in training, and the times of its parts for each step."""

    def __init__(self, setting: Setting, log: Log) -> None:
        self.setting, self.log = setting, log
        torch.manual_seed(0)
        self.model = _model(setting, log)
        self.objective = setting.objective(log)
        if setting.optimizer == "sparse-adam":
            mark_sparse(self.model)
        module = SoftTargetModule(
            self.model, self.objective, lambda _: {}, lr=1e-3, optimizer=setting.optimizer
        )
        self.optimiser = module.configure_optimizers()
        self.steps: list[Clock] = []

    @property
    def rows(self) -> int:
        return self.log.shapes.batch or self.setting.paper.batch

    def batch(self) -> Batch:
        times = self.setting.model == "tisasrec"
        return self.log.batch(self.rows, self.setting.paper.length, times=times)

    def step(self) -> None:
        batch, clock = self.batch(), Clock()
        self.in_parts(batch, clock)
        with clock.part("optimiser"):
            self.optimiser.step()
            self.optimiser.zero_grad()
        self.steps.append(clock)

    def in_parts(self, batch: Batch, clock: Clock) -> Tensor:
        """Compute the loss and the gradients of all parameters."""
        with clock.part("encoder"):
            found = self.model(batch)
        with clock.part("loss"):
            cut = _cut(found)
            loss = self.objective(_Given(cut, sparse=self.model.sparse), batch).total
            loss.backward()
        with clock.part("encoder"):
            ends = zip(_tensors(found), _tensors(cut), strict=True)
            reached = [(end, leaf.grad) for end, leaf in ends if leaf.grad is not None]
            torch.autograd.backward([end for end, _ in reached], [back for _, back in reached])
        return loss.detach()

    def check(self) -> None:
        """Refuse to time parts whose gradients differ from those of a whole step."""
        batch = self.batch()
        gradients: list[Tensor] = []
        for whole in (True, False):
            torch.manual_seed(1)  # the same dropout and candidates
            self.optimiser.zero_grad()
            if whole:
                self.objective(self.model, batch).total.backward()
            else:
                self.in_parts(batch, Clock())
            found = [p.grad.to_dense() for p in self.model.parameters() if p.grad is not None]
            gradients.append(torch.cat([gradient.flatten() for gradient in found]))
        agree(*gradients)
        self.optimiser.zero_grad()

    # --- output ---

    @property
    def fastest(self) -> Clock:
        """Return the fastest step, from which fractions and epochs are computed."""
        return min(self.steps, key=lambda clock: clock.total)

    @property
    def median(self) -> float:
        return statistics.median(clock.total for clock in self.steps)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def epoch_seconds(self) -> float:
        return self.fastest.total * self.setting.paper.examples / self.rows

    def share(self, part: str) -> float:
        return self.fastest.seconds[part] / self.fastest.total


def _model(setting: Setting, log: Log) -> Any:
    model = MODELS[setting.model]
    settings: dict[str, Any] = {"length": setting.paper.length, "n_users": log.shapes.n_users}
    settings |= {"edges": log.edges}
    settings |= ModelSettings(name=setting.model, preset=setting.preset, **setting.own).settings
    wanted = inspect.signature(model).parameters
    return model(log.shapes.n_items, **{n: v for n, v in settings.items() if n in wanted})


def trials(shapes: Shapes, names: Sequence[str] = ()) -> list[Trial]:
    """Time the steps of the papers and models named, or of all."""
    usual, log = shapes == Shapes(), Log(shapes)
    chosen = [s for s in SETTINGS if not names or {s.name, s.paper.name} & set(names)]
    sides = [Trial(s, Log(s.shapes) if usual and s.shapes else log) for s in chosen]
    for side in sides:
        side.check()
    for turn in range(-1, shapes.repeats):
        for side in sides:
            if turn == 0:  # a step to warm up
                side.steps.clear()
            side.step()
    return sides


def steps(shapes: Shapes) -> list[Row]:
    """Time a step of every model and its parts."""
    return [_row(side) for side in trials(shapes)]


def _row(side: Trial) -> Row:
    """Return the milliseconds of a step, or, where they have a limit, the seconds of an epoch."""
    setting, unit, scale = side.setting, "ms", 1e3
    bar = None if setting.limit is None else Bar(setting.limit, "at most", "seconds of an epoch")
    if bar is not None:
        unit, scale = "s an epoch", setting.paper.examples / side.rows
    parts = ", ".join(f"{part} {side.share(part):.0%}" for part in PARTS)
    return Row(
        f"{setting.paper.name}: {setting.name}, batch {side.rows:,}",
        Side("step" if bar is None else "steps", scale * side.median, scale * side.fastest.total),
        None,
        scale * side.fastest.total,
        bar,
        unit=unit,
        notes=(
            f"{side.parameters:,} parameters; {parts}; {side.epoch_seconds:.3g} s for "
            f"{setting.paper.examples:,} examples",
        ),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of the papers and models that the command line names."""
    names = list(dict.fromkeys(n for s in SETTINGS for n in (s.paper.name, s.name)))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"among {', '.join(names)}; all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run?")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in names:
            parser.error(f"there is no paper or model {name!r}; there are {', '.join(names)}")
    table = Table(
        "paper", "model", "parameters", "ms", "median", *PARTS, "s/epoch",
        box=None, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for side in trials(QUICK if options.quick else Shapes(), options.names):
        milliseconds = (f"{1e3 * seconds:.1f}" for seconds in (side.fastest.total, side.median))
        shares = (f"{side.share(part):.0%}" for part in PARTS)
        paper, count = side.setting.paper.name, f"{side.parameters:,}"
        epoch = f"{side.epoch_seconds:.3g}"
        table.add_row(paper, side.setting.name, count, *milliseconds, *shares, epoch)
    Console().print(table)


if __name__ == "__main__":
    main()
