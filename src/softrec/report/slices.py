"""Slices of the test cases in a report: a table, and a forest plot for each slicing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from softrec.report import looks, plots, text
from softrec.report.numbers import Difference, SliceDifference
from softrec.report.plots import Plot
from softrec.report.results import Results
from softrec.report.rows import Row, rows, valid_mean
from softrec.report.tables import Table
from softrec.report.verdict import LEVEL, MARK, marked


def tables(results: Results) -> list[Table]:
    """Return a table for each baseline."""
    found = (table(results, variant.name) for variant in results.trained if not variant.baseline)
    return [each for each in found if each is not None]


def table(results: Results, baseline: str = "") -> Table | None:
    """Return the table of differences by variant and slice; None if there are no slices.

    Args:
        results: of the comparison.
        baseline: the name of the baseline whose variants are shown; by default the first.
    """
    baseline = baseline or results.baseline
    all_rows = (*results.trained, *results.counted)
    names = [each.name for each in all_rows if each.baseline == baseline]
    if not results.slices or not names:
        return None
    rows: list[list[str]] = []
    for slicing in slicings(results):
        rows += [[slicing], *rows_of(results, slicing, baseline, names)]
    return Table(
        f"{results.selection.metric} by slice of the test cases: differences to the baseline, with "
        f"95 % intervals ({MARK}: Holm-adjusted p < {LEVEL}, over all slices and variants)",
        ["slice", "cases", baseline, *names],
        rows,
    )


def rows_of(results: Results, slicing: str, baseline: str, names: Sequence[str]) -> list[list[str]]:
    """Return a row for each slice: cases and mean of the baseline, and the other differences."""
    own = {(each.slice, each.variant): each for each in results.slices if each.slicing == slicing}
    return [
        [
            base.slice,
            text.count(base.n),
            text.decimals(base.mean),
            *(told(own[base.slice, name].difference, own[base.slice, name]) for name in names),
        ]
        for base in _of(results, slicing, baseline)
    ]


def told(value: float, found: Difference) -> str:
    """Return a difference with its interval, marked if there is evidence."""
    return marked(f"{text.signed(value)} ({text.span(found.interval)})", found.p_holm)


def forests(results: Results) -> list[Plot]:
    """Return a forest plot for each slicing, of each model's best soft variant on validation."""
    chosen = best_soft(results)
    if not chosen or not results.slices:
        return []
    baselines = {row.variant.name: results.baseline_of(row.variant) for row in chosen}
    alone = any(v.trainings < 2 for row in chosen for v in (row.variant, *baselines.values()))
    line = f"Line: 95 % interval over the users {'only' if alone else 'and the trainings'}."
    several = len(chosen) > 1
    whose = ", of each model's variant" if several else ", of the variant"
    which = "" if results.listed else f"{whose} that is best on validation"
    title = "The best variants" if several else chosen[0].variant.name
    to = "the baseline of its model" if several else next(iter(baselines.values())).name
    return [
        Plot(
            f"{title} by {slicing}",
            plots.svg(f"slices{number}", partial(forest_figure, results, slicing)),
            "; ".join(
                f"{f'{row.variant.name}, ' if several else ''}{each.slice}, "
                f"{text.count(each.n)} cases: {told(each.difference, each)}"
                for row in chosen
                for each in _of(results, slicing, row.variant.name)
            ),
            f"Difference in {results.selection.metric} to {to}{which}; the number of cases is in "
            f"brackets. {line} Filled dot: Holm-adjusted p < {LEVEL}.",
            [looks.entry(row.variant.name, row.look) for row in chosen if several],
        )
        for number, slicing in enumerate(slicings(results))
        if len(_of(results, slicing, chosen[0].variant.name)) > 1
    ]


def forest_figure(results: Results, slicing: str) -> Figure:
    """Draw the differences in the slices of a slicing; those of several models side by side."""
    chosen = best_soft(results)
    label = f"difference in {results.selection.metric}"
    per_slice = zip(
        *(_of(results, slicing, row.variant.name) for row in chosen), strict=True
    )  # all variants have all slices
    blocks = [
        [
            plots.Interval(
                f"{each.slice} ({text.count(each.n)})" if place == len(chosen) // 2 else "",
                each.difference,
                each.interval[0],
                each.interval[1],
                _call(each),
                row.look if len(chosen) > 1 else None,
            )
            for place, (row, each) in enumerate(zip(chosen, inside, strict=True))
        ]
        for inside in per_slice
    ]
    if len(chosen) < 2:
        return plots.forest([[row for block in blocks for row in block]], label)
    return plots.forest(blocks, label)


def best_soft(results: Results) -> list[Row]:
    """Return for each model the variant that is best on validation, except its baseline.

    Of lists, which were chosen by nothing, the first.
    """
    found: dict[str, Row] = {}
    for row in rows(results):
        value = valid_mean(results, row.variant)
        chosen = math.isfinite(value) or row.variant.kind == "listed"
        if results.on_other_windows(row.variant) or row.variant.baseline is None or not chosen:
            continue
        if row.panel not in found or value > valid_mean(results, found[row.panel].variant):
            found[row.panel] = row
    # The models have looks of their own here.
    several = len(found) > 1
    return [
        row._replace(look=looks.look(number)) if several else row
        for number, row in enumerate(found.values())
    ]


def slicings(results: Results) -> list[str]:
    """Return the ways to slice."""
    return list(dict.fromkeys(each.slicing for each in results.slices))


def _of(results: Results, slicing: str, variant: str) -> list[SliceDifference]:
    return [e for e in results.slices if (e.slicing, e.variant) == (slicing, variant)]


def _call(found: SliceDifference) -> str:
    if math.isnan(found.p_holm) or found.p_holm >= LEVEL:
        return ""
    return "helped" if found.difference > 0 else "hurt"
