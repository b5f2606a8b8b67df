"""What a report says of slices of the test cases: a table, and a forest plot for each slicing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from softrec.report import plots, text
from softrec.report.figures import Plot
from softrec.report.results import Results, SliceDifference, Variant
from softrec.report.tables import Table
from softrec.report.verdict import LEVEL

MARK = "*"


def tables(results: Results) -> list[Table]:
    """Return a table for each baseline."""
    found = (table(results, variant.name) for variant in results.trained if not variant.baseline)
    return [each for each in found if each is not None]


def table(results: Results, baseline: str = "") -> Table | None:
    """Return the difference of each variant in each slice; None if nothing was sliced.

    Args:
        results: what was found.
        baseline: the one whose variants are told of; by default the first.
    """
    baseline = baseline or results.baseline
    all_rows = (*results.trained, *results.counted)
    names = [each.name for each in all_rows if each.baseline == baseline]
    if not results.slices or not names:
        return None
    cells = {(each.slicing, each.slice, each.variant): each for each in results.slices}
    rows: list[list[str]] = []
    for slicing in _slicings(results):
        rows.append([slicing])
        for base in _of(results, slicing, baseline):
            own = (cells[slicing, base.slice, name] for name in names)
            rows.append(
                [base.slice, text.count(base.n), text.decimals(base.mean), *map(_cell, own)]
            )
    return Table(
        f"{results.selection.metric} by slice of the test cases: differences to the baseline, with "
        f"95 % intervals ({MARK}: Holm-adjusted p < {LEVEL}, over all slices and variants)",
        ["slice", "cases", baseline, *names],
        rows,
    )


def forests(results: Results) -> list[Plot]:
    """Return a forest plot for each slicing, of the soft variant that is best on validation."""
    best = _best(results)
    if best is None or not results.slices:
        return []
    metric = results.selection.metric
    baseline = results.baseline_of(best)
    alone = len(best.runs) < 2 or len(baseline.runs) < 2
    line = f"Line: 95 % interval over the users {'only' if alone else 'and the trainings'}."
    found: list[Plot] = []
    for number, slicing in enumerate(_slicings(results)):
        inside = _of(results, slicing, best.name)
        found.append(
            Plot(
                f"{best.name} by {slicing}",
                plots.svg(f"slices{number}", partial(_forest, inside, metric)),
                "; ".join(f"{each.slice}: {_cell(each)}" for each in inside),
                f"Difference in {metric} to {baseline.name}, of the variant that is best on "
                f"validation, by {slicing} of the test cases (their number beside the slice). "
                f"{line} A filled dot stands for evidence (Holm-adjusted p < {LEVEL}, over all "
                "slices and variants).",
            )
        )
    return found


def _forest(inside: Sequence[SliceDifference], metric: str) -> Figure:
    rows = [
        plots.Interval(
            f"{each.slice} ({text.count(each.n)})",
            each.difference,
            *each.interval,
            _call(each),
        )
        for each in inside
    ]
    return plots.forest(rows, f"difference in {metric}")


def _best(results: Results) -> Variant | None:
    metric = results.selection.metric
    soft = [each for each in results.trained if each.baseline is not None]
    known = [each for each in soft if metric in each.valid]
    return max(known, key=lambda each: each.valid[metric].mean, default=None)


def _slicings(results: Results) -> list[str]:
    return list(dict.fromkeys(each.slicing for each in results.slices))


def _of(results: Results, slicing: str, variant: str) -> list[SliceDifference]:
    return [e for e in results.slices if (e.slicing, e.variant) == (slicing, variant)]


def _call(found: SliceDifference) -> str:
    if math.isnan(found.p_holm) or found.p_holm >= LEVEL:
        return ""
    return "helped" if found.difference > 0 else "hurt"


def _cell(found: SliceDifference) -> str:
    told = f"{text.signed(found.difference)} ({text.span(found.interval)})"
    return f"{told} {MARK}" if _call(found) else told
