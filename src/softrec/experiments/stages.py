"""Stages of a pipeline: a teacher, or weights to start from, is trained before what depends on it.

Where a recipe names the recipe of another run (teacher then student, base then propagation then
student, extractor then fine-tuning), that run is looked for in the cache under a name made of its
recipe and its data. It is made there if it is missing, and goes on if it was interrupted.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from softrec.data.sources.base import cache_dir
from softrec.data.splits import Split
from softrec.experiments.runs import ChangedRunError, Run, describe, open_run
from softrec.experiments.store.folders import RUN, held, is_marked, remove
from softrec.extras import require
from softrec.recipe.recipe import Recipe

LOGGER = logging.getLogger(__name__)

Fit = Callable[[Recipe, Path], Run]


def with_runs(recipe: Recipe, split: Split, fit: Fit) -> Recipe:
    """Return `recipe` with the folder of a finished run for each recipe that it depends on.

    Args:
        recipe: what is about to be trained.
        split: its data, which are those of all stages.
        fit: trains a recipe in a folder; called where a finished run is missing.

    Raises:
        SoftrecError: if a target needs a package that is not installed.
    """
    chain = chain_of(recipe)
    for stage in chain:  # before the first of them is trained
        for package in stage.target.packages:
            require(package, stage.target.name)
    if len(chain) > 1:
        LOGGER.info("a chain of runs: %s", " -> ".join(named(stage) for stage in chain))

    def run_of(place: str, stage: Recipe) -> str:
        folder = folder_of(stage, split)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with held(folder, wait=True, suffix=".stage.lock"):  # others may want the same
            if kept_run(folder) is not None:
                LOGGER.info("%s, %s: found in %s", place, named(stage), folder)
                return str(folder)
            LOGGER.info("%s, %s: training in %s", place, named(stage), folder)
            return str(fit(stage, folder).folder)

    return recipe.with_stages(run_of)


def kept_run(folder: Path) -> Run | None:
    """Return the finished run of a folder that softrec keeps for itself, if there is one.

    A damaged one is removed with a message and trained again.
    """
    if (folder / RUN.result).exists():
        try:
            return open_run(folder)
        except ChangedRunError as error:
            complaint = str(error).partition(";")[0]
    elif is_marked(folder, RUN) and any(folder.iterdir()):
        complaint = f"{folder / RUN.result} is missing"
    else:
        return None
    LOGGER.info("%s; it is trained again", complaint)
    remove(folder)
    return None


def chain_of(recipe: Recipe) -> list[Recipe]:
    """Return all recipes a run depends on, in the order they are trained, and its own at last."""
    before = [step for stage in recipe.stages().values() for step in chain_of(stage)]
    return [*before, recipe]


def named(recipe: Recipe) -> str:
    """Return a few words for a recipe: its model and its target."""
    return f"{recipe.model.name} towards {recipe.target.name}"


def folder_of(stage: Recipe, split: Split) -> Path:
    """Return where the run of a stage lies, in the cache (`SOFTREC_CACHE`).

    Runs that it names by their folder count by their weights: another run in the same place makes
    another stage.

    Raises:
        RunError: if there is no such run.
    """
    fields = stage.model_dump(mode="json", exclude={"data"})
    facts = {
        "recipe": fields,
        "weights": [open_run(run).weights_fingerprint for run in stage.runs()],
        "data": describe(split),
        "softrec": version("softrec"),
    }
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    return cache_dir() / "runs" / f"{stage.model.name}-{name}"
