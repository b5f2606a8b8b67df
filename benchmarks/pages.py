"""Makes a page on one log from a comparison: `python -m benchmarks.pages COMPARISON PAGE`.

The text between the marks of `WRITTEN` is written by hand and kept when the page is made again.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from softrec.experiments.comparison import Comparison, open_comparison
from softrec.files import write_text
from softrec.report import markdown, rows, slices, tables, text
from softrec.report.advice import advice
from softrec.report.results import Results, Variant
from softrec.report.tables import Table
from softrec.report.verdict import LEVEL, MARK, certainty, headline, marked, verdicts

WRITTEN = "<!-- written by hand -->", "<!-- end -->"
NOTHING = "Nothing is written here yet."
SHARED = ("windows", "length", "epochs", "batch_size", "lr", "patience", "weight_decay")


def page(
    results: Results,
    *,
    trials: Iterable[dict[str, Any]] = (),
    commands: Sequence[str] = (),
    machine: str = "",
    written: str = "",
) -> str:
    """Return the page of a comparison as Markdown.

    Args:
        results: of the comparison.
        trials: earlier trials on validation: {"row": ..., "settings": ..., "valid": ...}.
        commands: the commands before the comparison.
        machine: a sentence about it.
        written: the paragraph that is written by hand.
    """
    metric = results.selection.metric
    counts = {e.slice: e.n for e in results.slices if e.slicing == "label count"}
    return document(
        results.data["name"],
        f"{_best(results)} {advice(results).text}",
        written,
        "## Data",
        data_table(results.data, results.evaluation, counts),
        *(note for note in results.notes if "left out" in note),
        "## Rows",
        f"{headline(verdicts(results), results)} {certainty(results)}",
        f"Differences are to {results.baseline}, in {metric} on test; ± is over the seeds. "
        f"{MARK} marks a Holm-adjusted p below {LEVEL}.",
        markdown.table(_rows(results)),
        *_tuning(metric, list(trials)),
        "## Slices",
        f"{metric} of {results.baseline} in slices of the test cases, and the differences to it. "
        f"{MARK} marks a Holm-adjusted p below {LEVEL}, over all slices and rows.",
        markdown.table(_slices(results)),
        "## Lists",
        *_table(tables.beyond_accuracy(results)),
        "## Cost",
        *_table(tables.cost(results)),
        "## How it was run",
        commands_text([*commands, quoted(results.command)]),
        _settings(results),
        machine,
        f"{results.created[:10]}; {versions_text(results.versions)}",
    )


def document(title: str, first: str, written: str, *parts: str) -> str:
    """Return a page: its first sentences, the part written by hand, and the rest."""
    kept = "\n".join((WRITTEN[0], written or NOTHING, WRITTEN[1]))
    told = (f"# {title}", first.strip(), kept, *parts)
    return "\n\n".join(part for part in told if part) + "\n"


def commands_text(commands: Iterable[str]) -> str:
    """Return commands as a block."""
    return "\n".join(f"    {line}" for line in commands)


def quoted(command: str) -> str:
    """Return a command as a shell reads it; results keep its arguments as they came."""
    plain = "(" in command and not set(command) & set("'\"")
    return shlex.join(command.split()) if plain and command.startswith("softrec ") else command


def versions_text(versions: Mapping[str, str]) -> str:
    """Return the versions in a sentence."""
    return ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def _best(results: Results) -> str:
    """Return the test metrics of the best row, which is chosen on validation."""
    best = rows.best(results, results.variants)
    numbers = ", ".join(
        f"{name} **{text.mean_and_spread(best.test[name])}**" for name in results.metrics
    )
    kind = "a simple baseline" if best.kind == "counted" else f"{_model(results)}, trained"
    return f"Best on validation: {best.name} ({kind}), on test {numbers}."


def _model(results: Results) -> str:
    return str(results.model.get("name", "the model"))


def data_table(data: Mapping[str, Any], asked: Mapping[str, Any], counts: Mapping[str, int]) -> str:
    """Return a table of the facts about a log, its split and its test cases.

    Args:
        data: of the results of a comparison.
        asked: what was ranked, as in the results.
        counts: test cases by label count.
    """
    protocol = [f"{name} {text.setting(value)}" for name, value in data["protocol"].items()]
    parts = ("train", "valid", "test")
    rows = [
        ["users", text.count(data["users"])],
        ["items", text.count(data["items"])],
        ["split", ", ".join([data["split"], *protocol])],
        ["training, validation, test events", ", ".join(text.count(data[p]) for p in parts)],
        ["test cases", text.count(asked["test"]["cases"])],
        ["seen items", "left out" if asked["mask_seen"] else "ranked, too"],
    ]
    if counts:
        share = text.percent(counts.get("0", 0) / sum(counts.values()))
        rows.append(["test cases whose label never is a label in training", share])
    return markdown.table(Table("", ["fact", "value"], rows))


def _rows(results: Results) -> Table:
    """Return all rows, the simple baselines under a heading."""
    chosen = results.selection.metric
    head = [
        "row",
        *results.metrics,
        f"{chosen}, validation",
        "difference",
        "95 % interval",
        "seeds",
    ]

    def row(variant: Variant) -> list[str]:
        difference = variant.difference_in(chosen)
        told = ["", ""]
        if difference:
            value = marked(text.signed(difference.mean), difference.p_holm)
            told = [value, text.span(difference.interval)]
        seeds = str(len(variant.runs)) if variant.kind == "trained" else ""
        means = (text.mean_and_spread(variant.test.get(name)) for name in results.metrics)
        valid = text.mean_and_spread(variant.valid.get(chosen))
        return [variant.name, *means, valid, *told, seeds]

    return Table("", head, tables.grouped(results, row))


def _tuning(metric: str, trials: list[dict[str, Any]]) -> list[str]:
    if not trials:
        return []
    rows = [[t["row"], t["settings"], text.decimals(t["valid"])] for t in trials]
    names = list(dict.fromkeys(t["row"] for t in trials))
    counts = {sum(t["row"] == name for t in trials) for name in names}
    number = counts.pop() if len(counts) == 1 else 0
    budget = f"{number} trial{'s' * (number > 1)}" if number else "as many trials as are listed"
    return [
        "## Tuning",
        f"Each row had {budget}, one seed, chosen by {metric} on validation. The soft targets "
        "share the settings chosen for one-hot.",
        markdown.table(Table("", ["row", "tried", f"{metric}, validation"], rows)),
    ]


def _slices(results: Results) -> Table:
    """Return one-hot, every soft row and the best simple baseline, slice by slice."""
    compared = [each for each in results.trained if each.baseline]
    best = results.simple.counted if results.simple else None
    names = [*(each.name for each in compared), *([best] if best else [])]
    found = [
        [f"{slicing}: {name}", *cells]
        for slicing in slices.slicings(results)
        for name, *cells in slices.rows_of(results, slicing, results.baseline, names)
    ]
    return Table("", ["slice", "cases", results.baseline, *names], found)


def _settings(results: Results) -> str:
    """Return model and budget in a sentence."""
    told = {**results.model, **{k: v for k, v in results.budget.items() if k in SHARED}}
    return "; ".join(f"{name} {value}" for name, value in text.settings(told)) + "."


def _table(table: Table | None) -> list[str]:
    return [] if table is None else [f"{table.caption}.", markdown.table(table)]


def written_in(path: Path) -> str:
    """Return the paragraph of a page that is written by hand, if there is one."""
    page = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.search(rf"{WRITTEN[0]}\n(.*?)\n?{WRITTEN[1]}", page, re.DOTALL)
    return found[1] if found else ""


def trials_of(path: Path) -> list[dict[str, Any]]:
    """Return the trials of a file, a JSON object a line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparison", type=Path, help="the folder that softrec compare wrote")
    parser.add_argument("page", type=Path, help="the Markdown file to write")
    parser.add_argument("--trials", type=Path, help="JSON lines with row, settings and valid")
    parser.add_argument("--commands", type=Path, help="what was typed before, a command a line")
    parser.add_argument("--machine", default="", help="a sentence about the machine")
    given = parser.parse_args(arguments)
    comparison: Comparison = open_comparison(given.comparison)
    trials = trials_of(given.trials) if given.trials else []
    commands = given.commands.read_text("utf-8").splitlines() if given.commands else []
    written = written_in(given.page)
    made = page(
        comparison.results, trials=trials, commands=commands, machine=given.machine, written=written
    )
    write_text(given.page, made)


if __name__ == "__main__":
    main()
