"""Stages: runs that another run depends on, such as a teacher or initial weights.

A recipe may name the recipe of another run: a teacher before a student, or a base model before
propagation. That run is looked for in the cache, under a name made from its recipe and its data. If
it is missing it is trained; if it was interrupted it is resumed.
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
from softrec.experiments.runs import Run, describe, open_run
from softrec.experiments.store.folders import RUN, held, is_marked, remove
from softrec.experiments.store.integrity import hash_of
from softrec.experiments.store.run_file import ChangedRunError
from softrec.extras import require
from softrec.recipe.plugins import modules_of
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.training import PROCESSES

LOGGER = logging.getLogger(__name__)

Fit = Callable[[Recipe, Path], Run]


def with_runs(recipe: Recipe, split: Split, fit: Fit) -> Recipe:
    """Return `recipe` with the folder of a finished run for each recipe that it depends on.

    Args:
        recipe: the recipe that will be trained.
        split: its data; all stages use the same.
        fit: trains a recipe in a folder; called if there is no finished run.

    Raises:
        SoftrecError: if a target needs a package that is not installed.
    """
    chain = chain_of(recipe)
    for stage in chain:  # before the first of them is trained
        for package in stage.target.packages:
            require(package, stage.target.name)
    if len(chain) > 1:
        LOGGER.info("a chain of runs: %s", " -> ".join(named(stage) for stage in chain))

    return recipe.with_stages(
        lambda place, stage: str(cached(f"{place}, {named(stage)}", stage, split, fit).folder)
    )


def cached(name: str, recipe: Recipe, split: Split, fit: Fit, *, trial: bool = False) -> Run:
    """Return the finished run of a recipe from the cache, and train it if there is none.

    Args:
        name: what messages call it.
        recipe: whose runs on the same data are equal.
        split: its data.
        fit: trains a recipe in a folder.
        trial: whether the run has facts alone, so that it is no stage.
    """
    folder = folder_of(recipe, split, trial=trial)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with held(folder, wait=True, suffix=".stage.lock"):  # another process may train the same
        found = kept_run(folder)
        if found is not None:
            LOGGER.info("%s: found in %s", name, folder)
            return found
        LOGGER.info("%s: training in %s", name, folder)
        return fit(recipe, folder)


def kept_run(folder: Path) -> Run | None:
    """Return the finished run in a folder of the cache or of a comparison, if there is one.

    A damaged one is removed with a message, so that it is trained again.
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
    """Return all recipes that a run depends on, in the order of training, with its own last."""
    before = [step for stage in recipe.stages().values() for step in chain_of(stage)]
    return [*before, recipe]


def named(recipe: Recipe) -> str:
    """Return a short text for a recipe: its model and its target."""
    return f"{recipe.model.name} with target {recipe.target.name}"


def folder_of(stage: Recipe, split: Split, *, trial: bool = False) -> Path:
    """Return the folder of the run of a stage, or of a trial, in the cache (`SOFTREC_CACHE`).

    The name of the folder depends on the weights of the runs that the stage names by their folder,
    so that another run in the same place gives another stage, on what is in the files that it reads
    beside the log, and on the code of its plugins.

    Raises:
        RunError: if a run that it names does not exist.
    """
    fields = stage.model_dump(
        mode="json", exclude={"data": True, "tune": True, "training": set(PROCESSES)}
    )
    facts = {
        "recipe": fields,
        "weights": [open_run(run).weights_fingerprint for run in stage.runs()],
        "data": describe(split),
        "softrec": version("softrec"),
        **({"trial": True} if trial else {}),
    }
    files = [path for path in (stage.data.items, *stage.target.files) if path is not None]
    if files:
        facts["files"] = [hash_of(Path(path)) for path in files if Path(path).is_file()]
    plugins = [plugin.get("sha256", "") for plugin in modules_of(stage)]
    if plugins:
        facts["plugins"] = plugins
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
    return cache_dir() / "runs" / f"{stage.model.name}-{name}"
