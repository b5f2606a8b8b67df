"""The figures of a report: names and numbers in, SVG that takes its colours from the page out.

Nothing here knows how results are kept. A number that is not known is NaN.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from typing import NamedTuple

from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Stand-in colours, which become CSS so that light and dark follow the page.
INK, RULE, PAGE = "#010101", "#020202", "#020203"
HELPED, HURT, MUTED = "#040401", "#040402", "#040403"
CALLS = {"helped": HELPED, "hurt": HURT}
SERIES = [f"#0303{number:02x}" for number in range(8)]
DASHES = [(), (4.0, 2.0), (1.0, 1.5), (6.0, 2.0, 1.0, 2.0)]
CSS = {
    INK: "currentColor",
    RULE: "var(--rule)",
    PAGE: "var(--page)",
    HELPED: "var(--helped)",
    HURT: "var(--hurt)",
    MUTED: "var(--muted)",
    **{color: f"var(--s{number})" for number, color in enumerate(SERIES)},
}
WIDTH = 4.8  # inches: about as wide as a phone, so that 9 point text stays 9 point there
CURVE_WIDTH = 1.4  # points


class Interval(NamedTuple):
    """A difference to the baseline, its interval, and what is said of it."""

    name: str
    mean: float
    low: float
    high: float
    call: str  # one of CALLS; any other is drawn muted, with a hollow dot
    apart: bool = False  # of the group below the others


class Curve(NamedTuple):
    """The values of one run by epoch."""

    variant: int  # which look: the variant's place in the legend
    values: Mapping[int, float]
    best: int | None = None  # the epoch to mark


class Bar(NamedTuple):
    """A mean with the text beside it, and the values it is the mean of."""

    mean: float
    text: str
    per_seed: Sequence[float]


class Panel(NamedTuple):
    """The bars of one metric, and how high they could be."""

    title: str
    bars: Sequence[Bar]
    ceiling: float


def forest(intervals: Sequence[Interval], label: str) -> Figure:
    """Draw intervals one below another, around a line at 0."""
    figure = Figure(figsize=(WIDTH, 0.8 + 0.55 * len(intervals)), layout="constrained")
    axes = figure.add_subplot()
    axes.axvline(0, color=INK, linewidth=0.8)
    apart = sum(row.apart for row in intervals)
    if 0 < apart < len(intervals):
        axes.axhline(apart - 0.5, color=RULE, linewidth=1.2)
    for y, row in enumerate(reversed(intervals)):
        color = CALLS.get(row.call, MUTED)
        face = color if row.call in CALLS else PAGE
        axes.plot([row.low, row.high], [y, y], color=color, linewidth=2)
        axes.plot([row.mean], [y], marker="o", color=color, markerfacecolor=face)
    axes.set_ylim(-0.5, len(intervals) - 0.5)
    # Beside the lines, for above them a name would stand on the line at 0.
    names = [_in_lines(row.name) for row in reversed(intervals)]
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


def curves(runs: Sequence[Curve], label: str) -> Figure:
    """Draw a line for each run, in the colour and the dashes of its variant."""
    figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for run in runs:
        color, dashes = _look(run.variant)
        axes.plot(
            list(run.values),
            list(run.values.values()),
            color=color,
            linestyle=(0, dashes) if dashes else "-",
            linewidth=CURVE_WIDTH,
            marker="." if len(run.values) == 1 else None,  # a line of one epoch is invisible
        )
        if run.best is not None and run.best in run.values:
            axes.plot([run.best], [run.values[run.best]], "o", color=color)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("epoch")
    axes.set_ylabel(label, parse_math=False)
    axes.grid()
    return figure


def bars(names: Sequence[str], panels: Sequence[Panel], *, apart: int = 0) -> Figure:
    """Draw bars from 0 for the variants `names`, one panel per metric as their scales differ.

    The last `apart` ones are a group of their own: muted, below a line.
    """
    height = len(panels) * (0.55 + 0.22 * len(names))
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    rows = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    short = [textwrap.shorten(name, 24, placeholder="…") for name in names]
    for axes, panel in zip(rows, panels, strict=True):
        _draw_bars(axes, short, panel, apart)
    return figure


def _draw_bars(axes: Axes, names: Sequence[str], panel: Panel, apart: int) -> None:
    first = len(panel.bars) - apart
    if 0 < apart < len(panel.bars):
        axes.axhline(first - 0.5, color=RULE, linewidth=1.2)
    for number, bar in enumerate(panel.bars):
        length = 0 if math.isnan(bar.mean) else bar.mean
        color = _look(number)[0] if number < first else MUTED
        axes.barh(number, length, height=0.6, color=color)
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
    if math.isfinite(panel.ceiling):
        axes.axvline(panel.ceiling, color=INK, linestyle="--", linewidth=1)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(left=False)
    axes.set_title(panel.title, loc="left", parse_math=False)


def _look(number: int) -> tuple[str, tuple[float, ...]]:
    """Return the colour and the dashes of the variant at `number`; both, for the colour-blind."""
    return SERIES[number % len(SERIES)], DASHES[number % len(DASHES)]


def css_look(number: int) -> tuple[str, str]:
    """Return the CSS colour and the SVG dashes of the variant at `number`, for a legend in HTML."""
    color, dashes = _look(number)
    return CSS[color], " ".join(f"{CURVE_WIDTH * dash:g}" for dash in dashes) or "none"


def svg(name: str, draw: Callable[[], Figure]) -> Markup:
    """Return what `draw` draws as SVG to stand inside a page.

    It is drawn with Matplotlib's own defaults and ours, whatever the user's settings file says.
    Nothing in it points outside, its ids start with `name` and so are its own among several
    figures of the page, its size is left to the page, and the stand-in colours have become CSS.
    """
    ours = {
        "svg.fonttype": "none",  # text stays text: it can be selected and follows the page's font
        "svg.hashsalt": name,  # ids that do not change from run to run
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
    with style.context(["default", ours]):
        draw().savefig(out, format="svg", metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r'^<svg [^>]*(viewBox="[^"]*")[^>]*>', r"<svg \1>", text)
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub("|".join(CSS), lambda match: CSS[match[0]], text)
    return Markup(text)  # Matplotlib has escaped the texts
