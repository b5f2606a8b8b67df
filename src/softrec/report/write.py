"""The report as one self-contained HTML file, and as a table for the terminal.

Both show the content of `Results`. They compute only ratios, and verdicts in words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from softrec.files import write_text
from softrec.report import figures, reliability, slices, tables, text, tuned
from softrec.report.advice import advice
from softrec.report.latex import render_latex
from softrec.report.markdown import render_markdown
from softrec.report.numbers import MetricDifference
from softrec.report.results import Results
from softrec.report.rows import rows
from softrec.report.templates import fill
from softrec.report.verdict import (
    Verdict,
    certainty,
    counted_call,
    headline,
    protocol_sentences,
    simple_sentence,
    verdicts,
)

CONSOLE_METRICS = 2


def write_report(results: Results, path: Path) -> None:
    """Write the report as one HTML file, and beside it report.md and tables.tex.

    Equal results give equal files.

    Args:
        results: the results of the comparison.
        path: of the HTML file. Its folder is made if it is missing.

    Raises:
        RunError: if no variant has the name of the baseline.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_report(results))
    write_text(path.with_suffix(".md"), render_markdown(results))
    write_text(path.with_name("tables.tex"), render_latex(results))


def render_report(results: Results) -> str:
    """Return the text of the HTML file that `write_report` writes."""
    found = verdicts(results)
    shown = {row.variant.name for row in rows(results)}
    data = text.about_data(results.data)
    facts: dict[str, dict[str, Any]] = {
        "Data": data,
        "Model": results.model if len(results.groups) < 2 else {"models": results.groups},
        "Budget": results.budget,
        "Choice of the best epoch": results.selection.model_dump(),
    }
    if results.listed:
        facts = {"Data": data, "Verdict": {"metric": results.selection.metric}}
    return fill(
        "report.html.j2",
        results=results,
        protocol=protocol_sentences(results),
        advice=None if results.listed else advice(results),  # nobody here chose the lists
        headline=headline(found, results),
        simple=simple_sentence(results),
        verdicts=[each for each in found if each.name in shown],
        others=[each for each in found if each.name not in shown],
        certainty=certainty(results),
        overview=tables.overview(results),
        details=[tables.of_metric(results, metric) for metric in results.metrics_by_weight],
        plots=[*figures.figures(results), *reliability.figures(results), *slices.forests(results)],
        slices=slices.tables(results),
        beyond=tables.beyond_accuracy(results),
        calibration=reliability.table(results),
        regret=tables.regret(results),
        cost=tables.cost(results),
        targets=tables.targets(results),
        tuning=tables.tuning(results),
        tuned=tuned.sentence(results.tuning),
        facts=[(title, text.settings(values)) for title, values in facts.items()],
        seeds=text.setting(results.seeds),
        versions=tables.versions(results.versions),
    )


def console_table(results: Results) -> Table:
    """Return a table for the terminal: means, differences, intervals, p-values and cost.

    Raises:
        RunError: if no variant has the name of the baseline.
    """
    chosen = results.selection.metric
    # The HTML page has all metrics; a terminal has room for the selection metric and one more.
    metrics = sorted(results.metrics, key=lambda name: name != chosen)[:CONSOLE_METRICS]
    found = verdicts(results)
    simple = [sentence] if (sentence := simple_sentence(results)) else []
    by_name = {verdict.name: verdict for verdict in found}
    table = Table(
        title=Text(
            "\n".join(
                [
                    *([] if results.listed else [advice(results).text]),
                    " ".join([f"{results.title}: {headline(found, results)}", *simple]),
                ]
            )
        ),
        caption=Text(
            f"Difference, interval and p: {chosen} on test; ±: over seeds. {certainty(results)} "
            f"{tuned.sentence(results.tuning)}".strip()
        ),
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("variant")
    for title in (*metrics, "difference\n95 % interval", "s/epoch"):
        table.add_column(
            title, justify="right", no_wrap=True
        )  # names are wrapped first, numbers are not
    table.add_column("verdict\np (Holm)", no_wrap=True)
    ends = [results.of_group(group)[-1] for group in results.groups]
    for variant in (*results.trained, *results.counted):
        difference = variant.difference_in(chosen)
        means = (text.mean_and_spread(variant.test.get(metric)) for metric in metrics)
        cells = [
            variant.name,
            *(mean.replace(" ± ", "\n± ") for mean in means),
            text.difference(difference) if difference else "",
            text.decimals(variant.seconds_per_epoch, 1),
            _shown_call(by_name.get(variant.name), difference)
            if variant.kind != "counted"
            else _shown(counted_call(variant, chosen), difference),
        ]
        last = variant in ends and bool(results.counted or len(ends) > 1)
        table.add_row(*(Text(cell) for cell in cells), end_section=last)
    if results.ceiling:
        means = [text.decimals(results.ceiling_of(metric)) for metric in metrics]
        table.add_row(*(Text(cell) for cell in (results.ceiling.name, *means)))
    return table


def _shown_call(verdict: Verdict | None, difference: MetricDifference | None) -> str:
    if verdict is None:
        return "baseline"
    return _shown(verdict.call, difference, verdict.reason)


def _shown(call: str, difference: MetricDifference | None, reason: str = "") -> str:
    p = text.p_value(difference.p_holm) if difference else text.UNKNOWN
    return f"{call}\n{reason or p}"
