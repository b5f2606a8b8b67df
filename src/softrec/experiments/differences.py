"""How the variants of a comparison differ from the baseline, over users and trainings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from softrec.errors import RunError
from softrec.evaluation.significance import crossed, holm
from softrec.experiments.train import Run


def differences(
    runs: Sequence[Sequence[Run]], metrics: Sequence[str]
) -> list[dict[str, dict[str, Any]]]:
    """Return for each variant but the first, the baseline, how it differs in each metric.

    Args:
        runs: a row for each variant, a run for each seed.
        metrics: columns of the tables of users.

    Returns:
        {metric: {mean, low, high, relative, p, p_holm, detectable, low_users, high_users,
        p_wilcoxon, wins, ties, losses, n}} for each variant, where what is not known is None:
        interval and p-values if a variant has one seed only. p_holm is corrected over the
        variants. A difference below `detectable`, half the interval, cannot be told from 0.

    Raises:
        RunError: if the runs do not have the same users in the same order.
    """
    tables = [[run.per_user for run in row] for row in runs]
    _check_users(runs, tables)
    found: list[dict[str, dict[str, Any]]] = [{} for _ in runs[1:]]
    for metric in metrics:
        values = [np.stack([table[metric].to_numpy() for table in row]) for row in tables]
        results = [crossed(values[0], each) for each in values[1:]]
        judged = [number for number, each in enumerate(results) if not math.isnan(each.p)]
        adjusted = dict(zip(judged, holm([results[n].p for n in judged]), strict=True))
        for number, each in enumerate(results):
            users = each.users
            found[number][metric] = {
                "mean": each.mean,
                "low": _known(each.low),
                "high": _known(each.high),
                "relative": _known(each.relative),
                "p": _known(each.p),
                "p_holm": _known(adjusted.get(number, math.nan)),
                "detectable": _known((each.high - each.low) / 2),
                "low_users": _known(users.low),
                "high_users": _known(users.high),
                "p_wilcoxon": None if math.isnan(each.p) else users.p_wilcoxon,
                "wins": users.wins,
                "ties": users.ties,
                "losses": users.losses,
                "n": users.n,
            }
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


def _known(value: float) -> float | None:
    """Return None for NaN, which JSON does not have."""
    return None if math.isnan(value) else float(value)
