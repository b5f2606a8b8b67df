"""Run benchmarks by name, print a table, and keep the numbers: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import (
    approximate,
    assembly,
    axes,
    epoch,
    load,
    losses,
    memory,
    neighbours,
    padding,
    parity,
    prepare,
    propagation,
    ranking,
    recurrent,
    scale,
    serving,
    shares,
    sockets,
    start,
    steps,
    tables,
)
from benchmarks.timing import Row, Side, machine

Benchmark = partial[list[Row]]


def suite(*, quick: bool, full: bool) -> dict[str, Benchmark]:
    """Return all benchmarks by name, with tiny, usual or, if there is one, full size."""
    sizes: dict[str, tuple[Callable[[Any], list[Row]], Any, Any]] = {
        "loss": (losses.loss, losses.QUICK, losses.Shapes()),
        "shares": (shares.shares, shares.QUICK, shares.Grid()),
        "targets": (losses.targets, losses.QUICK, losses.Shapes()),
        "recipes": (losses.recipes, losses.QUICK, losses.Shapes(repeats=7)),
        "axes": (axes.axes, axes.QUICK, axes.Shapes()),
        "catalogue": (memory.catalogue, memory.QUICK, memory.Shapes()),
        "ranking": (ranking.ranking, ranking.QUICK, ranking.Shapes()),
        "start": (start.start, start.QUICK, start.Shapes()),
        "prepare": (prepare.prepare, prepare.QUICK, prepare.Shapes()),
        "load": (load.load, load.QUICK, load.Shapes()),
        "serving": (serving.serving, serving.QUICK, serving.Shapes()),
        "parity": (parity.parity, parity.QUICK, parity.Shapes()),
        "approximate": (
            approximate.approximate,
            approximate.QUICK,
            approximate.FULL if full else approximate.Shapes(),
        ),
        "sockets": (sockets.sockets, sockets.QUICK, sockets.Shapes()),
        "scale": (scale.scale, scale.QUICK, scale.FULL if full else scale.Shapes()),
        "epoch": (epoch.epoch, epoch.QUICK, epoch.FULL if full else epoch.Shapes()),
        "steps": (steps.steps, steps.QUICK, steps.Shapes()),
        "recurrent": (recurrent.recurrent, recurrent.QUICK, recurrent.Shapes()),
        "padding": (padding.padding, padding.QUICK, padding.Shapes()),
        "tables": (tables.tables, tables.QUICK, tables.Shapes()),
        "batches": (assembly.batches, assembly.QUICK, assembly.Shapes()),
        "propagation": (propagation.propagation, propagation.QUICK, propagation.Shapes()),
        "neighbours": (
            neighbours.neighbours,
            neighbours.QUICK,
            neighbours.FULL if full else neighbours.Shapes(),
        ),
    }
    return {
        name: partial(run, tiny if quick else usual) for name, (run, tiny, usual) in sizes.items()
    }


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Run the benchmarks that the command line names, and return the rows."""
    names = list(suite(quick=False, full=False))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"among {', '.join(names)}; all")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does everything run?")
    parser.add_argument(
        "--full",
        action="store_true",
        help="time the whole epoch, and search among a million contexts and 262,000 items",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, too")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in names:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(names)}")
    benchmarks = suite(quick=options.quick, full=options.full)
    console = Console()
    facts = machine()
    console.print(", ".join(f"{name} {value}" for name, value in facts.items()))
    rows: list[Row] = []
    for name in options.names or names:
        with console.status(name), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            rows += benchmarks[name]()
    show(rows, console)
    if options.json is not None:
        told = {"machine": facts, "quick": options.quick, "rows": [plain(row) for row in rows]}
        options.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return rows


def show(rows: Sequence[Row], console: Console) -> None:
    """Print the table, and notes on single rows below it."""
    table = Table("work", "softrec", "beside", "ratio", "bar", "", show_lines=True)
    for row in rows:
        table.add_row(
            row.work,
            _side(row.ours, row.unit),
            "" if row.beside is None else _side(row.beside, row.unit),
            f"{row.ratio:.3g}",
            "" if row.bar is None else f"{row.bar.of} {row.bar.sense} {row.bar.limit:g}",
            "" if row.bar is None else "met" if row.met else "missed",
        )
    console.print(table)
    console.print("Each side: median (least). The ratio is the median over neighbouring pairs.")
    for row in rows:
        for note in row.notes:
            console.print(f"- {row.work.partition(',')[0]}: {note}", highlight=False)


def _side(side: Side, unit: str) -> str:
    return f"{side.name}\n{side.median:,.4g} ({side.least:,.4g}) {unit}"


def plain(row: Row) -> dict[str, Any]:
    """Return a row as plain data."""
    return asdict(row) | {"met": row.met}


if __name__ == "__main__":
    main()
