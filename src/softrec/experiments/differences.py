"""How the variants of a comparison differ from the baseline, over users and trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from softrec.errors import RunError
from softrec.evaluation.significance import crossed, holm
from softrec.experiments.runs import Run
from softrec.report.results import MetricDifference


def differences(
    runs: Sequence[Sequence[Run]], metrics: Sequence[str]
) -> list[dict[str, MetricDifference]]:
    """Return for each variant but the first, the baseline, how it differs in each metric.

    Args:
        runs: a row for each variant, a run for each seed.
        metrics: columns of the tables of users.

    Returns:
        {metric: difference} for each variant. What is not known is NaN: interval and p-values if a
        variant has one seed only. p_holm is corrected over the variants. A difference below
        `detectable`, half the interval, cannot be distinguished from 0.

    Raises:
        RunError: if the runs do not have the same users in the same order.
    """
    tables = [[run.per_user for run in row] for row in runs]
    _check_users(runs, tables)
    found: list[dict[str, MetricDifference]] = [{} for _ in runs[1:]]
    for metric in metrics:
        values = [np.stack([table[metric].to_numpy() for table in row]) for row in tables]
        results = [crossed(values[0], each) for each in values[1:]]
        judged = [number for number, each in enumerate(results) if not math.isnan(each.p)]
        adjusted = dict(zip(judged, holm([results[n].p for n in judged]), strict=True))
        for number, each in enumerate(results):
            users = each.users
            found[number][metric] = MetricDifference(
                mean=each.mean,
                low=each.low,
                high=each.high,
                relative=each.relative,
                p=each.p,
                p_holm=adjusted.get(number, math.nan),
                detectable=(each.high - each.low) / 2,
                low_users=users.low,
                high_users=users.high,
                p_wilcoxon=math.nan if math.isnan(each.p) else users.p_wilcoxon,
                wins=users.wins,
                ties=users.ties,
                losses=users.losses,
                n=users.n,
            )
    return found


def _check_users(runs: Sequence[Sequence[Run]], tables: Sequence[Sequence[pl.DataFrame]]) -> None:
    first = tables[0][0]["user"]
    for row, own in zip(runs, tables, strict=True):
        for run, table in zip(row, own, strict=True):
            if not table["user"].equals(first):
                raise RunError(
                    f"{run.folder} has other test users than {runs[0][0].folder}; delete it and "
                    "give the same command again"
                )
