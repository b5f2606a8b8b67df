"""Trains some recipes on the same data, each in its folder, wherever an executor does it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from softrec.data.splits import Split
from softrec.errors import RunError
from softrec.experiments.build.data import with_noise
from softrec.experiments.executors import Executor, Task, results
from softrec.experiments.runs import Run
from softrec.experiments.stages import kept_run
from softrec.experiments.train import fit_recipe
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import is_counted

LOGGER = logging.getLogger(__name__)


class Training(NamedTuple):
    """A recipe to train, the folder of its run, and its name in messages."""

    name: str
    recipe: Recipe
    folder: Path


def all_trained(wanted: Sequence[Training], split: Split, where: Executor) -> list[Run]:
    """Return the runs of all trainings; those that are not in their folders yet are trained.

    The folders of the others share the files of the log with the first one, where that is
    finished before they are.

    Args:
        wanted: the trainings; their recipes have the same data, perhaps with other noise.
        split: the data.
        where: trains them.

    Raises:
        RunError: if a folder has a run of another recipe.
    """
    found = [_kept(one) for one in wanted]
    fresh = iter(results(where, _missing(wanted, found, split)))
    return [next(fresh) if run is None else run for run in found]


def _missing(
    wanted: Sequence[Training], found: Sequence[Run | None], split: Split
) -> Iterator[Task]:
    for number, (one, run) in enumerate(zip(wanted, found, strict=True), 1):
        if run is None:
            split = with_noise(split, one.recipe.data)
            sibling = None if number == 1 else wanted[0].folder
            count = f"run {number}"
            about = f"{count} of {len(wanted)}: {one.name}"
            arguments = (one.recipe, one.folder, about, sibling)
            yield Task(count, one.recipe, _trained, split, arguments)


def _kept(wanted: Training) -> Run | None:
    """Return the finished run of a training, if there is one."""
    run = kept_run(wanted.folder)
    if run is not None and run.recipe != wanted.recipe:
        raise RunError(f"{wanted.folder} contains a run of another recipe; delete it")
    return run


def _trained(split: Split, recipe: Recipe, folder: Path, about: str, sibling: Path | None) -> Run:
    """Return the run of a recipe, perhaps of an interrupted training."""
    if is_counted(recipe.model.name):
        LOGGER.info("counting %s", about)
    else:
        LOGGER.info("training %s, seed %d", about, recipe.seed)
    # After a loss of the process, the run may be complete and its outcome not known yet.
    return kept_run(folder) or fit_recipe(recipe, folder, split=split, sibling=sibling)
