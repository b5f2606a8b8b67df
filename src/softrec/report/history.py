"""The page of a search over settings: every trial by number, and by each setting that was tried."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from softrec.files import write_text
from softrec.report import plots, text
from softrec.report.looks import HURT, MUTED, PAGE, RULE, SERIES
from softrec.report.plots import Plot
from softrec.report.tables import Table
from softrec.report.templates import fill

LOOKS = {"complete": ("o", SERIES[0], True), "pruned": ("o", MUTED, False),
         "failed": ("x", HURT, True)}  # fmt: skip
"""The mark of a state, its colour, and whether it is filled."""


class Point(NamedTuple):
    """A trial."""

    number: int
    state: str  # one of LOOKS
    value: float  # NaN if it failed
    settings: Mapping[str, Any]
    origin: str
    epochs: int
    seconds: float
    reason: str


class History(NamedTuple):
    """What a page says."""

    title: str
    metric: str
    budget: int  # trials
    space: Mapping[str, str]
    points: Sequence[Point]

    @property
    def best(self) -> Point | None:
        """Return the best trial that was trained to its end."""
        complete = [point for point in self.points if point.state == "complete"]
        return max(complete, key=lambda point: point.value, default=None)


def write_history(history: History, path: Path) -> None:
    """Write the page as one HTML file; equal trials give an equal file."""
    best = history.best
    page = fill(
        "history.html.j2",
        history=history,
        best=None if best is None else text.decimals(best.value),
        winner="" if best is None else ", ".join(_settings(best)),
        plots=_plots(history),
        space=list(history.space.items()),
        trials=_table(history),
    )
    write_text(path, page)


def _plots(history: History) -> list[Plot]:
    points = "; ".join(
        f"trial {p.number}: {p.state}, {text.decimals(p.value)}" for p in history.points
    )
    by_number = Plot(
        f"{history.metric} on validation, by trial",
        plots.svg("trials", partial(trials_figure, history)),
        points,
        "Filled: trained to its end; hollow: pruned; cross: failed. Line: the best so far.",
    )
    searched = [name for name in _names(history) if len(_values(history, name)) > 1]
    if not searched:
        return [by_number]
    by_setting = Plot(
        f"{history.metric} on validation, by setting",
        plots.svg("settings", partial(settings_figure, history, searched)),
        "The table has the numbers.",
        "A trial is a dot in each panel. A setting is searched together with the others, so that "
        "no panel alone says what it does.",
    )
    return [by_number, by_setting]


def trials_figure(history: History) -> Figure:
    """Draw the value of each trial, and the best one so far."""
    figure = Figure(figsize=(plots.WIDTH, 3.2), layout="constrained")
    axes = figure.add_subplot()
    best, steps = math.nan, []
    for point in history.points:
        if point.state == "complete":
            best = max(best, point.value) if math.isfinite(best) else point.value
        steps.append(best)
    numbers = [point.number for point in history.points]
    axes.step(numbers, steps, where="post", color=RULE, linewidth=2)
    _draw(axes, [(point.number, point) for point in history.points])
    axes.set_xlim(0.5, max(history.budget, len(numbers)) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.set_xlabel("trial")
    axes.set_ylabel(history.metric, parse_math=False)
    axes.grid()
    return figure


def settings_figure(history: History, names: Sequence[str]) -> Figure:
    """Draw a panel for each setting: its value against the metric."""
    rows = math.ceil(len(names) / 2)
    figure = Figure(figsize=(plots.WIDTH, 1.9 * rows), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False, sharey=True).ravel()
    for axes, name in zip(panels, names, strict=False):
        _panel(axes, history, name)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    return figure


def _panel(axes: Axes, history: History, name: str) -> None:
    tried = [(p.settings[name], p) for p in history.points if name in p.settings]
    values = _values(history, name)
    if all(isinstance(value, float) for value in values):
        if history.space.get(name, "").endswith(":log"):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
            axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        _draw(axes, tried)
    else:
        places = {str(value): place for place, value in enumerate(values)}
        _draw(axes, [(places[str(value)], point) for value, point in tried])
        axes.set_xticks(range(len(values)), [str(v) for v in values], parse_math=False)
        axes.set_xlim(-0.5, len(values) - 0.5)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_title(name, loc="left", parse_math=False)
    axes.grid()


def _draw(axes: Axes, placed: Sequence[tuple[Any, Point]]) -> None:
    """Draw points; a failed one, which has no value, on the lower edge."""
    known = [point.value for _, point in placed if math.isfinite(point.value)]
    for x, point in placed:
        mark, color, filled = LOOKS[point.state]
        y = point.value if math.isfinite(point.value) else min(known, default=0.0)
        face = color if filled else PAGE
        axes.plot([x], [y], mark, color=color, markerfacecolor=face, markersize=5)


def _names(history: History) -> list[str]:
    return list(dict.fromkeys(name for point in history.points for name in point.settings))


def _values(history: History, name: str) -> list[Any]:
    """Return the different values of a setting, numbers in their order."""
    values = list(dict.fromkeys(p.settings[name] for p in history.points if name in p.settings))
    numbers = all(isinstance(value, int | float) for value in values)
    return sorted(values) if numbers else sorted(values, key=str)


def _table(history: History) -> Table:
    rows = [
        [
            str(point.number),
            f"{point.state}{f': {point.reason}' if point.reason else ''}",
            text.decimals(point.value),
            str(point.epochs),
            text.decimals(point.seconds, 1),
            point.origin,
            ", ".join(_settings(point)),
        ]
        for point in history.points
    ]
    head = ["trial", "outcome", history.metric, "epochs", "seconds", "from", "settings"]
    return Table("All trials", head, rows)


def _settings(point: Point) -> list[str]:
    return [
        f"{name}: {value:g}" if isinstance(value, float) else f"{name}: {text.setting(value)}"
        for name, value in point.settings.items()
    ]
