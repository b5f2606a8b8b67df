"""What cannot be trained with the item table in shards is refused when a recipe is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from softrec.candidates import AutoSettings, DrawnSettings, FullSettings
from softrec.models.given import takes
from softrec.models.registry import MODELS
from softrec.recipe.specs.models import SHARDS
from softrec.targets.settings import TARGETS, TargetSettings

if TYPE_CHECKING:
    from softrec.recipe.recipe import Recipe


def check_shards(recipe: Recipe) -> None:
    """Refuse what needs the item vectors of all processes at once.

    Raises:
        ValueError: if there is such a thing; the message says what to choose instead.
    """
    spec, model = recipe.training, recipe.model.name
    if spec.shards == 1:
        return
    started = spec.devices * spec.nodes
    if started > 1 and started % spec.shards:
        raise ValueError(
            f"training.shards: {started} processes cannot have a catalogue in {spec.shards} "
            f"shards; choose a multiple of {spec.shards} with --devices and --nodes, or leave them "
            "out"
        )
    known = ", ".join(name for name in MODELS.choices() if takes(MODELS[name], SHARDS))
    if not takes(MODELS[model], SHARDS):
        raise ValueError(
            f"training.shards: the tables of {model} cannot be in shards; choose one of {known}, "
            "or shards: 1"
        )
    for place, (chosen, instead) in _refused(recipe).items():
        raise ValueError(
            f"training.shards: a catalogue in shards has no {place}: {chosen}; choose {instead}, "
            "or shards: 1"
        )


def _refused(recipe: Recipe) -> dict[str, tuple[object, str]]:
    """Return what shards do not have, by its place in the recipe, and what to choose instead."""
    spec, loss, judged = recipe.training, recipe.loss, recipe.evaluation
    targets = [n for n, kind in TARGETS.items() if kind.in_parts is not TargetSettings.in_parts]
    drawn = recipe.candidates if isinstance(recipe.candidates, DrawnSettings) else None
    wrong = {
        "loss": (not loss.softmax or loss.of_batch, loss.name, "mixed, decoupled or sl"),
        "loss.l2": (loss.l2 > 0, f"{loss.l2:g}", "training.weight_decay"),
        "target": (
            recipe.target.soft_weight > 0 and not recipe.target.in_parts, recipe.target.name,
            ", ".join(["one-hot", *targets]) + " (kd, skd and ckd with top)",
        ),
        "candidates": (
            drawn is None and not isinstance(recipe.candidates, FullSettings | AutoSettings),
            recipe.candidates.name, "full, sampled or in-batch",
        ),
        "candidates.per_row": (
            getattr(drawn, "per_row", False), "true", "false: a sample for the whole batch"
        ),
        "candidates.soft": (
            drawn is not None and drawn.soft == "exact", "exact", "restricted"
        ),
        "weights": (recipe.weights.reads_scores, recipe.weights.name, "equal"),
        "training.precision": (spec.precision == "bf16-true", spec.precision, "32-true"),
        "evaluation.negatives": (
            judged.negatives is not None, judged.negatives, "a ranking of all items"
        ),
        "evaluation.calibration": (
            judged.calibration, "true", "false"
        ),
    }  # fmt: skip
    return {place: (chosen, instead) for place, (holds, chosen, instead) in wrong.items() if holds}
