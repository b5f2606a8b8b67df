"""A log that is larger than memory: time and memory of each part of its way to recommendations.

    python -m benchmarks.biglog EVENTS FOLDER    # such as 20_000_000; then ten times as many
    python -m benchmarks.biglog evaluate EVENTS FOLDER 1_000_000    # one part, with so many users

The log is drawn by NumPy and not by the simulated shop, which is much slower: about 100 events of
each user, 100,000 items by Zipf's law, times at random. Each part runs in a process of its own.
Anonymous memory is what cannot be given back to the system; pages of files are kept as long as
there is room.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

ITEMS, EACH, PART, STEPS = 100_000, 100, 1_000_000, 200
PARTS = ("write", "prepare", "train", "evaluate", "recommend")


def status(name: str) -> int:
    """Return a field of /proc/self/status, in MiB."""
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{name}:")[1].split()[0]) // 1024


class Peak:
    """The largest anonymous memory while it is entered."""

    def __enter__(self) -> Peak:
        self.mib, self._done = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.mib = max(self.mib, status("RssAnon"))

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


def write(events: int, folder: Path) -> None:
    """Write the log in parts of a million events; users are mixed as in a log by time."""
    (folder / "log").mkdir(parents=True, exist_ok=True)
    users = events // EACH
    shares = 1 / np.arange(1, ITEMS + 1)
    ends = np.cumsum(shares / shares.sum())
    for number in range(-(-events // PART)):
        generator = np.random.default_rng((0, number))
        size = min(PART, events - number * PART)
        frame = pl.DataFrame(
            {
                "user": generator.integers(users, size=size) * 7 + 3,
                "item": np.searchsorted(ends, generator.random(size)).clip(max=ITEMS - 1),
                "time": number * 86_400 + generator.integers(86_400, size=size),
            }
        )
        frame.write_parquet(folder / "log" / f"part-{number}.parquet")


def split_of(folder: Path) -> Any:
    from softrec.experiments.build.data import load_split
    from softrec.recipe.specs.data import DataSettings

    warnings.simplefilter("ignore")
    return load_split(DataSettings(source=str(folder / "log"), on_disk=True))


def model_of(split: Any) -> Any:
    import torch

    from softrec.models.sasrec import SASRec

    torch.manual_seed(0)
    return SASRec(split.train.n_items, dim=64, length=20, layers=1, heads=1)


def prepare(_: int, folder: Path) -> None:
    split_of(folder)


def train(_: int, folder: Path) -> None:
    """Make 200 steps of 256 examples with 512 sampled candidates; each event is a label."""
    import torch

    from softrec.data.batches import TrainingBatches, examples

    split = split_of(folder)
    data = examples(split.train.sequences, "prefixes", 20)
    batches = TrainingBatches(data, 256, split.train.n_items)
    model = model_of(split)
    optimizer = torch.optim.Adam(model.parameters())
    for step, batch in enumerate(batches):
        if step == STEPS:
            break
        vectors = model(batch)
        items = torch.cat([batch.label, torch.randint(split.train.n_items, (512,))])
        logits = vectors.users @ vectors.items.vectors[items].T
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(len(batch.label)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def evaluate(events: int, folder: Path, users: int | None = None) -> None:
    """Rank all items for some users, by default a fifth of them, history masked."""
    from softrec.evaluation.asked import Asked
    from softrec.evaluation.protocol import score_cases

    split = split_of(folder)
    cases = Asked.of(split, True).cases("test")
    few = cases.rows(np.arange(len(cases))[: users or len(cases) // 5])
    score_cases(model_of(split), few, ["ndcg@10"], length=20, mask_seen=True)


def recommend(events: int, folder: Path) -> None:
    """Write the lists of a fifth of the users."""
    from softrec.serving.base import Rules
    from softrec.serving.recommender import Recommender

    split = split_of(folder)
    found = Recommender(model_of(split), split.whole(), length=20)
    for begin in range(0, split.train.n_users // 5, 1024):
        stop = min(begin + 1024, split.train.n_users // 5)
        found.lists_and_vectors(np.arange(begin, stop), 10, True, Rules())


RUN: dict[str, Callable[..., None]] = {
    "write": write, "prepare": prepare, "train": train, "evaluate": evaluate,
    "recommend": recommend,
}  # fmt: skip


def measured(part: str, events: int, folder: Path, *users: int) -> None:
    """Run a part, and print its seconds and its memory."""
    began, cpu = time.perf_counter(), time.process_time()
    with Peak() as peak:
        RUN[part](events, folder, *users)
    found = {
        "part": part, "events": events, "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1), "anonymous_mib": peak.mib,
        "peak_mib": status("VmHWM"),
    }  # fmt: skip
    print(json.dumps(found), flush=True)


def main() -> None:
    if sys.argv[1] in PARTS:
        measured(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), *map(int, sys.argv[4:]))
        return
    events, folder = int(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"SOFTREC_CACHE": str(folder / "cache")}
    for part in PARTS:
        command = [sys.executable, "-m", "benchmarks.biglog", part, str(events), str(folder)]
        subprocess.run(command, check=True, env=environment)


if __name__ == "__main__":
    main()
