"""Runs the script of one library: an epoch when it is told to, then its top-k lists.

    python worker.py NAME TASK FOLDER

It needs NumPy and Polars only, besides the library. FOLDER has `events.parquet` (user, item, part;
numbers from 0, in the order of events) and `sizes.json`. Commands come as lines of JSON on standard
input, and each is answered by a line of JSON on standard output.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl


class Data:
    """The log as arrays, in the order of events."""

    def __init__(self, folder: Path) -> None:
        self.events = pl.read_parquet(folder / "events.parquet")  # user, item, part
        self.n_users, self.n_items = (
            int(self.events[n].to_numpy().max()) + 1 for n in ("user", "item")
        )
        self.train = self.events.filter(pl.col("part") == "train")
        self.before_test = self.events.filter(pl.col("part") != "test")
        self.test_users = self.events.filter(pl.col("part") == "test")["user"].to_numpy()


class Turns:
    """Lets a training make one epoch for each command."""

    def __init__(self, epochs: int, commands: Iterator[list[Any]], answers: Any) -> None:
        self.left, self.commands, self.answers = epochs, commands, answers
        self.wall = self.cpu = 0.0

    def begin(self) -> None:
        """Wait for the command, and start the clocks."""
        name = next(self.commands)[0]
        assert name == "epoch", name
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """Answer with the time of the epoch."""
        facts = {"seconds": time.perf_counter() - self.wall, "cpu": time.process_time() - self.cpu}
        self.left -= 1
        self.answer(facts)

    def __iter__(self) -> Iterator[int]:
        for number in range(self.left):
            self.begin()
            yield number
            self.end()

    def answer(self, facts: dict[str, Any]) -> None:
        """Write a line with the facts and the peak memory of this process."""
        facts["peak"] = peak()
        print(json.dumps(facts), file=self.answers, flush=True)


def peak() -> float:
    """Return the largest memory of this process so far, in MiB.

    `ru_maxrss` would begin with that of the process which started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def main() -> None:
    """Answer all commands."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints goes to standard error
    name, task, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    commands = (json.loads(line) for line in sys.stdin)
    sizes = json.loads((folder / "sizes.json").read_text(encoding="utf-8"))
    turns = Turns(sizes["epochs"], commands, answers)
    make = import_module(f"with_{name}").TASKS[task]
    peer = make(Data(folder), sizes)
    turns.answer({"ready": True})
    peer.train(turns)
    _, path = next(commands)
    wall, cpu = time.perf_counter(), time.process_time()
    users, items = peer.lists(sizes["k"])
    facts = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    ranks = np.tile(np.arange(1, items.shape[1] + 1), len(users))
    table = pl.DataFrame(
        {"user": np.repeat(users, items.shape[1]), "item": items.ravel(), "rank": ranks}
    )
    table.filter(pl.col("item") >= 0).write_parquet(path)
    turns.answer(facts)


if __name__ == "__main__":
    main()
