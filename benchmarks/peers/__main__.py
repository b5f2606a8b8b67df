"""Make the environments of other libraries, or time them: `python -m benchmarks.peers --help`."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

import softrec
from benchmarks.peers.tasks import TASKS, Task
from benchmarks.timing import machine
from softrec.data.sources.base import cache_dir
from softrec.data.splits import Split
from softrec.experiments.build.data import load_logged
from softrec.recipe.recipe import read_recipe

HERE = Path(__file__).parent
PEERS = sorted(path.stem for path in (HERE / "requirements").glob("*.txt"))
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS",
         "NUMBA_NUM_THREADS")  # fmt: skip


def environment(peer: str) -> Path:
    """Return the folder of a library's environment."""
    return cache_dir() / "peers" / peer


def python_of(peer: str) -> Path:
    """Return the interpreter of a library; of softrec this one."""
    return Path(sys.executable) if peer == "softrec" else environment(peer) / "bin" / "python"


def setup(peers: Sequence[str], console: Console) -> None:
    """Make the environments that are missing."""
    for peer in peers:
        folder, wanted = environment(peer), HERE / "requirements" / f"{peer}.txt"
        done = folder / "requirements.txt"
        if done.exists() and done.read_bytes() == wanted.read_bytes():
            console.print(f"{peer}: ready in {folder}")
            continue
        console.print(f"{peer}: installing in {folder}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python_of(peer)), "-m", "pip", "install", "-q", "-r", str(wanted)]
        subprocess.run(install, check=True)
        done.write_bytes(wanted.read_bytes())


class Worker:
    """The process of one library."""

    def __init__(
        self, peer: str, task: str, folder: Path, threads: int, *, name: str = "", path: str = ""
    ) -> None:
        several = {name: str(threads) for name in THREADS}
        if path:
            several["PYTHONPATH"] = path
        command = [str(python_of(peer)), str(HERE / "worker.py"), peer, task, str(folder)]
        self.peer = name or peer
        self.errors = (folder / f"{peer}.log").open("w+", encoding="utf-8")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True,
            env={**os.environ, **several},
        )  # fmt: skip
        self.ready = self.answer()

    def ask(self, *command: Any) -> dict[str, Any]:
        """Send a command and return the answer."""
        assert self.process.stdin is not None
        print(json.dumps(command), file=self.process.stdin, flush=True)
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Return the next answer.

        Raises:
            SystemExit: if the process has ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise SystemExit(f"{self.peer} ended:\n{self.errors.read()[-3000:]}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def export(task: Task, threads: int, folder: Path, split: Split) -> None:
    """Write the data and the sizes of a task for the workers."""
    parts = [
        part.ordered.select("user", "item", part=pl.lit(name))
        for name, part in (("train", split.train), ("valid", split.valid), ("test", split.test))
    ]
    pl.concat(parts).write_parquet(folder / "events.parquet")
    sizes = {**task.sizes, "epochs": task.epochs, "k": task.k, "threads": threads}
    (folder / "sizes.json").write_text(json.dumps(sizes), encoding="utf-8")


def measured(workers: Sequence[Worker], task: Task, folder: Path) -> dict[str, dict[str, Any]]:
    """Let the workers train in turns, then rank, and return what each answered."""
    epochs: dict[str, list[dict[str, float]]] = {worker.peer: [] for worker in workers}
    for number in range(task.epochs):
        for worker in workers if number % 2 else reversed(workers):
            epochs[worker.peer].append(worker.ask("epoch"))
    return {
        worker.peer: {
            "epochs": epochs[worker.peer],
            "lists": worker.ask("lists", str(folder / f"{worker.peer}.parquet")),
        }
        for worker in workers
    }


def accuracy(
    peers: Sequence[str], task: Task, folder: Path, split: Split, data_dir: Path | None
) -> dict[str, float]:
    """Return the NDCG of the lists of each library."""
    ids = [
        pl.col("user").map_batches(split.train.users.ids, return_dtype=split.train.users.raw.dtype),
        pl.col("item").map_batches(split.train.items.ids, return_dtype=split.train.items.raw.dtype),
    ]
    lists = {peer: pl.read_parquet(folder / f"{peer}.parquet").with_columns(ids) for peer in peers}
    metric = f"ndcg@{task.k}"
    found = softrec.evaluate_lists(
        lists, task.source, out=folder / "evaluated", metrics=[metric], baselines=False,
        data_dir=data_dir, progress=False,
    )  # fmt: skip
    return {variant.name: variant.test[metric].mean for variant in found.results.variants}


def run(
    name: str, task: Task, threads: int, data_dir: Path | None, console: Console
) -> dict[str, Any]:
    """Time a task, print its table, and return the numbers.

    Args:
        name: of the task; each script has a class for it.
        task: what is compared.
        threads: of each process.
        data_dir: a folder of public data sets.
        console: for the table.
    """
    missing = [peer for peer in task.peers if not python_of(peer).exists()]
    if missing:
        raise SystemExit(
            f"no environment of {', '.join(missing)}: python -m benchmarks.peers setup"
        )
    split = load_logged(read_recipe({"data": {"source": task.source}}), data_dir)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        export(task, threads, folder, split)
        workers: list[Worker] = []
        try:
            workers += (Worker(peer, name, folder, threads) for peer in task.peers)
            found = measured(workers, task, folder)
        finally:
            for worker in workers:
                worker.close()
        for peer, value in accuracy(task.peers, task, folder, split, data_dir).items():
            found[peer]["ndcg"] = value
    show(name, task, found, console)
    return {"task": name, "about": task.about, "threads": threads, "found": found}


def show(name: str, task: Task, found: dict[str, dict[str, Any]], console: Console) -> None:
    """Print the table of a task."""
    first = found[task.peers[0]]
    table = Table("library", "epoch, s", "times", "lists, s", "times", "peak MiB", f"NDCG@{task.k}",
                  title=f"{name}: {task.about}; {task.source}, {task.epochs} epochs")  # fmt: skip
    for peer, facts in found.items():
        seconds = [epoch["seconds"] for epoch in facts["epochs"]]
        ratios = [s / f["seconds"] for s, f in zip(seconds, first["epochs"], strict=True)]
        lists = facts["lists"]["seconds"]
        table.add_row(
            peer, f"{statistics.median(seconds):.2f}", f"{statistics.median(ratios):.2f}",
            f"{lists:.2f}", f"{lists / first['lists']['seconds']:.2f}",
            f"{facts['lists']['peak']:,.0f}", f"{facts['ndcg']:.4f}",
        )  # fmt: skip
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("setup", help="make an environment for each library")
    make.add_argument("names", nargs="*", metavar="LIBRARY", help=f"among {', '.join(PEERS)}; all")
    time = commands.add_parser("run", help="time the tasks")
    time.add_argument("names", nargs="*", metavar="TASK", help=f"among {', '.join(TASKS)}; all")
    time.add_argument("--threads", type=int, default=1, help="of each process (%(default)s)")
    time.add_argument("--data-dir", type=Path, help="a folder of public data sets")
    time.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, too")
    options = parser.parse_args(arguments)
    known = PEERS if options.command == "setup" else list(TASKS)
    for name in options.names:
        if name not in known:
            parser.error(f"there is no {name!r}; there are {', '.join(known)}")
    console = Console()
    if options.command == "setup":
        setup(options.names or known, console)
        return
    facts = machine()
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()))
    tasks = [
        run(name, TASKS[name], options.threads, options.data_dir, console)
        for name in options.names or known
    ]
    if options.json is not None:
        told = {"machine": facts, "tasks": tasks}
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
