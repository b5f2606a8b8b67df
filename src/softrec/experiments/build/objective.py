"""From a recipe and its data to the encoder, the objective and the training batches.

The settings of target, loss and candidates have a method `build`, which is called here.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from torch import Tensor

from softrec.candidates import CandidatesSettings, DrawnSettings
from softrec.data.batches import TrainingBatches
from softrec.data.splits import Split
from softrec.experiments.build.decided import decided
from softrec.experiments.build.model import build_batches, build_model, check_users, with_prior
from softrec.experiments.build.outside import check_outside
from softrec.experiments.build.start import begin
from softrec.experiments.build.targets import Training, scoring_of
from softrec.experiments.runs import open_run
from softrec.losses.distillation import interest_distillation
from softrec.losses.settings import LossInputs
from softrec.objective import InterestPart, Objective
from softrec.parallel import catalogue_of
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.training import InterestSettings
from softrec.types import Batch, Encoder
from softrec.weights import Thresholds

BATCHES_LOOKED_AT = 64  # batches that a loss may read to choose its balance


def build(recipe: Recipe, split: Split) -> tuple[Encoder, Objective, TrainingBatches]:
    """Return encoder, objective and batches of a recipe on its split."""
    recipe, _ = decided(recipe, split)
    spec = recipe.training
    check_users(recipe.model, split)
    encoder = build_model(
        recipe.model, split.train, spec.length, seed=recipe.seed,
        catalogue=catalogue_of(split.train.n_items),
    )  # fmt: skip
    assert isinstance(encoder, Encoder)  # `fit_recipe` counts the others
    if spec.start is not None:
        begin(encoder, spec.start, split, seed=recipe.seed, new_rows=spec.new_rows)
    temperature = recipe.loss.score_temperature
    if recipe.loss.learns_temperature:
        encoder.learn_temperature(_first_temperature(recipe))
    encoder = with_prior(encoder, recipe.prior, split.train, spec.length, temperature, fit=True)
    batches = build_batches(spec, split, seed=recipe.seed)
    scoring = scoring_of(recipe.loss)
    training = Training(
        split, batches.data, spec, recipe.model.name, encoder.as_trained(), scoring, recipe.data
    )
    objective = build_objective(recipe, training, batches)
    check_outside(recipe, objective, encoder, _first(batches))
    return encoder, objective, batches


def _first_temperature(recipe: Recipe) -> float:
    """Return the temperature that a training goes on from, else that of the recipe."""
    start = recipe.training.start
    run = open_run(start) if isinstance(start, str) else None
    if run is not None and run.recipe.loss.learns_temperature:
        return run.temperature
    return recipe.loss.score_temperature


def build_objective(recipe: Recipe, training: Training, batches: TrainingBatches) -> Objective:
    """Return the objective of a recipe."""
    loss, candidates, target = recipe.loss, recipe.candidates, recipe.target
    source = target.build(training) if target.soft_weight else None
    weight = target.weight_on(training)
    fraction = _fraction(candidates, training.n_items)
    negatives = candidates.negatives_in(training, softmax=loss.softmax)
    inputs = LossInputs(source, weight, fraction, negatives, lambda: _first(batches))
    term = loss.build(inputs)
    border = term.border and Thresholds.of(training, *term.border, "loss.rank")
    return Objective(
        loss=term.loss,
        source=source,
        weight=weight,
        candidates=candidates.build(training, softmax=loss.softmax),
        scoring=training.scoring,
        exact=isinstance(candidates, DrawnSettings) and candidates.soft == "exact",
        label_part=term.label_part,
        interest_part=_interest_part(recipe.interest),
        l2=loss.l2,
        adjustment=loss.adjustment(lambda: training.label_counts),
        border=border,
        weights=recipe.weights.build(training),
    )


def _fraction(candidates: CandidatesSettings, n_items: int) -> float:
    """Return the fraction of the items, without the label, that are scored against it."""
    drawn = candidates.number_of(n_items) if isinstance(candidates, DrawnSettings) else None
    return 1.0 if drawn is None else min(1.0, drawn / (n_items - 1))


def _first(batches: TrainingBatches) -> Iterable[Batch]:
    """Yield the first batches of an epoch; afterwards the batches are in the same state again."""
    state = batches.state_dict()
    try:
        yield from islice(iter(batches), BATCHES_LOOKED_AT)
    finally:
        batches.load_state_dict(state)


def _interest_part(spec: InterestSettings | None) -> InterestPart | None:
    if spec is None or not spec.weight:
        return None

    def distilled(logits: Tensor, cosines: Tensor) -> Tensor:
        return spec.weight * interest_distillation(
            logits, cosines, spec.temperature, form=spec.form, detach=spec.stop_gradient
        )

    return distilled
