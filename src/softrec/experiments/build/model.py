"""From a recipe and its data to the model and what it is trained on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from softrec.data.batches import TrainingBatches, examples
from softrec.data.interactions import Interactions
from softrec.data.splits import Split
from softrec.errors import DataError, RecipeError
from softrec.recipe.specs.models import MODELS, ModelSettings
from softrec.recipe.specs.training import TrainingSettings
from softrec.types import Encoder


def notices(spec: ModelSettings, split: Split) -> list[str]:
    """Return a line for each thing about the data of a run that its user has to know.

    Args:
        spec: the model, for some know users by number.
        split: its data.
    """
    lines = [split.aside.sentence()]
    untrained = split.untrained_users()
    if untrained and "n_users" in inspect.signature(MODELS[spec.name]).parameters:
        lines.append(
            f"{untrained:,} users of the test part have no training event, only validation: "
            f"{spec.name} has a vector for each user, and theirs are never trained"
        )
    return [line for line in lines if line]


def build_model(spec: ModelSettings, log: Interactions, length: int, *, seed: int) -> Encoder:
    """Return a freshly initialised backbone; the same seed gives the same weights.

    Args:
        spec: which model, and its settings.
        log: the training part: its catalogue, its users, and its events for models of graphs.
        length: the longest history.
        seed: of the weights.
    """
    model, n_items = MODELS[spec.name], log.n_items
    if model.needs_times and not log.has_time:
        raise DataError(
            f"{spec.name} reads the times of events, and the log has none; name their column with "
            "--time, or use sasrec"
        )
    facts: dict[str, Callable[[], Any]] = {
        "length": lambda: length,
        "n_users": lambda: log.n_users,
        "edges": lambda: events(log),
    }
    known = inspect.signature(model).parameters
    settings = {name: fact() for name, fact in facts.items() if name in known} | spec.settings
    torch.manual_seed(seed)
    try:
        encoder = model(n_items, **settings)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        given = ", ".join(f"{name}={settings[name]}" for name in settings if name != "edges")
        text = " ".join(str(error).split())
        raise RecipeError(f"{given} make no {spec.name}: {text}; change these settings") from error
    return encoder


def events(log: Interactions) -> torch.Tensor:
    """Return the events as (user, item), (2, E) int64."""
    pairs = (log.frame[kind].to_numpy().astype(np.int64) for kind in ("user", "item"))
    return torch.from_numpy(np.stack(list(pairs)))


def build_batches(spec: TrainingSettings, split: Split, *, seed: int) -> TrainingBatches:
    """Return the shuffled training batches of a recipe."""
    data = examples(split.train.sequences, spec.windows, spec.length, stride=spec.stride)
    return TrainingBatches(data, spec.batch_size, split.train.n_items, seed=seed, side=spec.padding)
