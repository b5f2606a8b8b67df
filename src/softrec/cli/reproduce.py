"""`softrec reproduce`: runs the trainings of a paper's tables and compares the numbers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from softrec.cli.options import Baselines, CpusPerRun, DataDir, On
from softrec.cli.show import print_line, typed

Paper = Annotated[
    str,
    typer.Argument(
        help="The name of a paper: softrec, desorec, timirec or bsl; or a file (.yaml) of your "
        "own, see docs/reproduction.md."
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The folder of the results; an unfinished one is continued."),
]
TableName = Annotated[
    str | None,
    typer.Option("--table", help="Only tables whose name contains this text; by default all."),
]
RowNames = Annotated[
    str | None,
    typer.Option(
        "--row",
        help="Only rows with these printed names of data set, backbone, method or setting, "
        "separated by commas, as in the example. Finished rows of --out stay in the table.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Minutes; a training is only started if its estimated time fits into what is left. "
        "For a log in a file the time is estimated when the file is read.",
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="Number of trainings of each row.")]
Defaults = Annotated[
    bool,
    typer.Option(
        "--defaults/--no-defaults",
        help="Add models with today's default settings, trained on the same data.",
    ),
]
Train = Annotated[
    bool,
    typer.Option(
        "--train/--no-train",
        help="Train what is not finished; --no-train only computes the simple baselines.",
    ),
]
List = Annotated[bool, typer.Option("--list", help="Only list the rows with their recipes.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only list what would be run, in order.")]


def reproduce(
    paper: Paper,
    out: Folder = None,
    table: TableName = None,
    row: RowNames = None,
    budget: Budget = None,
    seeds: Seeds = 1,
    baselines: Baselines = True,
    defaults: Defaults = True,
    train: Train = True,
    list_: List = False,
    dry_run: DryRun = False,
    on: On = "here",
    cpus_per_run: CpusPerRun = None,
    data_dir: DataDir = None,
) -> None:
    """Run the trainings of a paper's tables, the cheapest first, and compare the numbers.

    Writes reproduction.md, .html, .csv, .parquet and .json. If it is interrupted, run the same
    command again: finished trainings are kept.

    Examples:
      softrec reproduce desorec --list

      softrec reproduce desorec --row Diginetica,GRU4Rec --budget 120 -o DIR
    """
    from softrec.errors import RecipeError
    from softrec.experiments.reproduction.listing import job_lines, row_lines
    from softrec.experiments.reproduction.run import planned, reproduce_paper

    if list_ or dry_run:
        wanted = planned(
            paper, table=table, row=row, seeds=seeds, baselines=baselines, defaults=defaults
        )
        for line in row_lines(wanted) if list_ else job_lines(wanted, data_dir):
            typer.echo(line)
        return
    if out is None:
        raise RecipeError("the results need a folder; name one with --out, such as runs/reproduced")
    found = reproduce_paper(
        paper, out, table=table, row=row, seeds=seeds, baselines=baselines, defaults=defaults,
        budget=budget, train=train, data_dir=data_dir, command=typed(sys.argv[1:]),
        on=on, cpus_per_run=cpus_per_run,
    )  # fmt: skip
    print_line(f"{found.sentence()}. The table is {out / 'reproduction.md'}, also .html and .csv")
