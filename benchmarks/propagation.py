"""Interest sharing, with tables and with nearest neighbours, each in a separate process.

The process makes its data, warms up on a few examples, resets its peak of resident memory (Linux,
/proc/self/clear_refs), propagates labels, and reads the peak (VmHWM). The resident memory before
and the bytes of the results are subtracted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import Bar, Row, Side
from softrec.targets.build.propagation import PropagatedLabels, propagate

MIB = 2**20
PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Work:
    """E examples of width D in clusters, with L distinct labels that follow Zipf's law."""

    examples: int
    dim: int
    keep: int
    neighbours: int | None = None
    labels: int = 28_000
    clusters: int = 16
    groups: int = 400  # number of centres of the vectors

    def __str__(self) -> str:
        near = "" if self.neighbours is None else f", m {self.neighbours}"
        return (
            f"E {self.examples:,}, D {self.dim}, {self.labels:,} labels, "
            f"{self.clusters} clusters, keep {self.keep}{near}"
        )


@dataclass(frozen=True)
class Shapes:
    """The sizes of Diginetica, and of a larger set, for which neighbours are needed."""

    tables: Work = Work(62_502, dim=128, keep=300)
    neighbours: Work = Work(200_000, dim=64, keep=64, neighbours=32)


QUICK = Shapes(
    Work(600, dim=8, keep=20, labels=200, clusters=4),
    Work(4_000, dim=8, keep=8, neighbours=4, labels=200, clusters=4),
)


def propagation(shapes: Shapes) -> list[Row]:
    """Measure seconds with tables, and mebibytes with nearest neighbours."""
    full, cut = _apart(shapes.tables), _apart(shapes.neighbours)
    rows = [
        Row(
            f"interest sharing, {shapes.tables}",
            Side("tables", full["seconds"], full["seconds"]),
            None,
            full["seconds"],
            Bar(60.0, "at most", "seconds"),
            unit="s",
            notes=(_note(full),),
        )
    ]
    if "mib" in cut:
        rows.append(
            Row(
                f"interest sharing from neighbours, {shapes.neighbours}",
                Side("neighbours", cut["mib"], cut["mib"]),
                None,
                cut["mib"],
                Bar(1024.0, "at most", "MiB beyond inputs and results"),
                unit="MiB",
                notes=(f"{cut['seconds']:.1f} s; {_note(cut)}",),
            )
        )
    return rows


def _note(told: dict[str, float]) -> str:
    peak = f", {told['mib']:.0f} MiB beyond inputs and results" if "mib" in told else ""
    return (
        f"{told['cpu_seconds']:.1f} s of processor time on {told['threads']:.0f} threads{peak}; "
        f"mean share of the label {told['label_prob']:.4f}, mass kept {told['mass_kept']:.4f}"
    )


def _apart(work: Work) -> dict[str, float]:
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks.propagation", json.dumps(asdict(work))]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def measure(work: Work) -> dict[str, float]:
    """Propagate in this process, and return memory and time."""
    vectors, labels = _data(work)
    _propagate(work, vectors[:100], labels[:100])
    told_of_memory = _reset_peak()
    before = _status("VmRSS") if told_of_memory else 0.0
    begin, processor = time.perf_counter(), time.process_time()
    soft = _propagate(work, vectors, labels)
    told = {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - processor,
        "threads": torch.get_num_threads(),
        "label_prob": soft.mean_label_prob,
        "mass_kept": soft.mass_kept,
    }
    if told_of_memory:
        results = (soft.items.nbytes + soft.probs.nbytes) / MIB
        told["mib"] = _status("VmHWM") - before - results
    return told


def _propagate(work: Work, vectors: np.ndarray, labels: np.ndarray) -> PropagatedLabels:
    return propagate(
        vectors, labels, clusters=work.clusters, keep=work.keep, neighbours=work.neighbours
    )


def _data(work: Work) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(work.groups, work.dim)).astype(np.float32)
    vectors = rng.standard_normal((work.examples, work.dim), dtype=np.float32)
    vectors += centres[rng.integers(work.groups, size=work.examples)]
    share = 1 / np.arange(1, work.labels + 1)
    drawn = rng.choice(work.labels, size=work.examples - work.labels, p=share / share.sum())
    labels = np.concatenate([np.arange(work.labels), drawn])  # each label occurs
    rng.shuffle(labels)
    return vectors, labels


def _reset_peak() -> bool:
    """Reset the peak to the memory in use; return False if the system has no peak."""
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> float:
    """Return an entry of the process's status, in MiB."""
    lines = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    print(json.dumps(measure(Work(**json.loads(sys.argv[1])))))
