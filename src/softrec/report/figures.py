"""The figures of a report: the numbers of each plot, its title and its notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from matplotlib.figure import Figure

from softrec.report import looks, plots, tables, text
from softrec.report.costs import costs
from softrec.report.grids import grids
from softrec.report.looks import MUTED
from softrec.report.numbers import SeedMean
from softrec.report.plots import Plot
from softrec.report.results import Epoch, Results, Variant
from softrec.report.rows import Row, has_grid, is_condition, rows
from softrec.report.verdict import counted_call, verdicts

CALLS = {
    "better": "helped",
    "worse": "hurt",
}  # the colour of simple baselines, by position among the colours
BAR_METRICS = 2  # the table has all
ValueOf = Callable[[Epoch], float]


def figures(results: Results) -> list[Plot]:
    """Return the plots for which the results have data."""
    found = [_forest(results)] if any(_intervals(results)) else []
    found += grids(results)
    if _any_known(results, _valid(results.selection.metric)):
        found.append(_validation(results))
    if _any_known(results, _train_loss):
        found.append(_loss(results))
    return [*found, _bars(results), *costs(results)]


def forest_figure(results: Results) -> Figure:
    """Draw a forest plot: the difference of each variant from the baseline, with its interval."""
    blocks = [block for block in _intervals(results) if block]
    return plots.forest(blocks, f"difference in {results.selection.metric}")


def curve_figure(results: Results, value: ValueOf, label: str, *, best: bool) -> Figure:
    """Draw `value` of every epoch of every run that is shown, a panel for each model."""
    panels: dict[str, list[plots.Curve]] = {}
    for row in rows(results):
        panels.setdefault(row.panel, []).extend(
            plots.Curve(
                row.look,
                {point.epoch: value(point) for point in run.curve},
                run.best_epoch if best else None,
            )
            for run in row.variant.runs
        )
    return plots.curves([plots.CurvePanel(*panel) for panel in panels.items()], label)


def bar_figure(results: Results) -> Figure:
    """Draw the means of two metrics, a panel each; of several models of one, a panel each."""
    shown = rows(results)
    panels = list(dict.fromkeys(row.panel for row in shown))
    if len(panels) < 2:
        return plots.bars(
            [
                plots.Panel(metric, _bars_of(results, metric, shown), results.ceiling_of(metric))
                for metric in results.metrics_by_weight[:BAR_METRICS]
            ]
        )
    metric, ceiling = results.selection.metric, results.ceiling_of(results.selection.metric)
    drawn = [
        plots.Panel(panel, _bars_of(results, metric, own, counted=False), ceiling)
        for panel in panels
        for own in [[row for row in shown if row.panel == panel]]
    ]
    if results.counted:
        drawn.append(plots.Panel(tables.SIMPLE, _bars_of(results, metric, []), ceiling))
    return plots.bars(drawn, alike=True)


def _bars_of(
    results: Results, metric: str, shown: Sequence[Row], *, counted: bool = True
) -> list[plots.Bar]:
    own = [(row.label, row.look.color, row.variant) for row in shown]
    simple = [(each.name, MUTED, each) for each in results.counted] if counted else []
    return [_bar(name, color, each.test.get(metric)) for name, color, each in (*own, *simple)]


def _forest(results: Results) -> Plot:
    found = [verdict for verdict in verdicts(results) if verdict.call != "not compared"]
    alone = any(verdict.reason == "one seed" for verdict in found)
    line = f"Line: 95 % interval over the users {'only' if alone else 'and the trainings'}."
    below = " Lowest block: simple baselines." if results.counted else ""
    simple = [
        f"{each.name}: {counted_call(each, results.selection.metric)}." for each in results.counted
    ]
    return Plot(
        f"Difference in {results.selection.metric} to the baseline",
        plots.svg("forest", partial(forest_figure, results)),
        " ".join([*(f"{each.name}: {each.call}. {each.text}" for each in found), *simple]),
        f"Dot: mean difference over the test users, to the right of 0 is better. {line} A filled "
        f"dot stands for evidence (Holm-adjusted p < 0.05), a hollow one for none.{below}"
        f"{_of_a_grid(results)}",
    )


def _validation(results: Results) -> Plot:
    metric = results.selection.metric
    value = _valid(metric)
    return Plot(
        f"{metric} on validation, by epoch",
        plots.svg("validation", partial(curve_figure, results, value, metric, best=True)),
        _ends_of_curves(results, value),
        f"One line for each run. The marker is at the epoch that was kept.{_of_a_grid(results)}",
        _legend(results),
    )


def _loss(results: Results) -> Plot:
    draw = partial(curve_figure, results, _train_loss, "training loss", best=False)
    return Plot(
        "Training loss, by epoch",
        plots.svg("loss", draw),
        _ends_of_curves(results, _train_loss),
        "Compare the shapes, not the heights: every target has another lowest possible loss."
        f"{_of_a_grid(results)}",
        _legend(results),
    )


def _bars(results: Results) -> Plot:
    overview = tables.overview(results)
    values = "; ".join(
        f"{row[0]}: "
        + ", ".join(f"{m} {cell}" for m, cell in zip(overview.head[1:], row[1:], strict=True))
        for row in overview.rows
        if len(row) > 1
    )
    line = f" Dashed line: {results.ceiling.name}." if results.ceiling else ""
    several = len({row.panel for row in rows(results)}) > 1
    title = f"{results.selection.metric} on test, by model" if several else "Metrics on test"
    below = " Below the line: simple baselines." if results.counted and not several else ""
    return Plot(
        title,
        plots.svg("bars", partial(bar_figure, results)),
        values,
        f"Means over the test users, from 0. Small dots: the single seeds.{line}{below}"
        f"{_of_a_grid(results)}",
    )


def _of_a_grid(results: Results) -> str:
    if not has_grid(results):
        return ""
    grids = {name: value for each in results.trained for name, value in each.grid.items()}
    conditions = "".join(
        f"; of {name}, the {'first' if isinstance(grids[name], str) else 'lowest'}"
        for name in sorted(filter(is_condition, grids))
    )
    return f" Of the values of a grid, the one that is best on validation{conditions}."


def _intervals(results: Results) -> list[list[plots.Interval]]:
    """Return the known differences on the selection metric, by model, simple baselines last."""
    metric = results.selection.metric
    calls: dict[str, str] = {verdict.name: verdict.call for verdict in verdicts(results)}
    calls |= {each.name: CALLS.get(counted_call(each, metric), "") for each in results.counted}
    blocks: dict[str | None, list[Variant]] = {}
    for row in rows(results):
        blocks.setdefault(row.panel, []).append(row.variant)
    blocks[None] = results.counted
    return [
        [
            plots.Interval(each.name, found.mean, *found.interval, calls[each.name])
            for each in block
            for found in [each.difference_in(metric)]
            if found is not None and math.isfinite(found.mean)
        ]
        for block in blocks.values()
    ]


def _legend(results: Results) -> list[looks.Entry]:
    own = {row.label: row.look for row in rows(results)}
    return [looks.entry(label, look) for label, look in own.items()]


def _bar(name: str, color: str, value: SeedMean | None) -> plots.Bar:
    if value is None:
        return plots.Bar(name, color, math.nan, text.UNKNOWN, [])
    return plots.Bar(name, color, value.mean, text.decimals(value.mean), value.per_seed)


def _any_known(results: Results, value: ValueOf) -> bool:
    runs = [run for variant in results.variants for run in variant.runs]
    return any(math.isfinite(value(point)) for run in runs for point in run.curve)


def _valid(metric: str) -> ValueOf:
    return lambda point: point.valid.get(metric, math.nan)


def _train_loss(point: Epoch) -> float:
    return point.train_loss


def _ends_of_curves(results: Results, value: ValueOf) -> str:
    """Return the first and the last value of every run in words."""
    return "; ".join(
        f"{variant.name}, seed {run.seed}: from {text.decimals(value(run.curve[0]))} to "
        f"{text.decimals(value(run.curve[-1]))} in {len(run.curve)} epochs"
        for variant in (row.variant for row in rows(results))
        for run in variant.runs
        if run.curve
    )
