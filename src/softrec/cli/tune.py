"""`softrec tune`: the search over settings."""

from __future__ import annotations

from typing import Annotated

import typer

from softrec.cli.options import DataDir, Out, Overwrite, Set, Source, Space
from softrec.cli.show import print_line, print_metrics
from softrec.cli.train import all_options


def tune(
    ctx: typer.Context,
    source: Source,
    out: Out,
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings of the search; by default 20, or those of the recipe."),
    ] = None,
    space: Space = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Trainings of the winner, each with another seed.")
    ] = 3,
    set_: Set = None,
    data_dir: DataDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Search settings on validation; train the best ones with several seeds, and test only these.

    The first trials are the recipe itself and settings from the data; Optuna proposes the others.

    Settings that are given by options are not searched; those of a recipe are the first trial.

    Writes best.yaml for softrec fit, history.html with all trials, and the runs of the winner.

    If it is interrupted, run the same command again: finished trials are kept.

    Examples:
      softrec tune clicks.csv --model sasrec --epochs 30 --out runs/tuned

      softrec tune clicks.csv --target pop+ --space target.alpha=0.05..0.9 --trials 40 --out DIR

      softrec fit runs/tuned/best.yaml --seed 7 --out runs/again
    """
    from softrec.experiments.inputs import read_source
    from softrec.experiments.tuning.tune import search_of, tune_recipe

    given = read_source(source, all_options(ctx.obj, set_))
    found = tune_recipe(
        search_of(given, trials, space), out, seeds=seeds, data_dir=data_dir, overwrite=overwrite
    )
    typer.echo(repr(found))
    print_metrics("", {"validation": found.valid, "test": found.test})
    print_line(f"All trials are in {found.folder / 'history.html'}")
