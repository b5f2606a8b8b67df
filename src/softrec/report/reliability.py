"""What a report says of the softmax of each variant: a table, and the reliability curves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from softrec.report import charts, looks, plots, text
from softrec.report.plots import Plot
from softrec.report.results import Bin, Results, Variant
from softrec.report.rows import rows
from softrec.report.tables import Table, grouped

TITLES = {"nll": "NLL", "brier": "Brier score", "ece_mass": "ECE"}
KINDS = {"trained": "as trained", "scaled": "with a temperature of validation"}


def table(results: Results) -> Table | None:
    """Return the measures of calibration, a row per variant; None if no variant has them."""
    if all(variant.calibration is None for variant in results.variants):
        return None

    def row_of(variant: Variant) -> list[str]:
        found = variant.calibration
        if found is None or found.skipped:
            reason = text.UNKNOWN if found is None else found.skipped
            return [variant.name, reason, *[""] * (2 * len(TITLES) + 2)]
        cells = [
            text.mean_and_spread(values.get(name))
            for name in TITLES
            for values in (found.trained, found.scaled)
        ]
        ends = (found.trained.get(name) for name in ("confidence", "accuracy"))
        temperature = text.mean_and_spread(found.temperature)
        return [variant.name, temperature, *cells, *map(text.mean_and_spread, ends)]

    head = [head for title in TITLES.values() for head in (title, f"{title}, scaled")]
    return Table(
        "Calibration: the softmax at test (± standard deviation over seeds)",
        ["", "temperature", *head, "confidence", "accuracy"],
        grouped(results, row_of),
    )


def figures(results: Results) -> list[Plot]:
    """Return the reliability curves, of the rows that figures show; nothing if none is known."""
    shown = [row for row in rows(results) if row.variant.calibration is not None]
    known = [row for row in shown if row.variant.calibration and row.variant.calibration.curves]
    if not known:
        return []
    points = "; ".join(
        f"{row.variant.name}, {KINDS[kind]}: "
        + ", ".join(
            f"{text.decimals(each.confidence)} {text.decimals(each.accuracy)}"
            for each in _curves(row.variant, kind)[0]
        )
        for row in known
        for kind in KINDS
    )
    return [
        Plot(
            "Reliability of the softmax at test",
            plots.svg("reliability", partial(reliability_figure, results)),
            points,
            "Bins of equally many test cases by the probability of the most probable item: how "
            "often it was relevant. On the dashed line a probability is what it says; below it is "
            "too high. One line for each training.",
            [looks.entry(row.variant.name, row.look) for row in known],
        )
    ]


def reliability_figure(results: Results) -> Figure:
    """Draw how often the most probable item was right over its probability, trained and scaled."""
    panels = [
        charts.ReliabilityPanel(
            KINDS[kind],
            [
                (row.look, [(each.confidence, each.accuracy) for each in curve])
                for row in rows(results)
                if row.variant.calibration is not None
                for curve in _curves(row.variant, kind)
            ],
        )
        for kind in KINDS
    ]
    return charts.reliability(panels)


def _curves(variant: Variant, kind: str) -> Sequence[Sequence[Bin]]:
    found = variant.calibration
    if found is None:
        return ()
    return found.curves if kind == "trained" else found.curves_scaled
