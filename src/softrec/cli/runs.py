"""`softrec runs`: the runs of a folder, sorted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from softrec.cli.show import print_line
from softrec.errors import one_line


def runs(
    folder_: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder; those below it are searched, too.")
    ] = Path(),
    sort: Annotated[
        str,
        typer.Option(
            help="The column to sort by, such as ndcg@10 or valid/ndcg@10 (the highest first), "
            "date (the latest first), model or seconds."
        ),
    ] = "date",
    json: Annotated[
        bool, typer.Option("--json", help="Print all columns as JSON, a list of objects.")
    ] = False,
) -> None:
    """List the runs of a folder: model, target, loss, metrics, date, seconds and state.

    State is complete; in progress; interrupted (the same command continues it); or broken (a file
    is missing or was changed). For an update the gate's answer is shown, too. "0.2471 of 1,000" is
    a metric among 1,000 sampled items, which does not compare with one among all.

    Examples:
      softrec runs runs --sort ndcg@10

      softrec runs runs --json
    """
    from softrec.experiments.listed_runs import runs as listed

    table = listed(folder_, sort)
    if json:
        table = table.with_columns(table["date"].dt.to_string("iso:strict"))
        sys.stdout.write(table.write_json() + "\n")
        return
    if table.is_empty():
        print_line(f"There is no run in {folder_}")
        return
    for line in _lines(table, sort):
        typer.echo(line)


def _lines(table: Any, sort: str) -> list[str]:
    """Return a table as lines that are not wrapped, whose columns are below each other."""
    head = ["run", "state", "model", "target", "loss", _metric_name(table, sort), "seconds", "date"]
    cells = [head, *(_cells(row, sort) for row in table.iter_rows(named=True))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _metric_name(table: Any, sort: str) -> str:
    """Return the head of the metric: that which is sorted by, else that which chose the epoch."""
    monitors = table["monitor"].drop_nulls().unique().to_list()
    if "@" in sort:
        return sort
    return monitors[0] if len(monitors) == 1 else "metric"


def _among(row: dict[str, Any]) -> str:
    """Return the sampled items that a label was ranked among: higher than among all items."""
    return f" of {row['negatives']:,}" if row["negatives"] else ""


def _cells(row: dict[str, Any], sort: str) -> list[str]:
    state = row["state"] if row["accepted"] is not False else f"{row['state']}, not accepted"
    name = sort if "@" in sort else row["monitor"]
    value = row.get(name)
    shown = {
        "metric": None if value is None else f"{value:.4f}{_among(row)}",
        "seconds": None if row["seconds"] is None else f"{row['seconds']:,.0f}",
        "date": None if row["date"] is None else f"{row['date']:%Y-%m-%d %H:%M}",
    }
    told = [row["run"], state, row["model"], row["target"], row["loss"], *shown.values()]
    return ["-" if cell is None else one_line(cell, 200) for cell in told]
