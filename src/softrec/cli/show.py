"""Output of commands: tables on the screen, lines on the error stream."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

out_console = Console()
err_console = Console(stderr=True)


def typed(arguments: Sequence[str]) -> str:
    """Return the command of some arguments as it can be pasted into a shell.

    Example:
        >>> typed(["compare", "a.csv", "--targets", "one-hot,pop+(alpha=1.0)"])
        "softrec compare a.csv --targets 'one-hot,pop+(alpha=1.0)'"
    """
    return shlex.join(["softrec", *arguments])


def print_line(text: str, label: str = "") -> None:
    """Print text as one line on the error stream, without wrapping or markup."""
    line = " ".join(text.split())
    err_console.print(label + escape(line), highlight=False, soft_wrap=True)


def print_run(folder: Path) -> None:
    """Print where a run is, and what to do next as it can be pasted into a shell."""
    print_line(f"The run is in {folder}. Next: {typed(['recommend', str(folder)])} --user ID")


def print_lists(lists: dict[str, float], part: str) -> None:
    """Print the measures of the lists, if there are any."""
    if lists:
        measures = {name.replace("_", " "): v for name, v in lists.items() if name != "k"}
        print_metrics("", {part: measures}, f"top-{lists['k']:g} lists")


def print_calibration(found: dict[str, Any] | None) -> None:
    """Print how good the softmax is at test, where a run was asked for it."""
    if not found:
        return
    if "skipped" in found:
        print_line(f"The softmax is not measured: {found['skipped']}")
        return
    kinds = {kind: {n: v for n, v in found[kind].items() if n != "reliability"}
             for kind in ("trained", "scaled")}  # fmt: skip
    own = {name.replace("_", " "): name for name in kinds["trained"]}
    columns = {kind: {"temperature": 1.0} | {told: values[name] for told, name in own.items()}
               for kind, values in kinds.items()}  # fmt: skip
    columns["scaled"]["temperature"] = found["temperature"]
    print_metrics("", columns, "softmax at test")


def print_metrics(title: str, columns: dict[str, dict[str, float]], head: str = "metric") -> None:
    """Print a row for each metric, below the title."""
    if title:
        out_console.print(title, highlight=False, markup=False)
    table = Table(head, *columns, box=None)
    for name in next(iter(columns.values())):
        table.add_row(name, *(f"{values[name]:.4f}" for values in columns.values()))
    out_console.print(table)


def print_comparison(results: Any, folder: Path) -> None:
    """Print the table of a comparison, and the path of its report."""
    from softrec.report.write import console_table

    out_console.print(console_table(results))
    print_line(f"The report is {folder / 'report.html'}")


def show_table(table: Any, out: Path | None) -> None:
    """Write a table to a file, or print it; columns without any value are not printed."""
    from softrec.serving.files import write_table

    if out is not None:
        write_table(table, out)
        return
    table = table[[part.name for part in table if part.null_count() < len(part) or not len(part)]]
    shown = Table(*table.columns, box=None)
    for column in shown.columns:
        column.overflow = "fold"  # an id must be shown completely
    for row in table.iter_rows():
        shown.add_row(*map(_cell, table.columns, row))
    out_console.print(shown)


def _cell(column: str, value: object) -> str:
    """Return a value of a table as it is printed; ids are not formatted."""
    if column in ("score", "contribution", "weight"):
        return f"{value:.4f}"
    parts = value if isinstance(value, list) else [value]
    return escape(", ".join("" if part is None else str(part) for part in parts))
