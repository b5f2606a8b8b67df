"""The figures of a grid: a curve over the values of one setting, a heat map over two settings.

For each value the mean on test is shown. The value to use is chosen on validation and marked. A
setting of the data, such as the share of false positives, is a condition and not a choice: no value
of it is marked, and at each value the other settings are those that are best there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from softrec.report import charts, looks, plots, text
from softrec.report.plots import Plot
from softrec.report.results import Results, Variant, is_condition
from softrec.report.rows import best, label_looks, series

ALPHA, BALANCE = "target.alpha", "loss.balance"
TEXT_UP_TO = 7  # columns of a heat map whose cells have room for numbers

Place = tuple[str, str]
"""The panel and the label of a series, which is the variants that differ in the grid only."""


def grids(results: Results) -> list[Plot]:
    """Return a figure of curves for each setting, and a heat map for each series of two."""
    found = series(results)
    places = dict.fromkeys(place for own in found.values() for v in own for place in v.grid)
    curves = [_curves(results, number, place) for number, place in enumerate(places)]
    heats = [
        _heat(results, f"heat{number}", place, members)
        for number, (place, members) in enumerate(found.items())
        if _on_a_map(members)
    ]
    return [*(plot for plot in curves if plot), *heats]


def over(results: Results, setting: str) -> dict[Place, list[Variant]]:
    """Return the variants by the value of a setting, for each series with a curve.

    The other settings of a series are those of the best variant on validation; for a condition, of
    the best one at each value. A series with two settings to choose has a heat map instead.
    """
    found: dict[Place, list[Variant]] = {}
    for place, members in series(results).items():
        if setting not in _settings(members) or _on_a_map(members):
            continue
        if is_condition(setting):
            along = [best(results, own) for own in _at_each(members, setting)]
        else:
            chosen = best(results, members).grid
            others = {name: value for name, value in chosen.items() if name != setting}
            along = [v for v in members if {n: v.grid[n] for n in others} == others]
        values = {str(v.grid[setting]): v for v in along}
        found[place] = [
            values[str(value)] for value in charts.ordered(v.grid[setting] for v in along)
        ]
    return found


def curve_figure(results: Results, setting: str) -> Figure:
    """Draw the selection metric at test over the values of a setting, a panel for each model."""
    metric = results.selection.metric
    own = label_looks(results)
    lines: dict[str, list[charts.Line]] = {}
    for (panel, label), members in over(results, setting).items():
        line = charts.Line(
            own[label],
            [each.grid[setting] for each in members],
            [_mean(each, metric)[0] for each in members],
            [_mean(each, metric)[1] for each in members],
            None if is_condition(setting) else best(results, members).grid[setting],
        )
        lines.setdefault(panel, []).append(line)
    panels = [
        charts.LinePanel(
            panel,
            drawn,
            [
                charts.Level(own[label], *_mean(each, metric))
                for label, each in _levels(results, panel)
            ],
        )
        for panel, drawn in lines.items()
    ]
    return charts.lines(panels, setting, metric)


def heat_figure(results: Results, members: Sequence[Variant]) -> Figure:
    """Draw a heat map over two settings; the one with more values is the vertical axis."""
    across, up = sorted(_settings(members), key=lambda name: len(_values(members, name)))
    columns, rows = _values(members, across), _values(members, up)
    metric, chosen = results.selection.metric, best(results, members)
    by_values = {(str(v.grid[across]), str(v.grid[up])): v for v in members}
    cells = [
        [
            None
            if each is None
            else charts.Cell(
                _mean(each, metric)[0],
                _cell_text(each, metric) if len(columns) <= TEXT_UP_TO else "",
                each is chosen,
            )
            for column in columns
            for each in [by_values.get((str(column), str(row)))]
        ]
        for row in rows
    ]
    red = _red_line({across: columns, up: rows})
    line = [(where[across], where[up]) for where in red]
    return charts.heat(
        [*map(text.setting, columns)], [*map(text.setting, rows)], cells, (across, up), line
    )


def _curves(results: Results, number: int, setting: str) -> Plot | None:
    found = over(results, setting)
    if not found:
        return None
    metric = results.selection.metric
    own = label_looks(results)
    panels = dict.fromkeys(panel for panel, _ in found)
    levels = dict.fromkeys(label for panel in panels for label, _ in _levels(results, panel))
    labels = dict.fromkeys(label for _, label in found)
    texts = [
        f"{_called(place)}: {_values_text(results, members, setting)}"
        for place, members in found.items()
    ]
    texts += [
        f"{_called((panel, label))}: {text.decimals(_mean(each, metric)[0])}"
        for panel in panels
        for label, each in _levels(results, panel)
    ]
    through = any(len(_settings(members)) > 1 for members in found.values())
    at = "at each value" if is_condition(setting) else "on validation"
    others = f" The other settings are those of the best variant {at}." if through else ""
    ring = " Ring: the value to use, chosen on validation."
    flat = f" {', '.join(levels)}: without this setting." if levels else ""
    return Plot(
        f"{metric} on test, by {setting}",
        plots.svg(f"grid{number}", partial(curve_figure, results, setting)),
        "; ".join(texts),
        f"Mean over the test users{_band(results)}.{'' if is_condition(setting) else ring}"
        f"{flat}{others}",
        [
            *(looks.entry(label, own[label]) for label in labels),
            *(looks.entry(label, own[label], marker=False) for label in levels),
        ],
    )


def _heat(results: Results, name: str, place: Place, members: Sequence[Variant]) -> Plot:
    settings = _settings(members)
    metric = results.selection.metric
    red = (
        f" Red: {BALANCE} = 1 / (1 + {ALPHA}), where the decoupled loss is on average the mixed "
        "one if the soft target gives hardly anything to the label."
        if _red_line({name: _values(members, name) for name in settings})
        else ""
    )
    return Plot(
        f"{_called(place)}: {metric} on test, by {' and '.join(settings)}",
        plots.svg(name, partial(heat_figure, results, members)),
        _values_text(results, members, *settings),
        "Mean over the test users, the higher the stronger its colour, and below it the difference "
        f"to the baseline. Frame: the values to use, chosen on validation.{red}",
    )


def _values_text(results: Results, members: Sequence[Variant], *settings: str) -> str:
    """Return the mean at each value in words, and the chosen value."""

    def values(each: Variant) -> str:
        return ", ".join(f"{name} {text.setting(each.grid[name])}" for name in settings)

    metric = results.selection.metric
    means = (f"{values(each)}: {text.decimals(_mean(each, metric)[0])}" for each in members)
    chosen = (
        ""
        if any(map(is_condition, settings))
        else (f"; best on validation: {values(best(results, members))}")
    )
    return f"{'; '.join(means)}{chosen}"


def _band(results: Results) -> str:
    several = max((len(each.runs) for each in results.trained), default=0) > 1
    return "; band: ± one standard deviation over the seeds" if several else ""


def _levels(results: Results, panel: str) -> list[tuple[str, Variant]]:
    """Return the rows of a model that have no setting of the grid."""
    return [
        (label, members[0])
        for (own, label), members in series(results).items()
        if own == panel and not _settings(members)
    ]


def _on_a_map(members: Sequence[Variant]) -> bool:
    """Return whether a series has a heat map: two settings to choose, and no condition."""
    settings = _settings(members)
    return len(settings) == 2 and not any(map(is_condition, settings))


def _at_each(members: Sequence[Variant], setting: str) -> list[list[Variant]]:
    """Return the variants of a series at each value of a setting."""
    found: dict[str, list[Variant]] = {}
    for each in members:
        found.setdefault(str(each.grid[setting]), []).append(each)
    return [*found.values()]


def _settings(members: Sequence[Variant]) -> list[str]:
    return list(dict.fromkeys(name for each in members for name in each.grid))


def _values(members: Sequence[Variant], setting: str) -> list[object]:
    return charts.ordered(each.grid[setting] for each in members)


def _mean(variant: Variant, metric: str) -> tuple[float, float]:
    value = variant.test.get(metric)
    return (math.nan, math.nan) if value is None else (value.mean, value.spread)


def _cell_text(variant: Variant, metric: str) -> str:
    difference = variant.difference_in(metric)
    mean = text.decimals(_mean(variant, metric)[0])
    return mean if difference is None else f"{mean}\n{text.signed(difference.mean)}"


def _called(place: Place) -> str:
    panel, label = place
    return f"{panel}: {label}" if panel else label


def _red_line(axes: Mapping[str, Sequence[Any]]) -> list[dict[str, float]]:
    """Return the points of DesoRec's red line in units of cells; empty if it crosses no cell."""
    if set(axes) != {ALPHA, BALANCE}:
        return []
    numbers = {name: [v for v in values if charts.is_number(v)] for name, values in axes.items()}
    alphas, balances = numbers[ALPHA], numbers[BALANCE]
    if len(alphas) < 2 or len(balances) < 2:
        return []
    fine = np.linspace(alphas[0], alphas[-1], 50)
    line = 1 / (1 + fine)
    inside = (line >= balances[0]) & (line <= balances[-1])
    return [
        {
            ALPHA: float(np.interp(alpha, alphas, range(len(alphas)))),
            BALANCE: float(np.interp(balance, balances, range(len(balances)))),
        }
        for alpha, balance in zip(fine[inside], line[inside], strict=True)
    ]
