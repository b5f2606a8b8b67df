"""From finished runs to the results of a reproduction."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from softrec.experiments.reproduction.cells import Cell
from softrec.experiments.reproduction.papers import Paper
from softrec.experiments.reproduction.plan import Group, Job
from softrec.experiments.runs import Run
from softrec.experiments.train import versions
from softrec.report.numbers import SeedMean
from softrec.report.reproduction import Beside, Block, Measured, Reproduction, Row

Runs = Mapping[str, Run]
Reasons = Mapping[str, str]
WAITING = "its turn has not come"


def results_of(
    about: Paper, groups: Sequence[Group], runs: Runs, reasons: Reasons, command: str
) -> Reproduction:
    """Return the results so far.

    Args:
        about: the paper.
        groups: the cells and jobs.
        runs: the finished runs, by their folder.
        reasons: why other jobs were not run, by their folder.
        command: the command.
    """
    wanted = [job.folder for group in groups for job in group.all_jobs]
    return Reproduction(
        paper=about.name,
        citation=about.citation,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        complete=all(folder in runs for folder in wanted),
        versions=versions(),
        blocks=tuple(_block(group, runs, reasons) for group in groups),
    )


def _block(group: Group, runs: Runs, reasons: Reasons) -> Block:
    rows = [
        _row(cell, jobs, runs, reasons) for cell, jobs in zip(group.cells, group.jobs, strict=True)
    ]
    base = next((cell.recipe for cell in group.cells if cell.recipe is not None), None)
    protocol = ""
    if base is not None:
        ranked = base.evaluation.negatives
        among = "all items" if ranked is None else f"{ranked:,} sampled items"
        protocol = f"windows {base.training.windows}; ranked among {among}"
    return Block(
        table=group.table,
        dataset=group.dataset,
        source=base.data.title if base else "",
        protocol=protocol,
        rows=tuple(_with_gains(rows, group.cells)),
        beside=_best_of_each(
            _beside(name, job, runs, reasons) for name, job in group.beside.items()
        ),
    )


def _row(cell: Cell, jobs: Sequence[Job], runs: Runs, reasons: Reasons) -> Row:
    own = [runs[job.folder] for job in jobs if job.folder in runs]
    why = cell.reason
    if not own and not why:
        why = next((reasons[job.folder] for job in jobs if job.folder in reasons), WAITING)
    return Row(
        name=cell.row,
        backbone=cell.names["backbone"],
        method=cell.names["method"],
        setting=cell.names["setting"],
        command=_command(cell),
        reason="" if own else why,
        stand_in=cell.stand_in,
        note=cell.notes.get("", ""),
        supposed=cell.supposed,
        found=cell.found,
        seeds=tuple(run.recipe.seed for run in own),
        epochs=tuple((run.facts["best_epoch"], run.facts["epochs"]) for run in own),
        minutes=sum(run.facts["seconds"] for run in own) / 60 if own else math.nan,
        estimate=jobs[0].minutes if jobs else math.nan,
        measured=tuple(
            Measured(
                metric=metric,
                published=published,
                here=_mean(own, metric),
                note=cell.notes.get(metric, ""),
            )
            for metric, published in cell.published.items()
        ),
    )


def _mean(runs: Sequence[Run], metric: str) -> SeedMean | None:
    values = tuple(run.test[metric] for run in runs)
    return SeedMean(mean=sum(values) / len(values), per_seed=values) if values else None


def _command(cell: Cell) -> str:
    """Return the command for the training of a single cell."""
    if cell.recipe is None:
        return ""
    name = cell.source.removesuffix(".yaml")
    parts = [
        f"--set {shlex.quote(f'{place}={_typed(value)}')}" for place, value in _flat(cell.changes)
    ]
    return " ".join(["softrec fit", f"{name}.yaml", *parts, "--out DIR"])


def _flat(changes: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for place, value in changes.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{above}{place}.")
        else:
            found.append((f"{above}{place}", value))
    return found


def _typed(value: Any) -> str:
    """Return a value as it is typed in a shell: a text as it is, others as in YAML."""
    return value if isinstance(value, str) else json.dumps(value)


def _with_gains(rows: Sequence[Row], cells: Sequence[Cell]) -> list[Row]:
    """Return the rows with the gains over the baseline of the same backbone and setting."""
    bases = {
        (row.backbone, row.setting): row
        for cell, row in zip(cells, rows, strict=True)
        if cell.baseline and row.method == cell.baseline
    }
    return [
        row
        if row.method == cell.baseline
        else row.model_copy(
            update={
                "measured": tuple(
                    _gained(each, cell.base, bases.get((row.backbone, row.setting)))
                    for each in row.measured
                )
            }
        )
        for cell, row in zip(cells, rows, strict=True)
    ]


def _gained(measured: Measured, published: Mapping[str, float], base: Row | None) -> Measured:
    """Return a number with its gains.

    Args:
        measured: the number.
        published: the published values of the baseline.
        base: the row of the baseline, if it is in the table.
    """
    others = () if base is None else base.measured
    other = next((each.here for each in others if each.metric == measured.metric), None)
    here = math.nan
    if measured.here is not None and other is not None:
        here = _relative(measured.here.mean, other.mean)
    of_paper = _relative(measured.published, published.get(measured.metric, math.nan))
    return measured.model_copy(update={"gain_published": of_paper, "gain_here": here})


def _relative(value: float, base: float) -> float:
    return value / base - 1 if base > 0 else math.nan


def _beside(name: str, job: Job, runs: Runs, reasons: Reasons) -> Beside:
    run = runs.get(job.folder)
    kind = "defaults" if job.kind == "defaults" else "simple"
    if run is None:
        return Beside(name=name, kind=kind, reason=reasons.get(job.folder, WAITING))
    return Beside(
        name=name,
        kind=kind,
        test={metric: SeedMean(mean=v, per_seed=(v,)) for metric, v in run.test.items()},
        valid=run.valid[run.recipe.training.monitor],
    )


def _best_of_each(found: Any) -> tuple[Beside, ...]:
    """Return the entries, with the best of each kind on validation marked."""
    rows = list(found)
    best = {
        kind: max(
            (row for row in rows if row.kind == kind and row.test),
            key=lambda row: row.valid,
            default=None,
        )
        for kind in ("simple", "defaults")
    }
    return tuple(row.model_copy(update={"chosen": row is best[row.kind]}) for row in rows)
