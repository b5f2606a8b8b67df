"""Draws metrics over one setting, over two settings, and over cost.

Like `plots`, it draws names and numbers and does not depend on the types of results. An unknown
number is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from softrec.report.looks import HURT, INK, LINE_WIDTH, MARKER_SIZE, RULE, SERIES, Look
from softrec.report.plots import WIDTH

LOG_FROM = 20  # with a larger ratio of the largest to the smallest value, the axis is logarithmic
BAND = 0.18  # opacity of a band
FAINT, STRONG = 0.06, 0.5  # opacity of the lowest and the highest cell; text is legible on both


class Line(NamedTuple):
    """Means by value of a setting, with standard deviations over the seeds."""

    look: Look
    values: Sequence[object]
    means: Sequence[float]
    spreads: Sequence[float]
    chosen: object  # the value that is marked by a ring


class Level(NamedTuple):
    """A mean that does not depend on the setting."""

    look: Look
    mean: float
    spread: float


class LinePanel(NamedTuple):
    """The lines of one model."""

    title: str
    lines: Sequence[Line]
    levels: Sequence[Level]


def lines(panels: Sequence[LinePanel], label: str, metric: str) -> Figure:
    """Draw a line for each row over the values of a setting, with a panel for each model."""
    values = ordered(value for panel in panels for line in panel.lines for value in line.values)
    places, scale = _places(values)
    figure = Figure(figsize=(WIDTH, 0.4 + 2.5 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axes, panel in zip(all_axes, panels, strict=True):
        axes.set_xscale(scale)
        for level in panel.levels:
            _draw_level(axes, level)
        for line in panel.lines:
            _draw_line(axes, line, [places[str(value)] for value in line.values])
        axes.xaxis.set_major_locator(FixedLocator(list(places.values())))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticklabels(list(places), parse_math=False)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_ylabel(metric, parse_math=False)
        axes.set_title(panel.title, loc="left", parse_math=False)
        axes.grid()
    all_axes[-1].set_xlabel(label, parse_math=False)
    return figure


def ordered(values: object) -> list[object]:
    """Return the distinct values: first numbers in ascending order, then all others.

    Example:
        >>> ordered(["red-line", 0.5, 0.1, 0.5])
        [0.1, 0.5, 'red-line']
    """
    different = list({str(value): value for value in values}.values())  # pyright: ignore[reportGeneralTypeIssues]
    numbers = [value for value in different if is_number(value)]
    return [*sorted(numbers), *(value for value in different if not is_number(value))]  # pyright: ignore[reportArgumentType]


def is_number(value: object) -> bool:
    """Return whether a value of a setting is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _places(values: Sequence[object]) -> tuple[dict[str, float], str]:
    """Return the place of each value on the axis, by its text, and the scale."""
    numbers = [float(value) for value in values if is_number(value)]  # pyright: ignore[reportArgumentType]
    if len(numbers) < len(values):
        return {str(value): float(place) for place, value in enumerate(values)}, "linear"
    wide = min(numbers) > 0 and max(numbers) >= LOG_FROM * min(numbers)
    return dict(zip(map(str, values), numbers, strict=True)), "log" if wide else "linear"


def _draw_level(axes: Axes, level: Level) -> None:
    axes.axhline(level.mean, color=level.look.color, linestyle=level.look.line)
    if math.isfinite(level.spread):
        low, high = level.mean - level.spread, level.mean + level.spread
        axes.axhspan(low, high, color=level.look.color, alpha=BAND, linewidth=0)


def _draw_line(axes: Axes, line: Line, places: Sequence[float]) -> None:
    means, spreads = np.asarray(line.means), np.asarray(line.spreads)
    look = line.look
    axes.plot(
        places, means, color=look.color, linestyle=look.line, linewidth=LINE_WIDTH,
        marker=look.marker, markersize=MARKER_SIZE, markerfacecolor=look.face,
    )  # fmt: skip
    if np.isfinite(spreads).any():
        low, high = means - spreads, means + spreads
        axes.fill_between(places, low, high, color=look.color, alpha=BAND, linewidth=0)
    ringed = [n for n, value in enumerate(line.values) if value == line.chosen]
    axes.plot(
        [places[n] for n in ringed], means[ringed], "o", color=INK, markerfacecolor="none",
        markersize=2.2 * MARKER_SIZE,
    )  # fmt: skip


