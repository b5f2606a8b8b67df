"""A training step over a catalogue in shards: seconds and memory of each process.

python -m benchmarks.shards 10_000_000 [SHARDS] [full | NUMBER of sampled items]
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.multiprocessing.spawn import start_processes

from softrec.candidates import SharedUniform
from softrec.experiments.memory import PeakMemory
from softrec.losses.softmax import mixed
from softrec.models.sasrec import SASRec
from softrec.objective import Objective
from softrec.parallel import World, catalogue_of, everyone, joined
from softrec.targets.smoothing import UniformTarget
from softrec.training.optimizers import LazyAdam, mark_sparse
from softrec.training.processes import average_rows
from softrec.types import Batch

ROWS, LENGTH, STEPS = 128, 20, 3


def step(model: SASRec, objective: Objective, optimizer: torch.optim.Optimizer, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    items = torch.randint(model.n_items, (ROWS, LENGTH + 1), generator=draw)
    number = torch.arange(ROWS)
    optimizer.zero_grad()
    objective(
        model, Batch(items[:, :-1], items[:, -1].contiguous(), number, number)
    ).total.backward()
    average_rows(model)
    optimizer.step()


def measured(n_items: int, candidates: str) -> dict[str, float]:
    """Return what this process has needed, for its first weights and for the last step."""
    memory, began = PeakMemory(), time.perf_counter()
    torch.manual_seed(0)
    model = SASRec(n_items, dim=64, length=LENGTH, layers=1, catalogue=catalogue_of(n_items))
    drawn = None if candidates == "full" else SharedUniform(n_items, int(candidates))
    objective = Objective(mixed(), UniformTarget(n_items), 0.1, drawn)
    if drawn is not None:
        mark_sparse(model)
    if drawn is None:
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    else:
        optimizer = LazyAdam(model.parameters(), lr=1e-3)
    found = {"first weights s": time.perf_counter() - began}
    for seed in range(STEPS):
        everyone(None)
        began, worked = time.perf_counter(), time.process_time()
        step(model, objective, optimizer, seed)
        found |= {"step s": time.perf_counter() - began, "cpu s": time.process_time() - worked}
    moments = optimizer.state[model.table.weight]
    return found | {
        "peak GiB": (memory.mib() or 0.0) / 1024,
        "rows": len(model.table.weight),
        "rows of moments": len(moments["exp_avg"]),
    }


def run(rank: int, shards: int, folder: str, n_items: int, candidates: str) -> None:
    torch.set_num_threads(1)
    dist: Any = distributed
    store = dist.FileStore(f"{folder}/store", shards)
    with joined(World(rank, shards, rank, shards), store, shards=shards):
        told = everyone(measured(n_items, candidates))
    for number, found in enumerate(told if rank == 0 else ()):
        print(number, {name: round(value, 2) for name, value in found.items()}, flush=True)


if __name__ == "__main__":
    given = [*sys.argv[1:], *["10_000_000", "2", "full"][len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as place:
        shards = int(given[1])
        start_processes(
            run, (shards, str(Path(place)), int(given[0]), given[2]), shards, start_method="spawn"
        )
