"""The tables of a report, as text cells."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from softrec.report import text
from softrec.report.numbers import MetricDifference
from softrec.report.results import Results, Variant

SPREAD = " ± "
WORD = re.compile(r"(?!n/a|yes\b|no\b)[^\W\d]")
"""The start of a cell that holds no number."""


@dataclass(frozen=True)
class Table:
    """A table of text cells. The first cell names its row; a row of one cell is a heading."""

    caption: str
    head: list[str]
    rows: list[list[str]]

    @property
    def with_spread(self) -> set[int]:
        """Return the columns where a mean has a spread beside it, so that means can be aligned."""
        return {n for row in self.rows for n, cell in enumerate(row) if n and SPREAD in cell}

    @property
    def words(self) -> set[int]:
        """Return the columns of words, which are aligned to the left; others hold numbers."""
        return {
            place
            for place in range(1, len(self.head))
            if any(len(row) > 1 and WORD.match(row[place]) for row in self.rows)
        }


SIMPLE = "simple baselines, counted and not trained"


def grouped(results: Results, row_of: Callable[[Variant], list[str]]) -> list[list[str]]:
    """Return a row for each variant, with a heading for each group and the simple baselines."""
    rows: list[list[str]] = []
    for group in results.groups:
        if group:
            rows.append([group])
        for variant in results.of_group(group):
            name, *cells = row_of(variant)
            rows.append([name.removeprefix(f"{group}: "), *cells])
    simple = [row_of(variant) for variant in results.counted]
    return [*rows, [SIMPLE], *simple] if simple else rows


def overview(results: Results) -> Table:
    """Return the mean of every metric, a row per variant."""
    metrics = results.metrics

    def row_of(variant: Variant) -> list[str]:
        means = (text.mean_and_spread(variant.test.get(metric)) for metric in metrics)
        return [variant.name, *means]

    rows = grouped(results, row_of)
    if results.ceiling:
        best = (text.decimals(results.ceiling_of(metric)) for metric in metrics)
        rows.append([results.ceiling.name, *best])
    return Table(
        "Means over the test users (± standard deviation over seeds)", ["", *metrics], rows
    )


def of_metric(results: Results, metric: str) -> Table:
    """Return all results of one metric, a row per variant."""
    head = ["", "test", "each seed", "validation", "difference", "95 % interval", "relative", "p"]
    head += ["p (Holm)", "users only: 95 % interval", "users only: p of ranks"]
    head += ["wins / ties / losses", "users", "effect size", "detectable (power 80 %)"]
    head += ["bootstrap: 95 % interval"]
    has_ceiling = results.ceiling is not None and metric in results.ceiling.test
    head += ["below the best", "fraction of gap closed"] if has_ceiling else []

    def row_of(variant: Variant) -> list[str]:
        row = _metric_row(variant, metric)
        return row + _gap_cells(results, variant, metric) if has_ceiling else row

    return Table(metric, head, grouped(results, row_of))


def _metric_row(variant: Variant, metric: str) -> list[str]:
    test = variant.test.get(metric)
    return [
        variant.name,
        text.mean_and_spread(test),
        ", ".join(text.decimals(value) for value in test.per_seed) if test else text.UNKNOWN,
        text.mean_and_spread(variant.valid.get(metric)),
        *_difference_cells(variant.difference_in(metric)),
    ]


def _gap_cells(results: Results, variant: Variant, metric: str) -> list[str]:
    """Return how much a variant is below the best, and its fraction of the gap closed.

    The gap is between the baseline and the best that any model could reach.
    """
    best = results.ceiling_of(metric)
    own, base = (
        each.test[metric].mean if metric in each.test else math.nan
        for each in (variant, results.baseline_of(variant))
    )
    return [text.decimals(best - own), text.percent(_ratio(own - base, best - base), sign=True)]


def _difference_cells(difference: MetricDifference | None) -> list[str]:
    if difference is None:
        return [""] * 12
    counts = (difference.wins, difference.ties, difference.losses)
    return [
        text.signed(difference.mean),
        text.span((difference.low, difference.high)),
        text.percent(difference.relative, sign=True),
        text.p_value(difference.p),
        text.p_value(difference.p_holm),
        text.span((difference.low_users, difference.high_users)),
        text.p_value(difference.p_wilcoxon),
        " / ".join(map(text.count, counts)),
        text.count(difference.n),
        text.signed(difference.effect),
        text.decimals(difference.detectable),
        text.span((difference.low_bootstrap, difference.high_bootstrap)),
    ]


def beyond_accuracy(results: Results) -> Table | None:
    """Return the measures of the lists, a row per variant; None if no variant has them."""
    names = list(dict.fromkeys(name for variant in results.variants for name in variant.lists))
    if not names:
        return None

    def row_of(variant: Variant) -> list[str]:
        return [variant.name, *(text.mean_and_spread(variant.lists.get(name)) for name in names)]

    k = results.selection.metric.rpartition("@")[2]
    return Table(
        f"Beyond accuracy: the top-{k} lists of the test users (± standard deviation over seeds)",
        ["", *(name.replace("_", " ") for name in names)],
        grouped(results, row_of),
    )


def regret(results: Results) -> Table | None:
    """Return the regret of each variant; None if the data are not simulated."""
    regrets = {variant.name: variant.regret for variant in results.variants if variant.regret}
    if not regrets:
        return None
    metrics = list(dict.fromkeys(metric for regret in regrets.values() for metric in regret))
    rows = [
        [name, *(text.decimals(regret.get(metric, math.nan)) for metric in metrics)]
        for name, regret in regrets.items()
    ]
    return Table(
        "Regret against the truth of the simulator (lower is better)", ["", *metrics], rows
    )


def cost(results: Results) -> Table:
    """Return time and memory of the trainings, a row per variant."""

    def row_of(variant: Variant) -> list[str]:
        if not variant.runs:  # lists, of which nothing is known
            return [variant.name, *[""] * 8]
        trained = variant.kind == "trained"
        base = results.baseline_of(variant).seconds_per_epoch
        share = f"{text.decimals(_ratio(variant.seconds_per_epoch, base), 2)} ×"
        return [
            variant.name,
            str(len(variant.runs)),
            text.decimals(variant.seconds_per_epoch, 2),
            share if trained else "",
            *(", ".join(cells) if trained else "" for cells in _epochs(variant)),
            text.decimals(sum(run.seconds for run in variant.runs), 1),
            text.decimals(variant.peak_memory_mib, 0),
        ]

    head = ["", "runs", "seconds per epoch", "of the baseline's", "best epoch", "epochs run"]
    head += ["levelled off", "seconds in all", "peak memory (MiB)"]
    return Table(
        "Cost of training (times and memory are means over the runs; of a simple baseline, one "
        "count and all that was tried)",
        head,
        grouped(results, row_of),
    )


def _epochs(variant: Variant) -> list[list[str]]:
    """Return for each run the best epoch, the number of epochs, and whether it levelled off."""
    return [
        [text.count(run.best_epoch) for run in variant.runs],
        [text.count(run.epochs) for run in variant.runs],
        ["yes" if run.levelled_off else "no" for run in variant.runs],
    ]


def tuning(results: Results) -> Table | None:
    """Return the budget and the winner of each search, a row per variant; None without searches."""
    if not results.tuning:
        return None

    def row_of(variant: Variant) -> list[str]:
        found = variant.tuned
        if found is None:
            return [variant.name, *[""] * 6, text.setting(variant.target)]
        numbers = (found.trials, found.complete, found.pruned, found.failed, found.epochs)
        settings = {name: text.short(value) for name, value in found.settings.items()}
        return [
            variant.name,
            *map(text.count, numbers),
            text.decimals(found.seconds, 1),
            f"{text.setting(settings)} (trial {found.best}: {text.decimals(found.valid)})",
        ]

    head = ["", "trials", "to their end", "pruned", "failed", "epochs in all", "seconds in all"]
    head += [f"best settings ({results.selection.metric} on validation)"]
    return Table("Search of settings", head, grouped(results, row_of))


def targets(results: Results) -> Table:
    """Return the settings of each variant's target."""
    several = len(results.groups) > 1
    losses = len({str(variant.loss) for variant in results.trained}) > 1
    windows = len({variant.windows for variant in results.trained}) > 1

    def row_of(variant: Variant) -> list[str]:
        weight = text.percent(variant.soft_weight) if variant.kind == "trained" else ""
        row = [variant.name, text.setting(variant.target), weight]
        row += [text.setting(variant.loss)] if losses else []
        row += [variant.windows] if windows else []
        return [*row, text.setting(variant.model)] if several else row

    head = [
        "",
        "target",
        "soft mass",
        *["loss"] * losses,
        *["windows"] * windows,
        *["model"] * several,
    ]
    return Table("The target of each variant", head, grouped(results, row_of))


def versions(found: Mapping[str, str]) -> Table:
    """Return the versions that the numbers depend on."""
    return Table("Versions", ["package", "version"], [[*each] for each in found.items()])


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else math.nan
