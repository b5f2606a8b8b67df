"""The neighbour lists of CSN for many contexts: peak memory, time and recall.

A separate process makes contexts as the library does (means of item vectors over histories of a few
topics each), searches, and reports its peak of resident memory, including the vectors and the
libraries. Recall is measured against the exact neighbours of a few hundred contexts.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.timing import Bar, Row, Side
from softrec.targets.build.neighbours import context_means, nearest


@dataclass(frozen=True)
class Shapes:
    """E contexts of width D, k neighbours each; histories over N items in some topics."""

    contexts: int = 300_000
    dim: int = 128
    k: int = 10
    n_items: int = 50_000
    topics: int = 1_000
    length: int = 10
    asked: int = 500  # contexts whose exact neighbours are computed

    def __str__(self) -> str:
        return f"E {self.contexts:,}, D {self.dim}, k {self.k}"


QUICK = Shapes(contexts=3_000, dim=8, n_items=500, topics=20, asked=50)
FULL = Shapes(contexts=1_000_000)  # many minutes on few cores


def neighbours(shapes: Shapes) -> list[Row]:
    """Measure one approximate search in a separate process."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "benchmarks.neighbours", json.dumps(asdict(shapes))]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout)
    work = f"neighbour lists, {shapes}"
    notes = (
        f"the search took {told['seconds']:.1f} s, the context means {told['means_seconds']:.1f} "
        f"s, with up to {told['threads']:.0f} threads; the vectors are {told['vectors_mib']:.0f} "
        f"MiB, and before the search the peak was {told['before_mib']:.0f} MiB",
    )
    peak, recall = told["peak_mib"], told["recall"]
    return [
        Row(
            work,
            Side("approximate search", peak, peak),
            None,
            peak,
            Bar(4096.0, "at most", "MiB at the peak of the process"),
            unit="MiB",
            notes=notes,
        ),
        Row(
            work,
            Side("found", 100 * recall, 100 * recall),
            Side("exact search", 100.0, 100.0),
            recall,
            Bar(0.8, "at least", "recall"),
            unit="%",
        ),
    ]


def measure(shapes: Shapes) -> dict[str, float]:
    """Search in this process, and return memory, time and recall."""
    begin = time.perf_counter()
    vectors = contexts(shapes)
    made = time.perf_counter()
    before = _peak()
    lists = nearest(vectors, shapes.k, approximate=True)
    seconds = time.perf_counter() - made
    peak = _peak()
    return {
        "peak_mib": peak,
        "before_mib": before,
        "vectors_mib": vectors.nbytes / 2**20,
        "seconds": seconds,
        "means_seconds": made - begin,
        "recall": recall(vectors, lists, shapes.asked),
        "threads": float(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
    }


def contexts(shapes: Shapes) -> np.ndarray:
    """Return (E, D) means over histories of one or two topics, items by Zipf's law in each."""
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((shapes.topics, shapes.dim), dtype=np.float32)
    spread = draw.standard_normal((shapes.n_items, shapes.dim), dtype=np.float32)
    topic_size = shapes.n_items // shapes.topics
    items = centres[np.arange(shapes.n_items) // topic_size % shapes.topics] + 0.7 * spread
    share = 1 / np.arange(1, topic_size + 1)
    size = shapes.contexts, shapes.length
    topics = draw.integers(shapes.topics, size=(shapes.contexts, 2), dtype=np.int32)
    which = draw.integers(2, size=size, dtype=np.int8)
    places = draw.choice(topic_size, size, p=share / share.sum()).astype(np.int32)
    histories = np.take_along_axis(topics, which, axis=1) * topic_size + places
    start = np.arange(shapes.contexts) * shapes.length
    return context_means(histories.ravel(), start, start + shapes.length, items)


def recall(vectors: np.ndarray, lists: np.ndarray, asked: int) -> float:
    """Return the fraction of the exact neighbours of the first rows that the lists have."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    k = lists.shape[1]
    found = 0
    for rows in np.array_split(np.arange(asked), max(asked // 50, 1)):
        scores = unit[rows] @ unit.T
        scores[np.arange(len(rows)), rows] = -np.inf
        exact = np.argpartition(scores, -k, axis=1)[:, -k:]
        found += int((lists[rows, :, None] == exact[:, None]).any(axis=2).sum())
    return found / (asked * k)


def _peak() -> float:
    """Return the peak of resident memory in MiB; Linux reports KiB, macOS bytes."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    print(json.dumps(measure(Shapes(**json.loads(sys.argv[1])))))
