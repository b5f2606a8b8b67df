"""The table over all logs: `python -m benchmarks.pages_summary PAGE FOLDER...`.

Each FOLDER is the comparison of a log. The text around the table is written by hand and kept.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from softrec.experiments.comparison import open_comparison
from softrec.files import write_text
from softrec.report import markdown, slices, text
from softrec.report.numbers import MetricDifference
from softrec.report.results import Results
from softrec.report.rows import best
from softrec.report.tables import Table

PLACE = "<!-- generated: all logs -->", "<!-- end -->"
HEAD = [
    "log", "metric", "best simple baseline", "one-hot", "best soft target", "soft - one-hot",
    "simple - best trained", "seeds",
]  # fmt: skip


def compared_row(name: str, results: Results) -> list[str]:
    """Return the row of a log; what is best is chosen on validation."""
    metric = results.selection.metric
    simple, base = best(results, results.counted), results.baseline_variant
    soft = best(results, [row for row in results.trained if row.baseline and row.soft_weight > 0])
    return [
        name,
        metric,
        f"{simple.name} {text.mean_and_spread(simple.test[metric])}",
        text.mean_and_spread(base.test[metric]),
        f"{soft.name} {text.mean_and_spread(soft.test[metric])}",
        _told(soft.difference_in(metric)),
        _told(results.simple.difference if results.simple else None),
        str(len(base.runs)),
    ]


def _told(difference: MetricDifference | None) -> str:
    return "" if difference is None else slices.told(difference.mean, difference)


def table(folders: Sequence[Path]) -> str:
    """Return the table, a row for each folder, which is named LOG/runs/NAME."""
    rows = [
        compared_row(folder.parent.parent.name, open_comparison(folder).results)
        for folder in folders
    ]
    return markdown.table(Table("", HEAD, rows), {row[0]: f"{row[0]}.md" for row in rows})


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="a Markdown file that has the place of the table")
    parser.add_argument("folders", type=Path, nargs="+", help="LOG/runs/COMPARISON")
    given = parser.parse_args(arguments)
    before, after = re.split(
        rf"(?<={PLACE[0]}).*?(?={PLACE[1]})", given.page.read_text("utf-8"), flags=re.DOTALL
    )
    write_text(given.page, f"{before}\n\n{table(given.folders)}\n\n{after}")


if __name__ == "__main__":
    main()
