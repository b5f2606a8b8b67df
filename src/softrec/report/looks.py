"""The look of lines and points: colours of the page, dashes, and markers.

Below number 56 no two rows have the same colour and marker, and below 32 no two rows have the same
colour and dashes, so that rows can be distinguished without colours.
"""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.markers import MarkerStyle
from matplotlib.path import Path

# Placeholder colours, which are replaced by CSS variables for a light and a dark page.
INK, RULE, PAGE = "#010101", "#020202", "#020203"
HELPED, HURT, MUTED = "#040401", "#040402", "#040403"
SERIES = [f"#0303{number:02x}" for number in range(8)]
CSS = {
    INK: "currentColor",
    RULE: "var(--rule)",
    PAGE: "var(--page)",
    HELPED: "var(--helped)",
    HURT: "var(--hurt)",
    MUTED: "var(--muted)",
    **{color: f"var(--s{number})" for number, color in enumerate(SERIES)},
}
DASHES = [(), (4.0, 2.0), (1.0, 1.5), (6.0, 2.0, 1.0, 2.0)]
MARKERS = "os^DvPX"  # 7, and there are 8 colours
LINE_WIDTH = 1.4  # points
MARKER_SIZE = 5.0


class Look(NamedTuple):
    """A colour with dashes and a marker; markers of rows that are not trained are hollow."""

    color: str
    dashes: tuple[float, ...]
    marker: str
    hollow: bool = False

    @property
    def face(self) -> str:
        """Return the colour inside the marker."""
        return PAGE if self.hollow else self.color

    @property
    def line(self) -> str | tuple[float, tuple[float, ...]]:
        """Return the style of a line, in Matplotlib's terms."""
        return (0, self.dashes) if self.dashes else "-"


def look(number: int) -> Look:
    """Return the look of the trained row `number`."""
    dashes = DASHES[(number + number // len(SERIES)) % len(DASHES)]
    return Look(SERIES[number % len(SERIES)], dashes, MARKERS[number % len(MARKERS)])


def muted(number: int) -> Look:
    """Return the look of the counted row `number`."""
    marker = MARKERS[number % len(MARKERS)]
    return Look(MUTED if number < len(MARKERS) else INK, (), marker, hollow=True)


class Entry(NamedTuple):
    """A line of a legend in HTML: the name, and the SVG attributes of line and marker."""

    name: str
    color: str
    dashes: str  # "none" for a solid line
    line: bool
    marker: str  # the path of the marker around (0, 0); "" without a marker
    fill: str


def entry(name: str, look: Look, *, line: bool = True, marker: bool = True) -> Entry:
    """Return the line of a legend for a look."""
    dashes = " ".join(f"{LINE_WIDTH * dash:g}" for dash in look.dashes) or "none"
    path = _path(look.marker) if marker else ""
    return Entry(name, CSS[look.color], dashes, line, path, CSS[look.face])


def _path(marker: str) -> str:
    """Return a marker as the path of an SVG, where y points down."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    letters = {Path.MOVETO: "M", Path.LINETO: "L", Path.CURVE3: "Q", Path.CURVE4: "C"}
    parts: list[str] = []
    for points, code in path.iter_segments(simplify=False):
        if code == Path.CLOSEPOLY:
            parts.append("Z")
            continue
        ends = " ".join(f"{(-v if n % 2 else v) * MARKER_SIZE:.2f}" for n, v in enumerate(points))
        parts.append(f"{letters[code]}{ends}")
    return " ".join(parts)
