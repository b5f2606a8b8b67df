"""The figures of a report: which numbers go into which plot, and the words beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup
from matplotlib.figure import Figure

from softrec.report import plots, tables, text
from softrec.report.results import Epoch, Results, SeedMean
from softrec.report.verdict import counted_call, verdicts

CALLS = {"better": "helped", "worse": "hurt"}  # simple baselines, in the colours of the others
ValueOf = Callable[[Epoch], float]


@dataclass(frozen=True)
class Plot:
    """A drawing with its words: a title, a note on reading it, and a text that replaces it."""

    title: str
    svg: Markup
    text: str
    note: str
    has_legend: bool = False


def figures(results: Results) -> list[Plot]:
    """Return the plots that the results have something for."""
    found = []
    if _intervals(results):
        found.append(_forest(results))
    if _any_known(results, _valid(results.selection.metric)):
        found.append(_validation(results))
    if _any_known(results, _train_loss):
        found.append(_loss(results))
    return [*found, _bars(results)]


def legend(results: Results) -> list[tuple[str, str, str]]:
    """Return name, CSS colour and SVG dashes of each variant; a legend in HTML can wrap."""
    return [(v.name, *plots.css_look(n)) for n, v in enumerate(results.trained)]


def forest_figure(results: Results) -> Figure:
    """Draw the difference of each variant to the baseline with its interval, one below another."""
    return plots.forest(_intervals(results), f"difference in {results.selection.metric}")


def curve_figure(results: Results, value: ValueOf, label: str, *, best: bool) -> Figure:
    """Draw `value` of every epoch of every run, a colour and a dash for each variant."""
    curves = [
        plots.Curve(
            number,
            {point.epoch: value(point) for point in run.curve},
            run.best_epoch if best else None,
        )
        for number, variant in enumerate(results.trained)
        for run in variant.runs
    ]
    return plots.curves(curves, label)


def bar_figure(results: Results) -> Figure:
    """Draw the means of every metric, one panel each because their scales differ."""
    panels = [
        plots.Panel(
            metric,
            [_bar(variant.test.get(metric)) for variant in (*results.trained, *results.counted)],
            results.ceiling_of(metric),
        )
        for metric in results.metrics
    ]
    names = [variant.name for variant in (*results.trained, *results.counted)]
    return plots.bars(names, panels, apart=len(results.counted))


def _forest(results: Results) -> Plot:
    found = [verdict for verdict in verdicts(results) if verdict.call != "not compared"]
    alone = any(verdict.reason == "one seed" for verdict in found)
    line = f"Line: 95 % interval over the users {'only' if alone else 'and the trainings'}."
    below = " Below the rule: simple baselines." if results.counted else ""
    simple = [
        f"{each.name}: {counted_call(each, results.selection.metric)}." for each in results.counted
    ]
    return Plot(
        f"Difference in {results.selection.metric} to the baseline",
        plots.svg("forest", partial(forest_figure, results)),
        " ".join([*(f"{each.name}: {each.call}. {each.text}" for each in found), *simple]),
        f"Dot: mean difference over the test users, to the right of 0 is better. {line} A filled "
        f"dot stands for evidence (Holm-adjusted p < 0.05), a hollow one for none.{below}",
    )


def _validation(results: Results) -> Plot:
    metric = results.selection.metric
    value = _valid(metric)
    return Plot(
        f"{metric} on validation, by epoch",
        plots.svg("validation", partial(curve_figure, results, value, metric, best=True)),
        _ends_of_curves(results, value),
        "One line for each run. The dot marks the epoch that was kept.",
        has_legend=True,
    )


def _loss(results: Results) -> Plot:
    draw = partial(curve_figure, results, _train_loss, "training loss", best=False)
    return Plot(
        "Training loss, by epoch",
        plots.svg("loss", draw),
        _ends_of_curves(results, _train_loss),
        "Compare the shapes, not the heights: every target has another lowest possible loss.",
        has_legend=True,
    )


def _bars(results: Results) -> Plot:
    overview = tables.overview(results)
    told = "; ".join(
        f"{row[0]}: "
        + ", ".join(f"{m} {cell}" for m, cell in zip(overview.head[1:], row[1:], strict=True))
        for row in overview.rows
        if len(row) > 1
    )
    line = f" Dashed line: {results.ceiling.name}." if results.ceiling else ""
    below = " Below the line: simple baselines." if results.counted else ""
    note = f"Means over the test users, from 0. Small dots: the single seeds.{line}{below}"
    return Plot("Metrics on test", plots.svg("bars", partial(bar_figure, results)), told, note)


def _intervals(results: Results) -> list[plots.Interval]:
    """Return the known differences to the baseline on the selection metric."""
    metric = results.selection.metric
    calls: dict[str, str] = {verdict.name: verdict.call for verdict in verdicts(results)}
    calls |= {each.name: CALLS.get(counted_call(each, metric), "") for each in results.counted}
    rows = [(each, each.difference_in(metric)) for each in (*results.trained, *results.counted)]
    return [
        plots.Interval(
            row.name, found.mean, *found.interval, calls[row.name], row.kind == "counted"
        )
        for row, found in rows
        if found is not None and math.isfinite(found.mean)
    ]


def _bar(value: SeedMean | None) -> plots.Bar:
    if value is None:
        return plots.Bar(math.nan, text.UNKNOWN, [])
    return plots.Bar(value.mean, text.decimals(value.mean), value.per_seed)


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
        for variant in results.trained
        for run in variant.runs
        if run.curve
    )
