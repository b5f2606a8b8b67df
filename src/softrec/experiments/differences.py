"""Differences between the variants of a comparison and their baselines."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np

from softrec.errors import RunError
from softrec.evaluation.bootstrap import bootstrap
from softrec.evaluation.effects import effect
from softrec.evaluation.significance import crossed, holm
from softrec.experiments.runs import Run
from softrec.report.numbers import MetricDifference
from softrec.report.verdict import LEVEL


def differences(
    runs: Sequence[Sequence[Run]],
    metrics: Sequence[str],
    *,
    counted: int = 0,
    drawn: Collection[str] = (),
    baselines: Sequence[int] = (),
) -> list[dict[str, MetricDifference]]:
    """Return the differences from the baseline, for each variant except the first, by metric.

    Args:
        runs: a row for each variant, a run for each seed; for a counted model one run.
        metrics: columns of the tables of users.
        counted: how many rows at the end are counted models, which do not depend on the seed.
        drawn: the metrics that get a bootstrap interval, which takes seconds on many users.
        baselines: the baseline of each row, by number; by default the first row. A row that is its
            own baseline has no differences.

    Returns:
        {metric: difference} for each variant. Interval and p-values are NaN if a variant has only
        one seed. p_holm is corrected over the variants, and so is the detectable difference: of
        the other variants those count that have no evidence, as in the step of Holm that a variant
        must pass if they have none.

    Raises:
        RunError: if the runs do not have the same users in the same order.
    """
    _check_users(runs)

    def values(metric: str) -> list[np.ndarray]:
        return [values_of(row, metric) for row in runs]

    return between(values, len(runs), metrics, counted=counted, drawn=drawn, baselines=baselines)


def values_of(runs: Sequence[Run], metric: str) -> np.ndarray:
    """Return the values of a metric, (runs, users); of the tables nothing else is kept."""
    return np.stack([run.per_user[metric].to_numpy().copy() for run in runs])


def between(
    values_in: Callable[[str], Sequence[np.ndarray]],
    n_rows: int,
    metrics: Sequence[str],
    *,
    counted: int = 0,
    drawn: Collection[str] = (),
    baselines: Sequence[int] = (),
) -> list[dict[str, MetricDifference]]:
    """Return the same of `values_in(metric)`, (seeds, users) for each of `n_rows` variants.

    The values of one metric are held at a time.
    """
    whose = [*baselines, *[0] * (n_rows - len(baselines))]
    found: list[dict[str, MetricDifference]] = [{} for _ in range(n_rows - 1)]
    for metric in metrics:
        values = values_in(metric)
        results = {
            place: difference_between(
                values[whose[place]], each,
                deterministic=place >= n_rows - counted, drawn=metric in drawn,
            )
            for place, each in enumerate(values)
            if whose[place] != place
        }  # fmt: skip
        judged = [place for place, each in results.items() if not math.isnan(each.p)]
        adjusted = dict(zip(judged, holm([results[p].p for p in judged]).tolist(), strict=True))
        for place, each in results.items():
            changes = {"p_holm": adjusted.get(place, math.nan)}
            beside = sum(p >= LEVEL for other, p in adjusted.items() if other != place)
            if beside:
                size = effect(
                    values[whose[place]], values[place], level=1 - LEVEL / (1 + beside),
                    deterministic=place >= n_rows - counted,
                )  # fmt: skip
                changes["detectable"] = size.detectable
            found[place - 1][metric] = each.model_copy(update=changes)
    return found


def difference_between(
    a: np.ndarray, b: np.ndarray, *, deterministic: bool, drawn: bool
) -> MetricDifference:
    """Return the difference of b from a, (seeds, users) each, not corrected for others."""
    found = crossed(a, b, deterministic=deterministic)
    size = effect(a, b, deterministic=deterministic)
    ends = bootstrap(a, b, deterministic=deterministic) if drawn else (math.nan, math.nan)
    users = found.users
    return MetricDifference(
        mean=found.mean,
        low=found.low,
        high=found.high,
        relative=found.relative,
        p=found.p,
        p_holm=found.p,
        detectable=size.detectable,
        effect=size.standardised,
        low_bootstrap=ends[0],
        high_bootstrap=ends[1],
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
    """Compare the best counted row with the best trained row; both are chosen on validation.

    Args:
        trained: a row for each trained variant, a run for each seed.
        counted: a row of one run for each counted model.
        metric: the metric of the choice and of the comparison.

    Returns:
        The numbers of the trained and of the counted row, and the difference of the counted one on
        test. The p-value is not corrected.
    """
    places = [best_on_validation(rows, metric) for rows in (trained, counted)]
    best, simple = trained[places[0]], counted[places[1]]
    values = [values_of(row, metric) for row in (best, simple)]
    found = difference_between(*values, deterministic=True, drawn=True)
    return places[0], places[1], found


def best_on_validation(rows: Sequence[Sequence[Run]], metric: str) -> int:
    """Return the number of the row that is best on validation, in the mean over its runs."""
    return int(np.argmax([np.mean([run.valid[metric] for run in row]) for row in rows]))


def _check_users(runs: Sequence[Sequence[Run]]) -> None:
    first = runs[0][0].per_user["user"]
    for run in (run for row in runs for run in row):
        if not run.per_user["user"].equals(first):
            raise RunError(
                f"{run.folder} has other test users than {runs[0][0].folder}; delete it and "
                "run the same command again"
            )
