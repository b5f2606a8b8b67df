"""SASRec of another library with its own loss, and with softrec's on three targets.

    python -m benchmarks.peers.adapters replay rectools --data-dir data

One process for each loss; their epochs alternate. All have the same data, sizes and seed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import softrec
from benchmarks.peers.__main__ import Worker, accuracy, export, measured, python_of
from benchmarks.peers.tasks import TASKS, Task
from benchmarks.timing import machine
from softrec.experiments.build.data import load_logged
from softrec.recipe.recipe import read_recipe

SIZES: dict[str, Any] = {**TASKS["sasrec"].sizes, "length": 20, "dim": 32}
SOURCE = "movielens-1m-sasrec"
LAST = "events of each user before validation, each a label"
LIBRARIES = {
    "rectools": Task(f"SASRec of RecTools, the last 20 {LAST}", SOURCE, ("rectools",), epochs=12,
                     sizes=SIZES),
    "replay": Task(f"SASRec of RePlay, the last 20 {LAST}", SOURCE, ("replay",), epochs=12,
                   sizes=SIZES),
    # Each label has a history of its own, which costs as much as all labels of a user elsewhere.
    "recbole": Task(f"SASRec of RecBole, the last 10 {LAST}", SOURCE, ("recbole",), epochs=3,
                    sizes={**SIZES, "length": 10}),
}  # fmt: skip
LOSSES: dict[str, dict[str, Any]] = {
    "own loss": {},
    "one-hot": {"target": "one-hot", "settings": {}},
    "uniform, alpha 0.1": {"target": "uniform", "settings": {"alpha": 0.1}},
    "pop+, alpha 0.4": {"target": "pop+", "settings": {"alpha": 0.4}},
}


def run(name: str, task: Task, data_dir: Path | None, console: Console) -> dict[str, Any]:
    """Train with each loss, print the table, and return the numbers."""
    if not python_of(name).exists():
        raise SystemExit(f"no environment of {name}: python -m benchmarks.peers setup {name}")
    split = load_logged(read_recipe({"data": {"source": task.source}}), data_dir)
    source = Path(softrec.__file__).parents[1]
    path = os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        workers: list[Worker] = []
        try:
            for number, (loss, changed) in enumerate(LOSSES.items()):
                own = folder / str(number)
                own.mkdir()
                export(replace(task, sizes={**task.sizes, **changed}), 1, own, split)
                workers.append(Worker(name, "sasrec", own, 1, name=loss, path=path))
            found = measured(workers, task, folder)
        finally:
            for worker in workers:
                worker.close()
        for loss, value in accuracy(list(LOSSES), task, folder, split, data_dir).items():
            found[loss]["ndcg"] = value
    show(task, found, console)
    return {"library": name, "about": task.about, "epochs": task.epochs, "found": found}


def show(task: Task, found: dict[str, dict[str, Any]], console: Console) -> None:
    """Print the table of a library."""
    table = Table("loss", f"NDCG@{task.k}", "epoch, s", "of own", "peak MiB", title=task.about)
    own = statistics.median(epoch["cpu"] for epoch in found["own loss"]["epochs"])
    for loss, facts in found.items():
        seconds = statistics.median(epoch["cpu"] for epoch in facts["epochs"])
        table.add_row(
            loss, f"{facts['ndcg']:.4f}", f"{seconds:.1f}", f"{seconds / own:.2f}",
            f"{facts['lists']['peak']:,.0f}",
        )  # fmt: skip
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.adapters")
    parser.add_argument("names", nargs="*", metavar="LIBRARY", help=", ".join(LIBRARIES))
    parser.add_argument("--source", default=SOURCE, help="another data set, such as shop")
    parser.add_argument("--epochs", type=int, help="other than the library's")
    parser.add_argument("--data-dir", type=Path, help="a folder of public data sets")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, too")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(LIBRARIES):
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(LIBRARIES)}")
    console = Console()
    told: dict[str, Any] = {"machine": machine(), "libraries": []}
    for name in options.names or LIBRARIES:
        task = LIBRARIES[name]
        task = replace(task, epochs=options.epochs or task.epochs, source=options.source)
        told["libraries"].append(run(name, task, options.data_dir, console))
        if options.json is not None:
            options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
