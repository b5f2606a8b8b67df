"""Runs that are both a row of a table and a stage of another row are trained once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from softrec.data.splits import Split
from softrec.experiments.reproduction.cells import training_of
from softrec.experiments.stages import chain_of, folder_of, kept_run
from softrec.experiments.store.folders import held
from softrec.recipe.recipe import Recipe


def stages_of(recipes: Iterable[Recipe]) -> dict[str, Recipe]:
    """Return all stages of `recipes`, by their training."""
    return {training_of(stage): stage for recipe in recipes for stage in chain_of(recipe)[:-1]}


def take(recipe: Recipe, split: Split, folder: Path) -> None:
    """Copy the run of a recipe from the stages in the cache to `folder`, if it is there."""
    kept = folder_of(recipe, split)
    if kept_run(kept) is not None and not folder.exists():
        _linked(kept, folder)


def give(stage: Recipe, split: Split, folder: Path) -> None:
    """Copy the run of a row to the cache, where it is used as a stage."""
    kept = folder_of(stage, split)
    kept.parent.mkdir(parents=True, exist_ok=True)
    with held(kept, wait=True, suffix=".stage.lock"):
        if kept_run(kept) is None:
            _linked(folder, kept)


def _linked(folder: Path, twin: Path) -> None:
    """Make a folder with the same files, as hard links or, if that is not possible, as copies."""
    fresh = twin.with_name(f".{twin.name}.linking")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(folder, fresh, copy_function=_link)
    fresh.rename(twin)


def _link(path: str, twin: str) -> str:
    try:
        os.link(path, twin)
    except OSError:  # another disk, or a file system without links
        shutil.copy2(path, twin)
    return twin
