"""`softrec evaluate`: evaluates a finished run again, or ranked lists of any system."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from softrec.cli.options import (
    Baselines,
    DataDir,
    ItemTable,
    Overwrite,
    Plugins,
    Set,
    Trust,
    UserTable,
    load,
)
from softrec.cli.show import print_comparison, print_line, print_lists, print_metrics, typed
from softrec.errors import RecipeError

RunFolder = Annotated[Path | None, typer.Argument(help="The folder of a finished run.")]
ListsFile = Annotated[
    list[str] | None,
    typer.Option(
        "--lists",
        help="Evaluate ranked lists instead of a run: a file (Parquet, CSV, JSON lines) with the "
        "columns user, item, and rank or score, or with user and an array of items. FILE or "
        "NAME=FILE. May be given several times; files with the same name count as trainings of "
        "the same system with different seeds.",
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        help="What --lists are compared with: the folder of a run or other lists, as PATH or "
        "NAME=PATH; by default the first lists. May be given several times."
    ),
]


def evaluate(
    ctx: typer.Context,
    run: RunFolder = None,
    part: Annotated[str, typer.Option(help="The part to evaluate: test or valid.")] = "test",
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics, separated by commas, such as ndcg@5,recall@50; by default those of "
            "the run. With --lists, verdicts and slices are of the first one."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The log that the run was trained on; it is checked that it is the same. By "
            "default the copy of the log in the run folder is used. With --lists, the log on "
            "whose test part the lists are evaluated."
        ),
    ] = None,
    per_user: Annotated[
        Path | None,
        typer.Option(help="Write the metrics of each user to .csv, .parquet or .json."),
    ] = None,
    lists: ListsFile = None,
    against: Against = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="With --lists: the folder of the report.")
    ] = None,
    baselines: Baselines = True,
    user_table: UserTable = None,
    item_table: ItemTable = None,
    set_: Set = None,
    overwrite: Overwrite = False,
    trust: Trust = False,
    data_dir: DataDir = None,
    plugins: Plugins = None,
) -> None:
    """Evaluate a finished run again, with other metrics or on the validation part.

    Items are ranked for every user of the part, and the mean metrics are printed. With --lists,
    ranked lists that another system made are evaluated with the split, the metrics and the
    statistics of a comparison, and its report is written.

    Examples:
      softrec evaluate runs/first --part valid

      softrec evaluate --lists theirs.csv --data clicks.csv --out runs/judged

      softrec evaluate --lists theirs.csv --against runs/first --out runs/judged
    """
    load(plugins)
    protocol: dict[str, Any] = ctx.obj
    if lists:
        _check_lists(run, out, per_user, part)
        _judge(
            lists, data, protocol, set_, out=out, against=against, metrics=metrics,
            baselines=baselines, user_table=user_table, item_table=item_table, data_dir=data_dir,
            overwrite=overwrite, trust=trust,
        )  # fmt: skip
        return
    of_lists = {"--against": against, "--out": out, "--set": set_, "--user-table": user_table,
                "--item-table": item_table, "--no-baselines": not baselines,
                "--overwrite": overwrite, **protocol}  # fmt: skip
    unused = next((name for name, value in of_lists.items() if value), None)
    if run is None or unused:
        raise RecipeError(
            "expected the folder of a run, or --lists with ranked lists"
            if run is None
            else f"{unused} belongs to --lists; a run has its own split and protocol"
        )
    _run(run, part, metrics, data, per_user, trust, data_dir)


def _check_lists(run: Path | None, out: Path | None, per_user: Path | None, part: str) -> None:
    if run is not None:
        raise RecipeError(f"--lists are evaluated alone; to compare them, give --against {run}")
    if per_user is not None or part != "test":
        raise RecipeError(
            "--lists are evaluated on the test part, and --out has per_user.parquet; leave out "
            "--part and --per-user"
        )
    if out is None:
        raise RecipeError("--lists need --out, the folder of their report")


def _judge(
    lists: list[str], data: str | None, protocol: dict[str, Any], set_: Any, **arguments: Any
) -> None:
    from softrec.experiments.judge import judge_lists
    from softrec.recipe.options import parse_assignment

    options = protocol | dict(parse_assignment(text) for text in set_ or [])
    command = typed(sys.argv[1:])
    found = judge_lists(lists, data, command=command, options=options, **arguments)
    print_comparison(found.results, found.folder)


def _run(
    run: Path,
    part: str,
    metrics: str | None,
    data: str | None,
    per_user: Path | None,
    trust: bool,
    data_dir: Path | None,
) -> None:
    from softrec.evaluation.asked import sentence_of
    from softrec.experiments.evaluate import judged
    from softrec.experiments.evaluator import means
    from softrec.experiments.runs import open_run
    from softrec.experiments.store.folders import check_apart
    from softrec.serving.files import write_table, writer_of

    if per_user is not None:
        writer_of(per_user)
        check_apart(per_user, run)
    opened = open_run(run, trust=trust)
    table, lists = judged(opened, part, metrics or None, data=data, data_dir=data_dir)
    if "evaluation" in opened.facts:
        print_line(sentence_of(opened.facts["evaluation"]))
    print_metrics(f"{run}, {len(table):,} users", {part: means(table)})
    print_lists(lists, part)
    if per_user is not None:
        write_table(table, per_user)
