"""Short texts and small tables for data, runs and comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from softrec.data.interactions import Interactions
from softrec.data.splits import Split
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import is_counted
from softrec.report.verdict import counted_call, verdicts

if TYPE_CHECKING:
    from softrec.experiments.comparison import Comparison
    from softrec.experiments.runs import Run

# Numbers in this range are taken as times in seconds: 1990 to 2100.
DAWN, DUSK = 631_152_000, 4_102_444_800

REFITS = {"valid": ("training and validation events", "and tested so"),
          "all": ("all events", "after the test")}  # fmt: skip
"""What a refit is trained on, and when the test was."""


def run_text(run: Run) -> str:
    """Return a run in two lines: what was trained, and its metrics."""
    metric = run.recipe.training.monitor
    return (
        f"Run {run.folder}: {asked(run.recipe)}\n"
        f"{best_of(run)}; {metric} "
        f"{_number(run.valid.get(metric))} on validation, {_number(run.test.get(metric))} on test"
    )


def best_of(run: Run) -> str:
    """Return which epoch was kept, or which settings of a counted model, and whether it was refit.

    A refit is told with what it was trained on, and whether the test is of it.
    """
    facts, counted = run.facts, is_counted(run.recipe.model.name)
    if counted:
        chosen = ", ".join(f"{name} {value}" for name, value in facts["settings"].items())
        tried = f"the best of {facts['epochs']} settings: {chosen}"
        kept = tried if chosen else "settings as given"
    else:
        kept = f"epoch {facts['best_epoch']} of {facts['epochs']} is the best"
    if run.refit == "none":
        return kept
    events, tested = REFITS[run.refit]
    how = f"trained once more on {events} to epoch {facts['best_epoch']}"
    return f"{kept}; {f'counted once more on {events}' if counted else how}, {tested}"


def run_html(run: Run) -> str:
    """Return a run as an HTML table of all metrics."""
    rows = [(name, run.valid.get(name), value) for name, value in run.test.items()]
    return html_of(run_text(run), ("metric", "validation", "test"), rows)


def comparison_text(comparison: Comparison) -> str:
    """Return a comparison in three lines: its title, the metric of each target, its verdict."""
    results, calls = comparison.results, _calls(comparison)
    metric = results.selection.metric
    listed = ", ".join(
        f"{row.name} {_number(row.test[metric].mean)} ({calls[row.name]})"
        for row in results.trained
    )
    if results.simple is not None:
        (best,) = (row for row in results.counted if row.name == results.simple.counted)
        listed += f"; best simple baseline: {best.name} {_number(best.test[metric].mean)}"
    return (
        f"Comparison {comparison.folder}: {results.title}\n"
        f"{metric} on test, {results.seed_note}: {listed}\n"
        f"all results: {comparison.folder / 'report.html'}, or .results"
    )


def comparison_html(comparison: Comparison) -> str:
    """Return a comparison as an HTML table of all metrics and the difference, a row per target."""
    results, calls = comparison.results, _calls(comparison)
    metric, metrics = results.selection.metric, results.metrics
    rows = []
    for row in results.variants:
        found = row.difference_in(metric)
        means = (row.test[name].mean for name in metrics)
        known = (found.mean, found.low, found.high, found.p_holm) if found else [None] * 4
        rows.append((row.name, *means, *known, calls[row.name]))
    head = (*metrics, f"difference of {metric}", "from", "to", "p (Holm)", "")
    return html_of(comparison_text(comparison), ("target", *head), rows)


def _calls(comparison: Comparison) -> dict[str, str]:
    """Return whether each target helped, in a word or two."""
    results = comparison.results
    called: dict[str, str] = {verdict.name: verdict.call for verdict in verdicts(results)}
    called |= {row.name: counted_call(row, results.selection.metric) for row in results.counted}
    return {row.name: called.get(row.name, "baseline") for row in results.variants}


def asked(recipe: Recipe) -> str:
    """Return a recipe in a few words: model, target and data."""
    if is_counted(recipe.model.name):
        return f"{recipe.model.name} on {recipe.data.title}"
    alpha = getattr(recipe.target, "alpha", None)
    setting = "" if alpha is None else f" (alpha {alpha:g})"
    target = f"{recipe.target.name}{setting}"
    return f"{recipe.model.name} with target {target} on {recipe.data.title}"


def data_text(split: Split) -> str:
    """Return the sizes of the log and of its parts, in one line."""
    parts = tuple(split.parts.values())
    whole = split.whole()
    users, items = np.count_nonzero(whole.user_counts), np.count_nonzero(whole.item_counts)
    valid, test = split.asked_users("valid"), split.asked_users("test")
    context = "" if split.context is None else f", {len(split.context):,} in their histories alone"
    return (
        f"{sum(map(len, parts)):,} events of {users:,} users and {items:,} items{_span(parts)}; "
        f"split {split.name}: {len(split.train):,} events to train, {len(split.valid):,} to "
        f"validate ({valid:,} users), {len(split.test):,} to test ({test:,} users){context}"
    )


def _span(parts: Sequence[Interactions]) -> str:
    if not parts[0].has_time:
        return ", without times"
    times = [part.frame["time"] for part in parts if len(part)]
    first, last = (pick(int(getattr(time, end)()) for time in times)
                   for pick, end in ((min, "min"), (max, "max")))  # fmt: skip
    return f", {' to '.join(moments(first, last))}"


def moments(first: int, last: int) -> list[str]:
    """Return two times as days if both count from 1970 in a usual unit, else as they are."""
    for unit in (1, 10**3, 10**6, 10**9):
        if first / unit >= DAWN and last / unit < DUSK:
            days = (datetime.fromtimestamp(time / unit, UTC).date() for time in (first, last))
            return [day.isoformat() for day in days]
    return [str(first), str(last)]


def _number(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.4f}"
    return "" if value is None else str(value)


def html_of(text: str, names: Iterable[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a text and a table as HTML, all of it escaped."""
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(_number(value))}</td>' for value in row)}</tr>" for row in rows
    )
    return (
        f"<pre>{escape(text)}</pre>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
