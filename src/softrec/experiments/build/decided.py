"""Decides settings of a recipe that depend on the sizes of the data, before anything is built."""

from __future__ import annotations

import inspect

from softrec.candidates import StepSize
from softrec.data.batches import examples
from softrec.data.splits import Split
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import MODELS, ModelSettings, is_counted

WIDTH = 64  # for models without a setting dim


def decided(recipe: Recipe, split: Split) -> tuple[Recipe, list[str]]:
    """Return a recipe without settings that depend on the data, and a line for each decision."""
    if is_counted(recipe.model.name):
        return recipe, []
    candidates, reason = recipe.candidates.decided(step_size(recipe, split))
    if candidates == recipe.candidates:
        return recipe, []
    return recipe.model_copy(update={"candidates": candidates}), [f"candidates: {reason}"]


def step_size(recipe: Recipe, split: Split) -> StepSize:
    """Return the average size of a training step of a recipe."""
    spec = recipe.training
    data = examples(split.train.sequences, spec.windows, spec.length, stride=spec.stride)
    rows = min(spec.batch_size, len(data))
    labels = max(1, round(rows * data.n_contexts / len(data)))
    return StepSize(split.train.n_items, width_of(recipe.model), labels)


def width_of(model: ModelSettings) -> int:
    """Return the width of a model's vectors, by its settings."""
    argument = inspect.signature(MODELS[model.name]).parameters.get("dim")
    default = None if argument is None else argument.default
    return int(model.settings.get("dim", default if isinstance(default, int) else WIDTH))
