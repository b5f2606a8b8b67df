"""`softrec evaluate`: evaluates a finished run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from softrec.cli.options import DataDir, Plugins, RunFolder, Trust, load
from softrec.cli.show import print_line, print_lists, print_metrics


def evaluate(
    run: RunFolder,
    part: Annotated[str, typer.Option(help="The part to evaluate: test or valid.")] = "test",
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Metrics, separated by commas, such as ndcg@5,recall@50; by default those of "
            "the run."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The log that the run was trained on, if you want to use it and check that "
            "it is the same; by default the copy of the log in the run folder is used."
        ),
    ] = None,
    per_user: Annotated[
        Path | None,
        typer.Option(help="Write the metrics of each user to .csv, .parquet or .json."),
    ] = None,
    trust: Trust = False,
    data_dir: DataDir = None,
    plugins: Plugins = None,
) -> None:
    """Evaluate a finished run again, with other metrics or on the validation part.

    Items are ranked for every user of the part, as the recipe says. Prints the mean metrics.
    """
    from softrec.evaluation.asked import sentence_of
    from softrec.experiments.evaluate import judged
    from softrec.experiments.evaluator import means
    from softrec.experiments.runs import open_run
    from softrec.experiments.store.folders import check_apart
    from softrec.serving.files import write_table, writer_of

    load(plugins)
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
