"""How a model is fitted: trained, or counted, and chosen on validation; nothing tests it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from softrec.data.batches import TrainingBatches
from softrec.data.splits import Split
from softrec.experiments.build.objective import build
from softrec.experiments.build.targets import about, about_weight
from softrec.experiments.counting import CountingResult, check_counted, counted
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.priors import choose_prior
from softrec.objective import Objective
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import is_counted
from softrec.recipe.specs.training import TrainingSettings
from softrec.training.budget import Budget
from softrec.training.lines import Listener
from softrec.training.loop import TrainingResult, train
from softrec.training.module import Validate
from softrec.training.optimizers import mark_sparse
from softrec.training.schedule import Schedule
from softrec.training.trackers import described
from softrec.types import Encoder, Model


class Fitted(NamedTuple):
    """A finished model, the result of its training, and further entries of run.json."""

    model: Model
    how: TrainingResult | CountingResult
    about: dict[str, Any]


PASSED_ON = (
    "lr", "weight_decay", "betas", "optimizer", "clip", "ema", "monitor", "patience",
    "checkpoint_minutes", "checkpoint_steps", "precision", "accelerator", "deterministic",
)  # fmt: skip
"""The settings that `train` has by the same names."""

Fit = Callable[[Path], Fitted]
"""Trains or counts a model; the folder is for checkpoints."""


class Means(Protocol):
    """Evaluates models on validation: an `Evaluator`."""

    def means(self, model: Model) -> dict[str, float]:
        """Return the mean of each metric."""
        ...


def fit_of(recipe: Recipe, split: Split, valid: Evaluator) -> Fit:
    """Return how the model of a recipe is fitted, all of it built.

    Args:
        recipe: its stages are folders of runs.
        split: the data.
        valid: evaluates it on validation.
    """
    if is_counted(recipe.model.name):
        return _counting(recipe, split, valid)
    return training_of(recipe, split, valid)


def training_of(
    recipe: Recipe,
    split: Split,
    valid: Means,
    listener: Listener | None = None,
    epochs: int | None = None,
) -> Fit:
    """Return how an encoder is trained and chosen on validation, all of it built.

    Args:
        recipe: of an encoder; its stages are folders of runs.
        split: the data.
        valid: evaluates it on validation; an `Evaluator` where a prior is chosen.
        listener: called after each epoch, see `train`.
        epochs: ends after so many, with a learning rate as if those of the recipe were to come.
    """
    encoder, objective, batches = build(recipe, split)
    budget = None if epochs else budget_of(recipe.training, split)  # else all of it is known

    def fit(folder: Path) -> Fitted:
        with described(recipe.model_dump(mode="json")):
            trained = _train(
                recipe.training, encoder, objective, batches, valid.means, folder, listener, epochs,
                budget,
            )  # fmt: skip
        made = {"target": {**about(objective.source), **about_weight(objective.weight)}}
        if recipe.prior is not None and recipe.prior.chooses:
            assert isinstance(valid, Evaluator)
            chosen = choose_prior(encoder, recipe, split.train, valid)
            trained = replace(trained, finished=chosen.metrics)
            made["prior"] = chosen.facts
        return Fitted(encoder, trained, made)

    return fit


def budget_of(spec: TrainingSettings, split: Split) -> Budget | None:
    """Return how long a training with its refit may take, if the recipe says so."""
    if spec.minutes is None:
        return None
    held_out = {"none": (), "valid": (split.valid,), "all": (split.valid, split.test)}[spec.refit]
    more = sum(map(len, held_out)) / len(split.train)
    return Budget(spec.minutes, refit=1 + more if held_out else 0)


def _counting(recipe: Recipe, split: Split, valid: Evaluator) -> Fit:
    """Return a function that counts a scorer; it takes seconds, and is not resumed."""
    check_counted(recipe, split)

    def fit(_: Path) -> Fitted:
        scorer, tried = counted(recipe, split, valid)
        return Fitted(scorer, tried, {"settings": tried.chosen})

    return fit


def _train(
    spec: TrainingSettings,
    encoder: Encoder,
    objective: Objective,
    batches: TrainingBatches,
    validate: Validate,
    folder: Path,
    listener: Listener | None,
    epochs: int | None,
    budget: Budget | None,
) -> TrainingResult:
    if spec.optimizer == "sparse-adam":
        mark_sparse(encoder)
    return train(
        encoder,
        objective,
        batches,
        validate,
        folder,
        epochs=epochs or spec.epochs,
        schedule=Schedule(spec.schedule, spec.warmup, spec.plateau, spec.epochs),
        budget=budget,
        listener=listener,
        **{name: getattr(spec, name) for name in PASSED_ON},
    )
