"""Calibration of the softmax of a run, as it was trained and with the best temperature."""

from __future__ import annotations

from typing import Any

from softrec.evaluation.calibration import (
    Blocks,
    Calibration,
    calibration,
    case_blocks,
    fit_temperature,
)
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.runs import ranked
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import is_counted
from softrec.types import Encoder, Model

FITTED_ON = (
    5_000  # the most validation cases: fitting a temperature takes several passes over their scores
)
MEASURES = ("nll", "brier", "confidence", "accuracy", "ece_width", "ece_mass")


def calibrated(recipe: Recipe, model: Model, valid: Evaluator, test: Evaluator) -> dict[str, Any]:
    """Return the entries of run.json about the softmax of a model on test.

    The logits are the scores of the ranking, divided by the temperature of the loss. A further
    temperature is fitted on at most 5,000 validation cases, always the same ones.

    Returns:
        The temperature, and for "trained" (temperature 1) and "scaled" the measures of
        `calibration`, with the reliability curve over bins of equally many cases. For a model whose
        scores are not logits, {"skipped": the reason}.
    """
    reason = no_softmax(recipe)
    if reason:
        return {"skipped": reason}
    own = trained_temperature(recipe, model)
    some = valid.some(FITTED_ON)
    fitted = fit_temperature(_blocks(recipe, model, some), some.cases.relevant)
    blocks, relevant = _blocks(recipe, model, test), test.cases.relevant
    return {
        "temperature": fitted.value / own,
        "cases": len(some.cases),
        "trained": _facts(calibration(blocks, relevant, temperature=own)),
        "scaled": _facts(calibration(blocks, relevant, temperature=fitted.value)),
    }


def trained_temperature(recipe: Recipe, model: Model) -> float:
    """Return the temperature of the softmax that a model was trained with, at its end."""
    learnt = model.log_temperature if isinstance(model, Encoder) else None
    return recipe.loss.score_temperature if learnt is None else learnt.double().exp().item()


def no_softmax(recipe: Recipe) -> str:
    """Return why the scores of a recipe's model are not logits of a softmax; "" if they are."""
    if is_counted(recipe.model.name):
        return f"{recipe.model.name} is counted, and its scores are no logits"
    if not recipe.loss.softmax:
        return f"{recipe.loss.name} compares pairs of scores and trains no softmax"
    if recipe.ranking_score != recipe.loss.score:
        return (
            f"the ranking is by {recipe.ranking_score} scores, and the softmax was trained on "
            f"{recipe.loss.score} scores"
        )
    return ""


def _blocks(recipe: Recipe, model: Model, of: Evaluator) -> Blocks:
    return case_blocks(
        ranked(model, recipe), of.cases, length=recipe.training.length,
        mask_seen=of.asked.mask_seen,
    )  # fmt: skip


def _facts(found: Calibration) -> dict[str, Any]:
    curve = found.reliability_mass.select("n", "confidence", "accuracy")
    measures = {name: getattr(found, name) for name in MEASURES}
    return {**measures, "reliability": curve.to_dicts()}
