"""How the variants of a comparison differ from the baseline, over users and trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from softrec.errors import RunError
from softrec.evaluation.significance import Crossed, crossed, holm
from softrec.experiments.runs import Run
from softrec.report.results import MetricDifference


def differences(
    runs: Sequence[Sequence[Run]], metrics: Sequence[str], *, counted: int = 0
) -> list[dict[str, MetricDifference]]:
    """Return for each variant but the first, the baseline, how it differs in each metric.

    Args:
        runs: a row for each variant, a run for each seed; of a counted model one run alone.
        metrics: columns of the tables of users.
        counted: how many rows at the end are of counted models, the same in every training.

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
        results = [
            crossed(values[0], each, deterministic=place >= len(runs) - counted)
            for place, each in enumerate(values[1:], 1)
        ]
        judged = [number for number, each in enumerate(results) if not math.isnan(each.p)]
        adjusted = dict(zip(judged, holm([results[n].p for n in judged]), strict=True))
        for number, each in enumerate(results):
            found[number][metric] = _told(each, adjusted.get(number, math.nan))
    return found


def _told(found: Crossed, p_holm: float) -> MetricDifference:
    users = found.users
    return MetricDifference(
        mean=found.mean,
        low=found.low,
        high=found.high,
        relative=found.relative,
        p=found.p,
        p_holm=p_holm,
        detectable=(found.high - found.low) / 2,
        low_users=users.low,
        high_users=users.high,
        p_wilcoxon=math.nan if math.isnan(found.p) else users.p_wilcoxon,
        wins=users.wins,
        ties=users.ties,
        losses=users.losses,
        n=users.n,
    )


def against_trained(
    trained: Sequence[Sequence[Run]], counted: Sequence[Sequence[Run]], metric: str
) -> tuple[int, int, MetricDifference]:
    """Return the best counted row against the best trained row, both chosen on validation.

    Args:
        trained: a row for each trained variant, a run for each seed.
        counted: a row of one run for each counted model.
        metric: by which they are chosen and compared.

    Returns:
        The places of the trained and of the counted row, and how the counted one differs at test.
        The p-value is of this comparison alone.
    """
    places = [
        int(np.argmax([np.mean([run.valid[metric] for run in row]) for row in rows]))
        for rows in (trained, counted)
    ]
    best, simple = trained[places[0]], counted[places[1]]
    values = [np.stack([run.per_user[metric].to_numpy() for run in row]) for row in (best, simple)]
    found = crossed(*values, deterministic=True)
    return places[0], places[1], _told(found, found.p)


def _check_users(runs: Sequence[Sequence[Run]], tables: Sequence[Sequence[pl.DataFrame]]) -> None:
    first = tables[0][0]["user"]
    for row, own in zip(runs, tables, strict=True):
        for run, table in zip(row, own, strict=True):
            if not table["user"].equals(first):
                raise RunError(
                    f"{run.folder} has other test users than {runs[0][0].folder}; delete it and "
                    "give the same command again"
                )
