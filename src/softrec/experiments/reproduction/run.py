"""Runs the trainings of a paper's tables, the cheapest first, and writes a table of the results.

    OUT/
      reproduction.json   the results; .csv, .parquet, .md and .html say the same
      runs/               a run folder for each training
      softrec.json        the marker file of softrec

Finished runs are kept, so that the same command can be run again after a kill, or with a larger
budget. An interrupted training is resumed from its last checkpoint. The table is written after each
run.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from time import monotonic

from softrec.data.splits import Split
from softrec.errors import RunError, SoftrecError, one_line
from softrec.experiments.build.data import load_logged
from softrec.experiments.executors import Task, executor
from softrec.experiments.reproduction import share
from softrec.experiments.reproduction.cells import cells_of, training_of
from softrec.experiments.reproduction.cost import minutes
from softrec.experiments.reproduction.papers import Paper, read_paper
from softrec.experiments.reproduction.plan import (
    Group,
    Job,
    by_cost,
    groups,
    selected,
    with_finished,
)
from softrec.experiments.reproduction.results import results_of
from softrec.experiments.runs import Run
from softrec.experiments.stages import kept_run
from softrec.experiments.store.folders import (
    MARK,
    RUN,
    Kind,
    checked_output,
    held,
    is_marked,
)
from softrec.experiments.train import fit_recipe
from softrec.extras import require_report
from softrec.files import write_facts
from softrec.recipe.recipe import Recipe
from softrec.report.reproduction import Reproduction

REPRODUCTION = Kind("reproduction", "reproduce", "softrec.json", "reproduction.json",
                    frozenset({"paper", "blocks"}), "another reproduction", str)  # fmt: skip

LOGGER = logging.getLogger(__name__)


def planned(
    paper: str,
    *,
    table: str | None = None,
    row: str | None = None,
    seeds: int = 1,
    baselines: bool = True,
    defaults: bool = True,
) -> list[Group]:
    """Return the jobs that `reproduce_paper` runs with the same arguments."""
    cells = selected(cells_of(paper), table, row)
    return groups(cells, range(seeds), baselines=baselines, defaults=defaults)


def reproduce_paper(
    paper: str,
    out: str | Path,
    *,
    table: str | None = None,
    row: str | None = None,
    budget: float | None = None,
    seeds: int = 1,
    baselines: bool = True,
    defaults: bool = True,
    train: bool = True,
    data_dir: Path | None = None,
    command: str = "",
    on: str = "here",
    cpus_per_run: int | None = None,
) -> Reproduction:
    """Run the trainings of a paper's rows, the cheapest first, and write a table in `out`.

    Args:
        paper: softrec, desorec, timirec or bsl, or a file of your own; see `papers`.
        out: the folder of the results; an unfinished one is continued.
        table: the name of a table, or a part of it; by default all.
        row: printed names of data set, backbone, method or setting, separated by commas. Finished
            rows of `out` stay in the table.
        budget: minutes; a training is only started if its estimate fits into the rest.
        seeds: how many times each row is trained, each time with another seed.
        baselines: add the simple baselines to each block.
        defaults: add models with today's defaults to each block.
        train: train rows that are not finished; if False, only simple baselines are counted.
        data_dir: a folder with public data sets.
        command: the command, for the table.
        on: "here", or "ray"; see `executors`.
        cpus_per_run: of each training on Ray.

    Raises:
        RecipeError: if there is no such paper, table or row.
        RunError: if `out` is another folder, or another process is writing there.
    """
    cells = cells_of(paper)
    everything, wanted = (
        groups(some, range(seeds), baselines=baselines, defaults=defaults)
        for some in (cells, selected(cells, table, row))
    )
    require_report()
    out = checked_output(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with executor(on, cpus_per_run, out) as where, held(out):
        _begin(out)
        stages = share.stages_of(
            cell.recipe.model_copy(update={"seed": seed})
            for cell in cells
            for seed in range(seeds)
            if cell.recipe is not None
        )
        shown = with_finished(
            wanted, everything, lambda job: (out / "runs" / job.folder / RUN.result).exists()
        )
        bench = _Bench(read_paper(paper), out, shown, command, data_dir, stages)
        jobs = by_cost(wanted)
        bench.find(by_cost(shown))
        bench.write()
        with closing(where.outcomes(bench.tasks(jobs, budget, train=train))) as outcomes:
            for task, outcome in outcomes:
                bench.note(task.arguments[0], outcome)
                bench.write()
        bench.write()
        return bench.results()


def _begin(out: Path) -> None:
    """Make the folder, or refuse one that softrec did not make."""
    if out.exists() and not is_marked(out, REPRODUCTION):
        raise RunError(
            f"{out} exists and is no folder of a reproduction; choose another --out, or move it "
            "away"
        )
    out.mkdir(exist_ok=True)
    (out / "runs").mkdir(exist_ok=True)
    if not (out / MARK).exists():
        facts = {"made_by": "softrec", "version": version("softrec"), "kind": REPRODUCTION.name}
        write_facts(out / MARK, facts)


@dataclass
class _Bench:
    """The state of a reproduction: finished runs, failures, and the data of the last job."""

    about: Paper
    out: Path
    shown: Sequence[Group]
    command: str
    data_dir: Path | None
    stages: Mapping[str, Recipe]
    runs: dict[str, Run] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    _open: tuple[str, Split] | None = None
    _missing: dict[str, str] = field(default_factory=dict)

    def results(self) -> Reproduction:
        """Return the results so far."""
        return results_of(self.about, self.shown, self.runs, self.reasons, self.command)

    def write(self) -> None:
        """Write the results so far."""
        from softrec.report.reproduction_tables import write_all  # by a package of an extra

        write_all(self.results(), self.out)

    def find(self, jobs: Sequence[Job]) -> None:
        """Look for finished runs.

        Raises:
            RunError: if one is of a log in a file that has other events now.
        """
        for job in jobs:
            run = kept_run(self.out / "runs" / job.folder)
            if run is not None:
                if Path(job.recipe.data.source).exists():  # others have checksums, or are made
                    run.check_data(self._split(job.recipe))
                self.runs[job.folder] = run

    def tasks(self, jobs: Sequence[Job], budget: float | None, *, train: bool) -> Iterator[Task]:
        """Yield a task for each job that is not finished, if its estimate fits into the budget.

        The reason why a job is not done is stored.

        Args:
            jobs: in the order in which they begin.
            budget: minutes, from now.
            train: whether only simple baselines are counted.
        """
        start = monotonic()
        for number, job in enumerate(jobs, 1):
            if job.folder in self.runs:
                continue
            left = math.inf if budget is None else budget - (monotonic() - start) / 60
            reason = self._obstacle(job, left, train=train)
            if reason is None:
                LOGGER.info(
                    "%d of %d: %s, seed %d", number, len(jobs), job.name, job.recipe.seed
                )  # fmt: skip
                try:
                    split = self._split(job.recipe)
                except SoftrecError as error:
                    reason = str(error)
                else:
                    # A run of another row, perhaps with fewer metrics.
                    stage = self.stages.get(training_of(job.recipe))
                    arguments = job, self.out / "runs" / job.folder, stage
                    yield Task(job.name, job.recipe, trained, split, arguments)
                    continue
                LOGGER.info("%s: not run: %s", job.name, reason)
            self.reasons[job.folder] = reason
            self.write()

    def _obstacle(self, job: Job, left: float, *, train: bool) -> str | None:
        """Return why a job does not begin, with so many minutes left; None if it does."""
        if not train and job.kind != "simple":
            return "not trained, as was asked for"
        if left <= 0:
            return "the budget was used up"
        if left == math.inf:
            return None
        try:  # the size of a file is known once it is read
            split = self._split(job.recipe) if math.isnan(job.minutes) else None
        except SoftrecError as error:
            return str(error)
        cost = minutes(job.recipe, self._done(), split)
        if cost > left:
            return f"it may take {_minutes(cost)}, and {_minutes(left)} of the budget were left"
        return None

    def note(self, job: Job, outcome: Future[Run]) -> None:
        """Store the run of a job, or why it failed: that must not stop the other jobs."""
        error = outcome.exception()
        if error is None:
            self.runs[job.folder] = outcome.result()
            self.reasons.pop(job.folder, None)
            return
        reason = str(error)
        if not isinstance(error, SoftrecError):
            LOGGER.error("%s failed", job.name, exc_info=error)
            reason = f"failed: {type(error).__name__}: {one_line(reason, 200)}"
        self.reasons[job.folder] = reason
        LOGGER.info("%s: not run: %s", job.name, reason)

    def _done(self) -> set[str]:
        """Return what is trained, by what was asked for: a run keeps what was decided."""
        jobs = (job for group in self.shown for job in group.all_jobs)
        return {training_of(job.recipe) for job in jobs if job.folder in self.runs}

    def _split(self, recipe: Recipe) -> Split:
        """Return the data of a recipe; those of the last recipe are kept in memory.

        Raises:
            DataError: if they are not available.
        """
        key = recipe.data.model_dump_json()
        if key in self._missing:
            raise SoftrecError(self._missing[key])
        if self._open is None or self._open[0] != key:
            self._open = None
            try:
                self._open = (key, load_logged(recipe, self.data_dir))
            except SoftrecError as error:
                text = f"data set {recipe.data.title} is not available: {error}"
                self._missing[key] = text
                raise SoftrecError(text) from error
        return self._open[1]


def trained(split: Split, job: Job, folder: Path, stage: Recipe | None) -> Run:
    """Return the run of a job, which is shared with the other rows that depend on it.

    Args:
        split: the data.
        job: what to train or count.
        folder: of the run.
        stage: the recipe under which other rows look for it.
    """
    if job.kind == "cell":
        share.take(job.recipe, split, folder)
    run = kept_run(folder) or fit_recipe(job.recipe, folder, split=split)
    if stage is not None:
        share.give(stage, split, folder)
    return run


def _minutes(number: float) -> str:
    return f"{number:,.0f} minutes" if number < 120 else f"{number / 60:,.0f} hours"
