"""Decides settings of a recipe that depend on the sizes of the data, before anything is built."""

from __future__ import annotations

import inspect
from typing import NamedTuple

from softrec.candidates import StepSize
from softrec.data.batches import examples
from softrec.data.splits import Split
from softrec.experiments.build.model import rows_of
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import MODELS, ModelSettings, is_counted

WIDTH = 64  # for models without a setting dim


def decided(recipe: Recipe, split: Split) -> tuple[Recipe, list[str]]:
    """Return a recipe without settings that depend on the data, and a line for each decision."""
    if is_counted(recipe.model.name):
        return recipe, []
    told: list[str] = []
    step = step_size(recipe, split)
    if recipe.training.batch_size is None:
        told.append(f"batch_size: {step.rows} examples, about {step.size.labels} labels a step")
        training = recipe.training.model_copy(update={"batch_size": step.rows})
        recipe = recipe.model_copy(update={"training": training})
    candidates, reason = recipe.candidates.decided(step.size)
    if candidates != recipe.candidates:
        told.append(f"candidates: {reason}")
        recipe = recipe.model_copy(update={"candidates": candidates})
    return recipe, told


class Step(NamedTuple):
    """A mean training step: examples of a batch, and what its products are made of."""

    rows: int
    size: StepSize


def step_size(recipe: Recipe, split: Split) -> Step:
    """Return the average size of a training step of a recipe."""
    spec = recipe.training
    data = examples(split.train.sequences, spec.windows, spec.length, stride=spec.stride)
    rows = rows_of(spec, data)
    labels = max(1, round(min(rows, len(data)) * data.n_contexts / len(data)))
    return Step(rows, StepSize(split.train.n_items, width_of(recipe.model), labels))


def width_of(model: ModelSettings) -> int:
    """Return the width of a model's vectors, by its settings."""
    argument = inspect.signature(MODELS[model.name]).parameters.get("dim")
    default = None if argument is None else argument.default
    return int(model.settings.get("dim", default if isinstance(default, int) else WIDTH))
