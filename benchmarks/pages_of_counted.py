"""Makes a page on a log for which only simple baselines were counted.

`python -m benchmarks.pages_of_counted RUNS PAGE`: RUNS is a folder with a run of each simple
baseline, as `softrec fit LOG --model NAME` writes them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.pages import (
    commands_text,
    data_table,
    document,
    versions_text,
    written_in,
)
from softrec.evaluation.asked import Asked
from softrec.evaluation.by_slice import differences_by_slice
from softrec.evaluation.significance import holm, paired
from softrec.evaluation.slices import slices_of
from softrec.experiments.baselines import NAMES
from softrec.experiments.runs import Run, open_run
from softrec.files import write_text
from softrec.report import markdown, text
from softrec.report.tables import Table
from softrec.report.verdict import LEVEL, MARK, marked


def page(runs: Mapping[str, Run], *, windows: str = "positions", written: str = "") -> str:
    """Return the page of simple baselines as Markdown.

    Args:
        runs: of the same log, the best on validation first.
        windows: which events count as labels: "interactions" for all, else all but the first.
        written: the paragraph that is written by hand.
    """
    name, best = next(iter(runs.items()))
    metric, facts = best.recipe.training.monitor, best.facts
    table = sliced(runs, windows)
    own = table.filter(pl.col("variant") == name)
    counts = own.filter(pl.col("slicing") == "label count").select("slice", "n").rows()
    numbers = ", ".join(f"{each} **{text.decimals(best.test[each])}**" for each in best.test)
    return document(
        best.recipe.data.source,
        f"Best on validation: {name}, on test {numbers}. Simple baselines only: the trained rows "
        "were not run on this log, so nothing is said of soft targets.",
        written,
        "## Data",
        data_table(facts["data"], facts["evaluation"], dict(counts)),
        "## Rows",
        f"Settings are chosen on validation. Differences are to {name}, in {metric} on test, with "
        f"95 % intervals over the users. {MARK} marks a Holm-adjusted p below {LEVEL}.",
        markdown.table(_rows(runs)),
        "## Slices",
        f"{metric} of {name} in slices of the test cases, and the differences to it with 95 % "
        "intervals over the users.",
        markdown.table(_slices(table, list(runs))),
        "## How it was run",
        commands_text(_command(each, run) for each, run in runs.items()),
        f"{date.today().isoformat()}; {versions_text(facts['versions'])}",
    )


def sliced(runs: Mapping[str, Run], windows: str) -> pl.DataFrame:
    """Return the table of `differences_by_slice` of counted runs."""
    first = next(iter(runs.values()))
    split = first.split()
    cases = Asked.of(split, first.mask_seen).test
    labels = split.train.item_counts if windows == "interactions" else None
    metric = first.recipe.training.monitor
    values = {name: _values(run, metric)[None] for name, run in runs.items()}
    slices = slices_of(cases, split.train, labels=labels)
    return differences_by_slice(slices, values, deterministic=list(runs))


def _values(run: Run, metric: str) -> np.ndarray:
    return run.per_user[metric].to_numpy()


def _rows(runs: Mapping[str, Run]) -> Table:
    name, best = next(iter(runs.items()))
    metric = best.recipe.training.monitor
    others = [each for each in runs if each != name]
    found = [paired(_values(best, metric), _values(runs[each], metric)) for each in others]
    adjusted = dict(zip(others, holm([each.p for each in found]), strict=True)) if others else {}
    by_name = dict(zip(others, found, strict=True))
    rows: list[list[str]] = []
    for each, run in runs.items():
        told = ["", ""]
        if each in by_name:
            d = by_name[each]
            told = [marked(text.signed(d.mean), adjusted[each]), text.span((d.low, d.high))]
        settings = text.setting(run.facts["settings"])
        means = (text.decimals(run.test[m]) for m in best.test)
        valid = text.decimals(run.valid[metric])
        rows.append([each, settings, *means, valid, *told, text.decimals(run.facts["seconds"], 1)])
    head = ["row", "chosen", *best.test, f"{metric}, validation", "difference", "95 % interval"]
    return Table("", [*head, "seconds in all"], rows)


def _slices(table: pl.DataFrame, names: Sequence[str]) -> Table:
    cells = {(row["slicing"], row["slice"], row["variant"]): row for row in table.to_dicts()}
    rows: list[list[str]] = []
    for slicing, place, variant in cells:
        if variant != names[0]:
            continue
        own = cells[slicing, place, variant]
        others = (_cell(cells[slicing, place, name]) for name in names[1:])
        start = [f"{slicing}: {place}", text.count(own["n"]), text.decimals(own["mean"])]
        rows.append([*start, *others])
    return Table("", ["slice", "cases", *names], rows)


def _cell(row: Mapping[str, Any]) -> str:
    told, low = text.signed(row["difference"]), row["low_users"]
    return told if low is None else f"{told} ({text.span((low, row['high_users']))})"


def _command(name: str, run: Run) -> str:
    training = run.recipe.training
    metrics = ",".join(run.test)
    return (
        f"softrec fit {run.recipe.data.source} --model {name} --length {training.length} "
        f"--monitor {training.monitor} --metrics {metrics} --out runs/{name}"
    )


def best_first(folder: Path) -> dict[str, Run]:
    """Return the runs of a folder by model, the best on validation first."""
    runs = {name: open_run(folder / name) for name in NAMES if (folder / name).exists()}
    metric = next(iter(runs.values())).recipe.training.monitor
    return dict(sorted(runs.items(), key=lambda item: -item[1].valid[metric]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, help="a folder with a run of each simple baseline")
    parser.add_argument("page", type=Path, help="the Markdown file to write")
    parser.add_argument("--windows", default="positions", help="of the training, for label counts")
    given = parser.parse_args(arguments)
    made = page(best_first(given.runs), windows=given.windows, written=written_in(given.page))
    write_text(given.page, made)


if __name__ == "__main__":
    main()
