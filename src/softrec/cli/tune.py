"""`softrec tune`: the search over settings."""

from __future__ import annotations

from typing import Annotated

import typer

from softrec.cli.options import (
    CpusPerRun,
    DataDir,
    On,
    Out,
    Overwrite,
    Set,
    Source,
    Space,
    Trackers,
)
from softrec.cli.show import print_line, print_metrics
from softrec.cli.train import all_options


def tune(
    ctx: typer.Context,
    source: Source,
    out: Out,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of trainings of the search; by default that of the recipe, or 20."
        ),
    ] = None,
    space: Space = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Number of trainings of the winner, each with another seed.")
    ] = 3,
    on: On = "here",
    cpus_per_run: CpusPerRun = None,
    logger: Trackers = None,
    set_: Set = None,
    data_dir: DataDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Search settings on validation; train the best ones with several seeds, and test only these.

    A setting that an option gives is not searched. The first trial has the settings of the recipe,
    the next ones settings computed from the data; Optuna proposes all others. Writes best.yaml for
    softrec fit, history.html with all trials, and the runs of the winner. If it is interrupted, run
    the same command again: finished trials are kept.

    Examples:
      softrec tune clicks.csv --model sasrec --epochs 30 --out runs/tuned

      softrec tune clicks.csv --target pop+ --space target.alpha=0.05..0.9 -o DIR

      softrec fit runs/tuned/best.yaml --seed 7 --out runs/again
    """
    from softrec.experiments.inputs import read_source
    from softrec.experiments.tuning.tune import search_of, tune_recipe
    from softrec.training.trackers import tracking

    given = read_source(source, all_options(ctx.obj, set_), data_dir)
    with tracking(logger):
        found = tune_recipe(
            search_of(given, trials, space), out, seeds=seeds, data_dir=data_dir,
            overwrite=overwrite, on=on, cpus_per_run=cpus_per_run,
        )  # fmt: skip
    typer.echo(repr(found))
    print_metrics("", {"validation": found.valid, "test": found.test})
    print_line(f"All trials are in {found.folder / 'history.html'}")
