"""The rows and trainings of a reproduction as lines for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from softrec.experiments.reproduction.plan import Group, by_cost, where
from softrec.experiments.views import asked


def row_lines(groups: Sequence[Group]) -> list[str]:
    """Return a line for each row of the tables: its recipe, or why it has none."""
    head = ["table", "data set", "row", "setting", "recipe, or why there is none"]
    return _columns(
        head,
        [
            [
                cell.table,
                cell.names["dataset"],
                cell.row,
                cell.names["setting"],
                cell.reason or " ".join([cell.source, *map(_changed, cell.changes.items())]),
            ]
            for group in groups
            for cell in group.cells
        ],
    )


def _changed(change: tuple[str, object]) -> str:
    return f"{change[0]}={change[1]}"


def job_lines(groups: Sequence[Group], data_dir: Path | None) -> list[str]:
    """Return a line for each training, in the order in which they are run."""
    rows: list[list[str]] = []
    jobs = by_cost(groups)
    for number, job in enumerate(jobs, 1):
        minutes = "not known" if math.isnan(job.minutes) else f"{job.minutes:,.1f}"
        place = where(job.recipe, data_dir)
        rows.append([str(number), minutes, place, str(job.recipe.seed), job.name,
                     asked(job.recipe)])  # fmt: skip
    known = [job.minutes for job in jobs if not math.isnan(job.minutes)]
    total = f"all of them: at most {sum(known):,.0f} minutes"
    if len(known) < len(jobs):
        total += (
            f", and {len(jobs) - len(known):,} of a cost that is not known before a file is read"
        )
    head = ["", "minutes, at most", "data", "seed", "for", "what"]
    return [*_columns(head, rows), total]


def _columns(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Return lines with the columns below each other."""
    table = [head, *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