class Cell(NamedTuple):
    """A mean and the text of its cell."""

    mean: float
    text: str
    chosen: bool  # whether it has a frame


def heat(
    columns: Sequence[str],
    rows: Sequence[str],
    cells: Sequence[Sequence[Cell | None]],
    labels: tuple[str, str],
    red_line: Sequence[tuple[float, float]] = (),
) -> Figure:
    """Draw a cell for each pair of values; a higher mean is darker.

    Args:
        columns: texts of the values on the horizontal axis.
        rows: texts of the values on the vertical axis, the lowest first.
        cells: (rows, columns); None for a pair without a variant.
        labels: of both axes.
        red_line: points (column, row) of a line, which may be between cells.
    """
    figure = Figure(figsize=(WIDTH, 0.9 + 0.45 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    known = [cell.mean for row in cells for cell in row if cell and math.isfinite(cell.mean)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    framed: list[Rectangle] = []
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            if cell is None:
                continue
            share = (cell.mean - low) / (high - low) if high > low else 0.5
            alpha = FAINT + (STRONG - FAINT) * share if math.isfinite(share) else 0.0
            corner = (x - 0.5, y - 0.5)
            axes.add_patch(Rectangle(corner, 1, 1, facecolor=(SERIES[0], alpha), edgecolor=RULE))
            axes.annotate(cell.text, (x, y), ha="center", va="center")
            if cell.chosen:
                framed.append(Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=2))
    for frame in framed:  # above the edges of the cells beside them
        axes.add_patch(frame)
    if red_line:
        axes.plot(*zip(*red_line, strict=True), color=HURT, linewidth=1.2, zorder=1.5)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(-0.5, len(rows) - 0.5)
    axes.set_xticks(range(len(columns)), columns, parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    axes.tick_params(length=0)
    axes.set_xlabel(labels[0], parse_math=False)
    axes.set_ylabel(labels[1], parse_math=False)
    axes.spines[:].set_visible(False)
    return figure


class Point(NamedTuple):
    """The cost and the metric of a row."""

    look: Look
    cost: float
    mean: float
    spread: float


def scatter(points: Sequence[Point], front: Sequence[Point], cost: str, metric: str) -> Figure:
    """Draw the metric over the cost, and a line through the rows that no cheaper row reaches."""
    figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(numticks=6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.step(
        [point.cost for point in front], [point.mean for point in front], where="post",
        color=RULE, linewidth=1.6,
    )  # fmt: skip
    for point in points:
        look = point.look
        axes.errorbar(
            point.cost, point.mean, yerr=point.spread if math.isfinite(point.spread) else None,
            color=look.color, marker=look.marker, markersize=1.3 * MARKER_SIZE,
            markerfacecolor=look.face, elinewidth=1,
        )  # fmt: skip
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(cost, parse_math=False)
    axes.set_ylabel(metric, parse_math=False)
    axes.grid()
    return figure


class ReliabilityPanel(NamedTuple):
    """Curves of (probability, how often the item was relevant)."""

    title: str
    curves: Sequence[tuple[Look, Sequence[tuple[float, float]]]]


def reliability(panels: Sequence[ReliabilityPanel]) -> Figure:
    """Draw reliability curves, a panel below another, around the line of equal values."""
    figure = Figure(figsize=(WIDTH, 2.8 * len(panels)), layout="constrained")
    for axes, panel in zip(
        figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True
    ):
        points = [value for _, curve in panel.curves for point in curve for value in point]
        end = 1.05 * max([*points, 1e-6])
        axes.plot([0, end], [0, end], color=INK, linestyle="--", linewidth=0.8)
        for look, curve in panel.curves:
            axes.plot(
                *zip(*curve, strict=True), color=look.color, linestyle=look.line,
                linewidth=LINE_WIDTH, marker=look.marker, markersize=MARKER_SIZE * 0.6,
            )  # fmt: skip
        axes.set_xlim(0, end)
        axes.set_ylim(0, end)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_ylabel("how often it was relevant")
        axes.set_title(panel.title, loc="left", parse_math=False)
        axes.grid()
    figure.axes[-1].set_xlabel("probability of the most probable item")
    return figure
