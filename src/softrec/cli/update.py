"""`softrec update`: a run goes on with new events, and is judged on the newest of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from softrec.cli.options import (
    Out,
    Overwrite,
    Plugins,
    RunFolder,
    Set,
    Trackers,
    Trust,
    load,
    option,
)
from softrec.cli.show import print_line, print_metrics

REFUSED = 3
"""The exit code if the new run is not accepted."""
COLUMNS, TRAINING, GATE = "Columns of the new events", "Training", "Gate"  # panels of the help

Column = Annotated[
    str | None,
    option(COLUMNS, "The column, if it has another name than in the log of the run."),
]
Data = Annotated[
    Path,
    typer.Option(
        help="The new events: a CSV, TSV, JSON lines, Parquet or Arrow file. Events that the run "
        "has already are left out, so that the whole log may be given again; only new events "
        "where there are no times."
    ),
]
NewestBy = Annotated[
    Literal["time", "last"] | None,
    option(
        GATE,
        "Which events judge: time (the newest of the new events, and nothing later is trained on) "
        "or last (the last new event of each user). By default time, if there are times.",
    ),
]
Newest = Annotated[
    float,
    typer.Option(
        rich_help_panel=GATE, help="By time: the fraction of the new events that judge.",
    ),
]  # fmt: skip
Before = Annotated[
    float,
    typer.Option(
        "--before-newest",
        rich_help_panel=GATE,
        help="By time: the fraction of the new events before these, which choose the epoch.",
    ),
]
Margin = Annotated[
    float,
    typer.Option(
        min=0.0,
        rich_help_panel=GATE,
        help="The new run is not accepted if its metric is lower by more than this fraction of "
        "the old one's.",
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        rich_help_panel=GATE,
        help="Accept it only if the 95 % interval excludes a loss above the margin.",
    ),
]
Floor = Annotated[
    float,
    typer.Option(
        min=0.0,
        rich_help_panel=GATE,
        help="If the old run keeps less than this fraction of the metric of its own test, the new "
        "events are unlike the log, or broken: the new run must be better, and no worse than "
        "popularity, to be accepted.",
    ),
]
Refit = Annotated[
    bool,
    typer.Option(
        "--refit",
        rich_help_panel=TRAINING,
        help="Train an accepted run once more, on the events that judged it, too, for as many "
        "epochs. Its metrics stay those of the training that was judged.",
    ),
]
NewRows = Annotated[
    Literal["neighbours", "fresh"] | None,
    option(
        TRAINING,
        "The first rows of new users and items: the mean of their neighbours' rows (default), or "
        "random.",
    ),
]


def update(
    run: RunFolder,
    data: Data,
    out: Out,
    newest_by: NewestBy = None,
    newest: Newest = 0.2,
    before_newest: Before = 0.1,
    margin: Margin = 0.02,
    strict: Strict = False,
    floor: Floor = 0.5,
    refit: Refit = False,
    epochs: Annotated[int | None, option(TRAINING, "Maximum number of epochs.")] = None,
    patience: Annotated[
        int | None, option(TRAINING, "Epochs without improvement before it stops.")
    ] = None,
    lr: Annotated[float | None, option(TRAINING, "Learning rate.")] = None,
    new_rows: NewRows = None,
    user: Column = None,
    item: Column = None,
    time: Column = None,
    weight: Column = None,
    logger: Trackers = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    trust: Trust = False,
    plugins: Plugins = None,
) -> None:
    """Train a run further with new events, and judge old and new on the newest of them.

    The weights go on from those of the old run, which is not changed. New users and items are
    added. The exit code is 0 if the new run is accepted, 3 if it is not; either way it is written,
    with update.json, which has the verdict. If it is interrupted, run the same command again.

    Example:
      softrec update runs/monday --data tuesday.csv --out runs/tuesday
    """
    load(plugins)
    from softrec.experiments.updating.gate import Gate
    from softrec.experiments.updating.told import verdict_lines
    from softrec.experiments.updating.update import Plan, update_run
    from softrec.recipe.options import parse_assignment
    from softrec.training.trackers import tracking

    given: dict[str, Any] = {"epochs": epochs, "patience": patience, "lr": lr, "new_rows": new_rows}
    changes = {f"training.{name}": value for name, value in given.items() if value is not None}
    columns = {"user": user, "item": item, "time": time, "weight": weight}
    plan = Plan(
        by=newest_by,
        test=newest,
        valid=before_newest,
        gate=Gate(margin, strict, floor),
        refit=refit,
        columns={name: value for name, value in columns.items() if value is not None},
        changes=changes | dict(parse_assignment(text) for text in set_ or []),
    )
    with tracking(logger):
        found = update_run(run, data, out, plan, overwrite=overwrite, trust=trust)
    metrics = found.facts["gate"]["metrics"]
    of = {"old": "old", "new": "new", "difference": "difference", "from": "low", "to": "high"}
    shown = {head: {name: own[key] for name, own in metrics.items()} for head, key in of.items()}
    print_metrics(f"{out} beside {run}, on the newest events", shown)
    for line in verdict_lines(found.facts):
        print_line(line)
    if not found.accepted:
        raise typer.Exit(REFUSED)
