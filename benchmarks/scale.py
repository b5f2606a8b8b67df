"""How much memory an evaluation of very many users takes, measured in a process of its own.

Ranking with metrics and lists, of an encoder and of a counted model; slices with intervals over
users and seeds; and the table of all users of a comparison. See `memory` for how it is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import torch

from benchmarks.memory import PROCESS, status
from benchmarks.timing import Bar, Row, Side
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Cases
from softrec.data.vocabulary import Vocabulary
from softrec.evaluation.by_slice import differences_by_slice
from softrec.evaluation.interests import ListedInterests
from softrec.evaluation.protocol import score_cases
from softrec.evaluation.slices import slices_of
from softrec.experiments.build.model import training_events
from softrec.experiments.compare import write_per_user
from softrec.experiments.differences import differences
from softrec.experiments.runs import Run
from softrec.models.counted.item_knn import ItemKNN
from softrec.types import Batch, Encoder, ItemVectors, Vectors

METRICS = ("recall@10", "ndcg@10", "mrr@10", "recall@20", "ndcg@20")
VARIANTS, SEEDS = 2, 3


@dataclass(frozen=True)
class Shapes:
    """Test cases, of which some for the counted model, N items, width D, events of a history."""

    cases: int = 1_000_000
    counted: int = 20_000
    n_items: int = 100_000
    dim: int = 64
    history: int = 8

    def __str__(self) -> str:
        return f"N {self.n_items:,}, D {self.dim}, {self.history} events a history"


QUICK = Shapes(cases=3000, counted=500, n_items=1000, dim=8, history=4)
FULL = Shapes(counted=1_000_000)


class Looked(Encoder):
    """User vectors that are looked up, item vectors that are given."""

    reads = "user"

    def __init__(self, users: int, n_items: int, dim: int) -> None:
        super().__init__()
        self.n_items = n_items
        draw = torch.Generator().manual_seed(0)
        self.own = torch.nn.Parameter(torch.randn(users, dim, generator=draw))
        self.vectors = torch.nn.Parameter(torch.randn(n_items, dim, generator=draw))

    def items(self) -> ItemVectors:
        return ItemVectors(self.vectors)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        return Vectors(self.own[batch.user], items or self.items())


def scale(shapes: Shapes) -> list[Row]:
    """Measure each part; nothing where the system does not tell."""
    if not (PROCESS / "clear_refs").exists():
        return []
    root = Path(__file__).resolve().parents[1]
    rows = []
    for part, most in BARS.items():
        command = [sys.executable, "-m", "benchmarks.scale", part, json.dumps(asdict(shapes))]
        done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
        told = json.loads(done.stdout.splitlines()[-1])
        rows.append(
            Row(
                f"{part}, {told['cases']:,} cases, {shapes}",
                Side("beyond the data", told["mib"], told["mib"]),
                None,
                told["mib"],
                Bar(most, "at most", "MiB beyond model and data"),
                unit="MiB",
                notes=(
                    f"{told['seconds']:.1f} s; peak of resident memory {told['peak_mib']:.0f} MiB, "
                    f"less {told['before_mib']:.0f} MiB before",
                ),
            )
        )
    return rows


def measure(part: str, shapes: Shapes) -> dict[str, Any]:
    """Run one part in this process and return what it took; first on little, for the imports."""
    PARTS[part](QUICK)()
    call = PARTS[part](shapes)
    before = status("VmRSS")
    (PROCESS / "clear_refs").write_text("5")  # the high-water mark is what is in use from now on
    begin = time.perf_counter()
    call()
    seconds = time.perf_counter() - begin
    peak = status("VmHWM")
    number = shapes.counted if part == "item-knn" else shapes.cases
    return {"cases": number, "mib": peak - before, "peak_mib": peak, "before_mib": before,
            "seconds": seconds}  # fmt: skip


def made(shapes: Shapes, number: int) -> tuple[Interactions, Cases]:
    """Return a training part of all users, popular items more often, and cases of some of them."""
    rng = np.random.default_rng(0)
    n_events = shapes.cases * shapes.history
    items = (shapes.n_items * rng.random(n_events) ** 3).astype(np.int64)
    offsets = np.arange(shapes.cases + 1) * shapes.history
    users = np.repeat(np.arange(shapes.cases), shapes.history)
    log = Interactions(
        pl.DataFrame({"user": users, "item": items}),
        Vocabulary(pl.Series("raw", np.arange(shapes.cases))),
        Vocabulary(pl.Series("raw", np.arange(shapes.n_items))),
    )
    label = (shapes.n_items * rng.random(number) ** 3).astype(np.int64)
    history = Sequences(offsets[: number + 1], items[: offsets[number]])
    return log, Cases(np.arange(number), history, Sequences(np.arange(number + 1), label))


def ranked(shapes: Shapes) -> Callable[[], object]:
    """Return the ranking of an encoder, with metrics and lists."""
    _, cases = made(shapes, shapes.cases)
    model = Looked(shapes.cases, shapes.n_items, shapes.dim)
    return lambda: _scored(model, cases)


def counted(shapes: Shapes) -> Callable[[], object]:
    """Return the ranking of item-kNN, fitted before."""
    log, cases = made(shapes, shapes.counted)
    model = ItemKNN(shapes.n_items)
    model.fit(training_events(log))
    return lambda: _scored(model, cases)


def _scored(model: Any, cases: Cases) -> pl.DataFrame:
    listed = ListedInterests(10, model.n_items, cases)
    return score_cases(model, cases, METRICS, length=50, mask_seen=False, listed=listed)


def sliced(shapes: Shapes) -> Callable[[], object]:
    """Return slices and intervals of two variants with three seeds."""
    log, cases = made(shapes, shapes.cases)
    rng = np.random.default_rng(1)
    values = {f"variant {n}": rng.random((SEEDS, len(cases))) for n in range(VARIANTS)}
    return lambda: differences_by_slice(slices_of(cases, log), values)


def stored(shapes: Shapes) -> Callable[[], object]:
    """Return the differences of all metrics and the table of all users, from folders of runs."""
    files = tempfile.TemporaryDirectory()  # gigabytes for a million cases
    folder = Path(files.name)
    rng = np.random.default_rng(2)
    rows = []
    for variant in range(VARIANTS):
        rows.append([])
        for seed in range(SEEDS):
            own = folder / f"{variant}-{seed}"
            own.mkdir()
            table = {"user": np.arange(shapes.cases)}
            table |= {name: rng.random(shapes.cases) for name in METRICS}
            pl.DataFrame(table).write_parquet(own / "per_user.parquet")
            rows[-1].append(Run(own, SimpleNamespace(seed=seed), {}))  # pyright: ignore[reportArgumentType]

    def compared() -> None:
        with files:
            differences(rows, METRICS, drawn=METRICS[1:2])
            write_per_user([f"variant {n}" for n in range(VARIANTS)], rows, folder / "all.parquet")

    return compared


PARTS = {"encoder": ranked, "item-knn": counted, "slices": sliced, "comparison": stored}
BARS = {"encoder": 1000.0, "item-knn": 1000.0, "slices": 1500.0, "comparison": 1500.0}
"""MiB; tables of users x items would be 400,000."""


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(measure(sys.argv[1], Shapes(**json.loads(sys.argv[2])))))
