"""From a recipe and its data to what is trained, on what, and towards what."""

from __future__ import annotations

from softrec.data.batches import TrainingBatches
from softrec.data.splits import Split
from softrec.experiments.build import build_batches, build_model
from softrec.experiments.recipe import LossSpec, Recipe, TargetSpec
from softrec.experiments.sources import Training, build_source
from softrec.losses.softmax import decoupled, mixed
from softrec.objective import Objective
from softrec.types import Encoder


def build(
    recipe: Recipe, split: Split, *, progress: bool | None = None
) -> tuple[Encoder, Objective, TrainingBatches]:
    """Return encoder, objective and batches of a recipe on its split."""
    train, spec = split.train, recipe.training
    encoder = build_model(
        recipe.model, train.n_items, spec.length, seed=recipe.seed, n_users=train.n_users
    )
    batches = build_batches(spec, split, seed=recipe.seed)
    training = Training(split, batches.data, spec, recipe.model, encoder, progress)
    return encoder, build_objective(recipe.target, recipe.loss, training), batches


def build_objective(target: TargetSpec, loss: LossSpec, training: Training) -> Objective:
    """Return the objective of a recipe."""
    source = build_source(target, training) if target.soft_mass else None
    if source is None:
        return Objective()
    parts = decoupled(loss.balance) if loss.name == "decoupled" else mixed()
    return Objective(parts, source, target.soft_mass)
