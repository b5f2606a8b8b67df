"""From a file to training examples: time and memory, in a process of its own.

Reading, 5-core, leave-last-out, and windows of all positions. The log is in the order of time, as
logs are, with users and items mixed; the file has just been written, so that it is in the memory of
the system.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.memory import PROCESS, status
from benchmarks.timing import Bar, Row, Side


@dataclass(frozen=True)
class Shapes:
    """Events of a log, its users and items, and the longest history."""

    events: int = 10_000_000
    users: int = 500_000
    items: int = 100_000
    length: int = 50

    def __str__(self) -> str:
        return f"{self.events:,} events, {self.users:,} users, {self.items:,} items"


QUICK = Shapes(events=20_000, users=1000, items=500)
FILES: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    "numbers.csv": lambda log, path: log.write_csv(path),
    "numbers.parquet": lambda log, path: log.write_parquet(path),
    "text.csv": lambda log, path: named(log).write_csv(path),
}
SECONDS = {"numbers.csv": 5.0, "numbers.parquet": 3.0}
PEAK = 1.2 * 1024
"""MiB of the whole process, with the imports."""


def prepare(shapes: Shapes) -> list[Row]:
    """Measure each kind of file; no memory where the system does not tell."""
    root = Path(__file__).resolve().parents[1]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, write in FILES.items():
            path = Path(folder) / name
            write(simulated(shapes), path)
            command = [sys.executable, "-m", "benchmarks.prepare", str(path), str(shapes.length)]
            done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
            path.unlink()
            told = json.loads(done.stdout.splitlines()[-1])
            rows += _rows(f"{name}, {shapes}", SECONDS.get(name), told)
    return rows


def _rows(work: str, limit: float | None, told: dict[str, Any]) -> list[Row]:
    seconds, peak = told["seconds"], told["peak_mib"]
    parts = ", ".join(f"{part} {took:.2f}" for part, took in told["parts"].items())
    bar = None if limit is None else Bar(limit, "at most", "seconds")
    rows = [
        Row(work, Side("all", seconds, seconds), None, seconds, bar, unit="s",
            notes=(f"s: {parts}; of the processor: {told['cpu']:.2f}",)),
    ]  # fmt: skip
    if peak is not None:
        of = "MiB of the whole process"
        bar = None if limit is None else Bar(PEAK, "at most", of)
        notes = (f"{told['before_mib']:.0f} MiB of it after the imports",)
        rows.append(Row(work, Side("peak", peak, peak), None, peak, bar, unit="MiB", notes=notes))
    return rows


def simulated(shapes: Shapes) -> pl.DataFrame:
    """Return events of random users, popular items more often, in the order of time."""
    draw = np.random.default_rng(0)
    item = (shapes.items * draw.random(shapes.events) ** 3).astype(np.int64)
    when = 1_600_000_000 + np.sort(draw.integers(0, 10**8, shapes.events))
    user = draw.integers(1, shapes.users + 1, shapes.events)
    return pl.DataFrame({"user_id": user, "item_id": item + 1, "timestamp": when})


def named(log: pl.DataFrame) -> pl.DataFrame:
    """Return the log with ids of text, in random order."""
    ids = (pl.format(kind + "-{}", f"{kind}_id").alias(f"{kind}_id") for kind in ("user", "item"))
    return log.sample(fraction=1.0, shuffle=True, seed=0).with_columns(*ids)


def measure(path: Path, length: int) -> dict[str, Any]:
    """Prepare a file in this process, and return what it took."""
    from benchmarks.timing import Clock
    from softrec.data.batches import examples
    from softrec.data.interactions import Interactions
    from softrec.data.splits import leave_last_out

    told = (PROCESS / "clear_refs").exists()
    before, clock, cpu = status("VmRSS") if told else 0.0, Clock(), time.process_time()
    with clock.part("read"):
        log = Interactions.read(path)
    with clock.part("5-core"):
        log = log.k_core(5)
    with clock.part("split"):
        split = leave_last_out(log)
    with clock.part("windows"):
        examples(split.train.sequences, "positions", length)
    return {"seconds": clock.total, "parts": clock.seconds, "cpu": time.process_time() - cpu,
            "before_mib": before, "peak_mib": status("VmHWM") if told else None}  # fmt: skip


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the split leaks, as it must
    print(json.dumps(measure(Path(sys.argv[1]), int(sys.argv[2]))))
