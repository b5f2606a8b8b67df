"""Evaluates a finished run again: with other metrics, on the other part, or with a given log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from softrec.errors import RecipeError, RunError
from softrec.evaluation.metrics import metric_names
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.inputs import load_data
from softrec.experiments.runs import Run


def evaluated(
    run: Run,
    part: str = "test",
    metrics: str | Sequence[str] | None = None,
    *,
    data: Any = None,
    data_dir: Path | None = None,
) -> pl.DataFrame:
    """Return the metrics of each user; items are ranked as the recipe of the run says.

    Args:
        run: a finished run.
        part: "test" or "valid".
        metrics: such as ["ndcg@5", "recall@50"] or "ndcg@5,recall@50"; by default the recipe's.
        data: the log that the run was trained on, a path or a table; by default the copy in the
            run folder.
        data_dir: a folder with public data sets, if `data` names one.

    Raises:
        RecipeError, RunError: as `judged`.
    """
    return judged(run, part, metrics, data=data, data_dir=data_dir)[0]


def judged(
    run: Run,
    part: str = "test",
    metrics: str | Sequence[str] | None = None,
    *,
    data: Any = None,
    data_dir: Path | None = None,
) -> tuple[pl.DataFrame, dict[str, float]]:
    """Return the metrics of each user, and the measures of the top-k lists with their k.

    Arguments are those of `evaluated`.

    Raises:
        RecipeError: if there is no such part or metric.
        RunError: if `data` is not the log of the run, or its weights were trained on the part.
    """
    if part not in ("test", "valid"):
        raise RecipeError(f"--part must be test or valid, got {part!r}")
    check_unseen(run, part)
    if data is None:
        split = run.split()
    else:
        split = load_data(data, run.recipe.data, data_dir)
        run.check_data(split)
    wanted = metric_names(metrics) if metrics else None
    return Evaluator(run.recipe, split, part).with_lists(run.model(), wanted)


def check_unseen(run: Run, part: str) -> None:
    """Refuse a part that the weights of a run were trained on, in a refit.

    Raises:
        RunError: if they were.
    """
    if run.refit == "all" or run.refit == part:
        whose = {"valid": "validation", "test": "test"}[part]
        raise RunError(
            f"{run.folder} was fitted once more with its {whose} part (refit: {run.refit}), which "
            "cannot judge it any more; run.json has the metrics of the training before"
        )
