"""The rows that figures show, with their looks; of a grid, the best value on validation.

A setting of the data, such as the share of false positives, is a condition, which nobody chooses:
of its values the lowest one is shown, and of words the first one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from softrec.report import looks
from softrec.report.looks import Look
from softrec.report.results import Results, Variant, is_condition


class Row(NamedTuple):
    """A trained variant in a figure."""

    variant: Variant
    panel: str  # its model; "" if all have the same
    label: str  # its name in the panel, without the values of a grid
    look: Look  # the look of its label


def rows(results: Results) -> list[Row]:
    """Return the rows that figures show, panel by panel."""
    own = label_looks(results)
    return [
        Row(best(results, members), panel, label, own[label])
        for (panel, label), members in series(results).items()
    ]


def series(results: Results) -> dict[tuple[str, str], list[Variant]]:
    """Return the trained variants that differ only in values of the grid, by panel and label."""
    found: dict[tuple[str, str], list[Variant]] = {}
    for variant in results.trained:
        found.setdefault(_place(variant), []).append(variant)
    panels = dict.fromkeys(panel for panel, _ in found)
    if len(panels) < 2:
        return {("", label): members for (_, label), members in found.items()}
    return {place: found[place] for panel in panels for place in found if place[0] == panel}


def label_looks(results: Results) -> dict[str, Look]:
    """Return the look of each label, the same in all panels."""
    labels = dict.fromkeys(_place(variant)[1] for variant in results.trained)
    return {label: looks.look(number) for number, label in enumerate(labels)}


def own_looks(results: Results) -> list[tuple[Variant, Look]]:
    """Return all rows that figures show, each with its own look, including simple baselines."""
    trained = [(row.variant, looks.look(n)) for n, row in enumerate(rows(results))]
    return [*trained, *((each, looks.muted(n)) for n, each in enumerate(results.counted))]


def best(results: Results, variants: Iterable[Variant]) -> Variant:
    """Return the best variant on validation, of those with the shown value of each condition.

    The first one if no metric is known.
    """
    found = list(variants)
    for setting in dict.fromkeys(name for each in found for name in each.grid):
        if is_condition(setting):
            values = [each.grid[setting] for each in found if setting in each.grid]
            shown = min(values, key=lambda each: (0, each) if not isinstance(each, str) else (1, 0))
            found = [each for each in found if each.grid.get(setting, shown) == shown]
    return max(found, key=lambda each: valid_mean(results, each))


def valid_mean(results: Results, variant: Variant) -> float:
    """Return the mean of the selection metric on validation; -inf if it is not known."""
    value = variant.valid.get(results.selection.metric)
    return value.mean if value and math.isfinite(value.mean) else -math.inf


def has_grid(results: Results) -> bool:
    """Return whether variants differ in values of a grid."""
    return any(variant.grid for variant in results.trained)


def _place(variant: Variant) -> tuple[str, str]:
    """Return the model and the rest of a series' name."""
    text = variant.series or variant.name
    if not variant.group:
        return "", text
    own = f"{variant.group}: "
    if text.startswith(own):
        return variant.group, text.removeprefix(own)
    model, _, rest = text.partition(": ")  # a grid over the model itself is not in the series
    return (model, rest) if rest else ("", text)
