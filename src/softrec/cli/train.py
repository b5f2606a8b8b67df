"""`softrec fit`, `compare`, `order` and `demo`: the commands that train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from softrec.cli.options import (
    Baselines,
    CpusPerRun,
    DataDir,
    ItemTable,
    On,
    Out,
    Overwrite,
    ProtocolRows,
    Seeds,
    Set,
    Source,
    Space,
    Trackers,
    Tune,
    UserTable,
    option,
)
from softrec.cli.show import (
    print_calibration,
    print_comparison,
    print_lists,
    print_metrics,
    print_run,
    typed,
)

if TYPE_CHECKING:
    from softrec.recipe.recipe import Recipe

VARIANTS = "Variants"  # the panel of the options that say what is compared
Targets = Annotated[
    str,
    typer.Option(
        rich_help_panel=VARIANTS,
        help="The targets, separated by commas; the first is the baseline. Settings are in "
        "brackets, with quotes around all of it: 'one-hot,pop+(alpha=0.4)'.",
    ),
]
Models = Annotated[
    str | None,
    option(
        VARIANTS,
        "Several models instead of --model, each with its own baseline: 'sasrec(dim=64),mf'.",
    ),
]
Losses = Annotated[
    str | None,
    option(VARIANTS, "Several losses instead of --loss, such as mixed,decoupled."),
]
Grid = Annotated[
    list[str] | None,
    option(
        VARIANTS,
        "Values of a field, such as target.alpha=0.1,0.3,0.5: each variant that has the "
        "field is trained with each of them. May be given several times, for all combinations.",
    ),
]


def fit(
    ctx: typer.Context,
    source: Source,
    out: Out,
    logger: Trackers = None,
    set_: Set = None,
    data_dir: DataDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a model on a target, choose its best epoch on validation, and test it.

    If it is interrupted, run the same command again: training resumes where it stopped.

    Examples:
      softrec fit clicks.csv --target pop+ --alpha 0.4 --out runs/first

      softrec fit clicks.csv --user customer --item product --time ts --out runs/first

      softrec fit clicks.csv --preset best --out runs/best

      softrec fit diginetica-gru4rec-base --data-dir data --out runs/base
    """
    from softrec.experiments.train import fit_recipe
    from softrec.experiments.views import asked, best_of
    from softrec.parallel import is_first
    from softrec.training.trackers import tracking

    recipe = recipe_of(source, ctx.obj, set_, data_dir)
    with tracking(logger):
        run = fit_recipe(recipe, out, data_dir=data_dir, overwrite=overwrite)
    if not is_first():
        return
    print_metrics(
        f"{asked(recipe)}: {best_of(run)}",
        {"validation": run.valid, "test": run.test},
    )
    print_lists(run.lists, "test")
    print_calibration(run.facts.get("calibration"))
    print_run(run.folder)


def compare(
    ctx: typer.Context,
    source: Source,
    out: Out,
    targets: Targets = "one-hot,uniform,pop+",
    models: Models = None,
    losses: Losses = None,
    grid: Grid = None,
    tune: Tune = None,
    space: Space = None,
    seeds: Seeds = 3,
    baselines: Baselines = True,
    protocol_rows: ProtocolRows = "auto",
    user_table: UserTable = None,
    item_table: ItemTable = None,
    on: On = "here",
    cpus_per_run: CpusPerRun = None,
    logger: Trackers = None,
    set_: Set = None,
    data_dir: DataDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Train models on several targets with the same data and budget, and report what helped.

    All combinations of models, targets, losses and values of a grid are trained. Writes
    report.html, report.md, tables.tex, results.json, per_user.parquet and slices.parquet. If it is
    interrupted, run the same command again: finished runs are kept.

    Examples:
      softrec compare clicks.csv --targets one-hot,uniform,pop+ --out DIR

      softrec compare clicks.csv --models sasrec,mf --losses mixed,decoupled -o DIR

      softrec compare clicks.csv --grid target.alpha=0.1,0.3,0.5 --out DIR

      softrec compare clicks.csv --targets one-hot,pop+ --tune 20 --out DIR
    """
    from softrec.experiments.combinations import plan
    from softrec.experiments.compare import compare_variants
    from softrec.experiments.inputs import read_source
    from softrec.experiments.tables import with_users
    from softrec.experiments.variants import axes_of
    from softrec.training.trackers import tracking

    options = with_users(all_options(ctx.obj, set_), user_table)
    axes = axes_of(targets, models, losses, grid, options)
    with tracking(logger):
        comparison = compare_variants(
            plan(read_source(source, options, data_dir), axes, seeds, tune=tune, space=space),
            out,
            baselines=baselines,
            protocol_rows=protocol_rows,
            user_table=user_table,
            item_table=item_table,
            data_dir=data_dir,
            command=typed(sys.argv[1:]),
            overwrite=overwrite,
            on=on,
            cpus_per_run=cpus_per_run,
        )
    print_comparison(comparison.results, comparison.folder)


def order(
    ctx: typer.Context,
    source: Source,
    out: Out,
    seeds: Seeds = 3,
    logger: Trackers = None,
    set_: Set = None,
    data_dir: DataDir = None,
    overwrite: Overwrite = False,
) -> None:
    """Train a model on a log, and on the log with histories in random order: does order matter?

    Both are trained with the same seeds, and the difference of the test metric is printed. If the
    order of the events does not matter, a model that reads sequences has nothing to gain from it.

    Example:
      softrec order clicks.csv --model gru4rec --out runs/order
    """
    from softrec.experiments.order import compare_order
    from softrec.training.trackers import tracking

    recipe = recipe_of(source, ctx.obj, set_, data_dir)
    seen = range(recipe.seed, recipe.seed + seeds)
    with tracking(logger):
        found = compare_order(recipe, out, seeds=seen, data_dir=data_dir, overwrite=overwrite)
    typer.echo(found.sentence())


def demo(
    out: Out = Path("demo"),
    seeds: Seeds = 3,
    overwrite: Overwrite = False,
) -> None:
    """Compare one-hot labels, POP+ and KD on a simulated shop, in about six minutes of computing.

    It writes a report, demo/report.html by default. The simulator knows the best ranking that any
    model could reach, and the report compares each target with it.
    """
    from softrec.experiments.demo import run_demo

    comparison = run_demo(
        out,
        seeds=range(seeds),
        command=typed(sys.argv[1:]),
        overwrite=overwrite,
    )
    print_comparison(comparison.results, comparison.folder)


def recipe_of(
    source: str, options: dict[str, Any], assignments: list[str] | None, data_dir: Path | None
) -> Recipe:
    """Return the recipe of a file or a log, changed by the options of a command."""
    from softrec.experiments.inputs import read_input

    return read_input(source, all_options(options, assignments), data_dir).recipe


def all_options(options: dict[str, Any], assignments: list[str] | None) -> dict[str, Any]:
    """Return the options of a command; those of --set take precedence."""
    from softrec.recipe.options import parse_assignment

    return options | dict(parse_assignment(text) for text in assignments or [])
