"""Draws the figures of a report from names and numbers, as SVG with the colours of the page.

It does not depend on the types of the results. An unknown number is NaN.
"""

from __future__ import annotations

import math
import re
import textwrap
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import NamedTuple

from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from softrec.report.looks import (
    CSS,
    HELPED,
    HURT,
    INK,
    LINE_WIDTH,
    MARKER_SIZE,
    MUTED,
    PAGE,
    RULE,
    Entry,
    Look,
)

WIDTH = 4.8  # inches: about the width of a phone, so that text of 9 points is not scaled there
CALLS = {"helped": HELPED, "hurt": HURT}


@dataclass(frozen=True)
class Plot:
    """A drawing with its words: a title, a note on reading it, and a text that replaces it."""

    title: str
    svg: Markup
    text: str
    note: str
    legend: Sequence[Entry] = ()


class Interval(NamedTuple):
    """A difference from the baseline, its interval and its verdict."""

    name: str
    mean: float
    low: float
    high: float
    call: str  # one of CALLS is evidence; any other has a hollow dot
    look: Look | None = None  # instead of the colour of the call


class Curve(NamedTuple):
    """The values of one run by epoch."""

    look: Look
    values: Mapping[int, float]
    best: int | None = None  # the epoch to mark


class CurvePanel(NamedTuple):
    """The curves of one model."""

    title: str
    curves: Sequence[Curve]


class Bar(NamedTuple):
    """A mean, the text beside it, and the single values."""

    name: str
    color: str
    mean: float
    text: str
    per_seed: Sequence[float]


class Panel(NamedTuple):
    """Bars below a title, and how high they could be."""

    title: str
    bars: Sequence[Bar]
    ceiling: float = math.nan


def forest(blocks: Sequence[Sequence[Interval]], label: str) -> Figure:
    """Draw intervals one below another, around a line at 0, a rule between two blocks."""
    rows = [row for block in blocks for row in block]
    names = [_in_lines(row.name) for row in reversed(rows)]
    named = [row for row in rows if row.name]  # others stand beside one that is
    lines = max((name.count("\n") + 1 for name in names), default=1)
    height = max(0.24, (0.2 + 0.15 * lines) * len(named) / max(1, len(rows)))
    figure = Figure(figsize=(WIDTH, 0.8 + height * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color=INK, linewidth=0.8)
    below = len(rows)
    for block in blocks[:-1]:
        below -= len(block)
        axes.axhline(below - 0.5, color=RULE, linewidth=1.2)
    for y, row in enumerate(reversed(rows)):
        color = row.look.color if row.look else CALLS.get(row.call, MUTED)
        axes.plot([row.low, row.high], [y, y], color=color, linewidth=2)
        axes.plot(
            [row.mean], [y], marker=row.look.marker if row.look else "o", color=color,
            markerfacecolor=color if row.call in CALLS else PAGE,
        )  # fmt: skip
    axes.set_ylim(-0.5, len(rows) - 0.5)
    # Beside the intervals, because above them a name would cover the line at 0.
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.tick_params(axis="y", left=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel(label, parse_math=False)
    axes.grid(axis="x")
    return figure


def _in_lines(name: str) -> str:
    """Return a name in at most three lines."""
    short = textwrap.shorten(name, 60, placeholder="…")
    return "\n".join(textwrap.wrap(short, 22)[:3])


def curves(panels: Sequence[CurvePanel], label: str) -> Figure:
    """Draw a line for each run, a panel for each model."""
    alone = len(panels) < 2
    figure = Figure(
        figsize=(WIDTH, 3.2 if alone else 0.4 + 2.2 * len(panels)), layout="constrained"
    )
    all_axes = figure.subplots(max(1, len(panels)), 1, squeeze=False, sharex=True)[:, 0]
    for axes, panel in zip(all_axes, panels, strict=False):
        for run in panel.curves:
            _draw_curve(axes, run)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.set_ylabel(label, parse_math=False)
        axes.set_title(panel.title, loc="left", parse_math=False)
        axes.grid()
    all_axes[-1].set_xlabel("epoch")
    return figure


def _draw_curve(axes: Axes, run: Curve) -> None:
    look = run.look
    axes.plot(
        list(run.values),
        list(run.values.values()),
        color=look.color,
        linestyle=look.line,
        linewidth=LINE_WIDTH,
        marker="." if len(run.values) == 1 else None,  # a line with one epoch would be invisible
    )
    if run.best is not None and run.best in run.values:
        axes.plot(
            [run.best], [run.values[run.best]], look.marker, color=look.color,
            markersize=MARKER_SIZE,
        )  # fmt: skip


def bars(panels: Sequence[Panel], *, alike: bool = False) -> Figure:
    """Draw bars from 0 in panels.

    Args:
        panels: with their bars.
        alike: all panels have one scale.
    """
    heights = [0.45 + 0.22 * len(panel.bars) for panel in panels]
    figure = Figure(figsize=(WIDTH, 0.2 + sum(heights)), layout="constrained")
    ratios = [0.2 + len(panel.bars) for panel in panels]
    grid = figure.subplots(
        len(panels), 1, squeeze=False, sharex=alike, gridspec_kw={"height_ratios": ratios}
    )
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        _draw_bars(axes, panel)
    return figure


def _draw_bars(axes: Axes, panel: Panel) -> None:
    for number, bar in enumerate(panel.bars):
        length = 0 if math.isnan(bar.mean) else bar.mean
        axes.barh(number, length, height=0.6, color=bar.color)
        if len(bar.per_seed) > 1:
            axes.plot(bar.per_seed, [number] * len(bar.per_seed), ".", color=INK, markersize=3)
        axes.annotate(
            bar.text,
            (1, number),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    firsts = [n for n, bar in enumerate(panel.bars) if bar.color == MUTED]
    if firsts and firsts[0] > 0:  # simple baselines are a group of their own
        axes.axhline(firsts[0] - 0.5, color=RULE, linewidth=1.2)
    if math.isfinite(panel.ceiling):
        axes.axvline(panel.ceiling, color=INK, linestyle="--", linewidth=1)
    names = [textwrap.shorten(bar.name, 24, placeholder="…") for bar in panel.bars]
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(left=False, labelbottom=True)
    axes.set_title(panel.title, loc="left", parse_math=False)


def svg(name: str, draw: Callable[[], Figure]) -> Markup:
    """Return the figure of `draw` as SVG for use inside an HTML page.

    The settings are Matplotlib's defaults and those of this file; the user's settings file is not
    used. The SVG has no external references and no fixed size. Its ids start with `name`, so that
    they differ from those of other figures. The placeholder colours are replaced by CSS variables.
    """
    ours = {
        "svg.fonttype": "none",  # text can be selected and has the font of the page
        "svg.hashsalt": name,  # the same ids in every run
        "font.size": 9,
        "axes.titlesize": 9,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        **dict.fromkeys(
            ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
        ),
    }
    out = StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with style.context(["default", ours]), warnings.catch_warnings():
        # Text stays text, so that a letter that Matplotlib's font lacks is in the reader's.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        draw().savefig(out, format="svg", metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'^<svg [^>]*(viewBox="[^"]*")[^>]*>', r"<svg \1>", text)
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub("|".join(CSS), lambda match: CSS[match[0]], text)
    return Markup(text)  # Matplotlib has escaped the texts
