"""The figure of the metric over the cost of each row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from softrec.report import charts, looks, plots, text
from softrec.report.plots import Plot
from softrec.report.results import Results, Variant
from softrec.report.rows import own_looks


def costs(results: Results) -> list[Plot]:
    """Return the figure; nothing if the time of fewer than two rows is known."""
    known = [(each, look) for each, look in own_looks(results) if _point_of(results, each)]
    if len(known) < 2:
        return []
    metric = results.selection.metric
    points_text = "; ".join(
        f"{each.name}: {text.decimals(each.seconds, 1)} seconds, "
        f"{text.decimals(each.test[metric].mean)}"
        for each, _ in known
    )
    return [
        Plot(
            f"Cost and {metric} on test",
            plots.svg("cost", partial(cost_figure, results)),
            points_text,
            "Seconds of one training, all epochs (of a simple baseline: one count and all that was "
            "tried), and the mean over the test users, ± one standard deviation over the seeds. "
            "Nothing to the left of the line is higher. Hollow: simple baselines.",
            [looks.entry(each.name, look, line=False) for each, look in known],
        )
    ]


def cost_figure(results: Results) -> Figure:
    """Draw the selection metric at test over the time of a training."""
    points = [
        charts.Point(look, *point)
        for each, look in own_looks(results)
        if (point := _point_of(results, each))
    ]
    return charts.scatter(points, front(points), "seconds", results.selection.metric)


def front(points: Sequence[charts.Point]) -> list[charts.Point]:
    """Return the points that are higher than all points of at most the same cost, by cost."""
    found: list[charts.Point] = []
    for point in sorted(points, key=lambda each: (each.cost, -each.mean)):
        if not found or point.mean > found[-1].mean:
            found.append(point)
    return found


def _point_of(results: Results, variant: Variant) -> tuple[float, float, float] | None:
    value = variant.test.get(results.selection.metric)
    seconds = variant.seconds
    if value is None or not (seconds > 0 and math.isfinite(value.mean)):
        return None
    return seconds, value.mean, value.spread
