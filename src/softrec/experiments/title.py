"""The title of a comparison: its models, its data, and in what its rows differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from softrec.experiments.levels import level_of
from softrec.experiments.variants import Plan
from softrec.recipe.recipe import Recipe

Part = Callable[[Recipe], Any]
FOLLOWING = {"windows", "batch_size"}
"""The settings of training that may follow from others: from the model, and from the data."""


def title_of(wanted: Plan) -> str:
    """Return the title of a comparison.

    The windows of rows that nobody named, of another protocol, count only if there are no others.
    """
    recipes = [variant.untuned for variant in wanted.variants]
    named = [variant.untuned for variant in wanted.variants if variant.covers]
    models = ", ".join(dict.fromkeys(recipe.model.name for recipe in recipes))
    words = list(_differing(named)) or list(_differing(recipes))
    how = "only the target differs" if words == ["targets"] else f"{_listed(words)} differ"
    how = how if words else "one row" if len(recipes) == 1 else "all rows are alike"
    how += ", each tuned" if wanted.search else ""
    return f"{models} on {wanted.base.data.title}: {how}"


def _differing(recipes: Sequence[Recipe]) -> Iterator[str]:
    """Yield in what recipes differ."""
    for word, questions in DIFFERING.items():
        if any(_differ(recipes, *question) for question in questions):
            yield word


def _differ(recipes: Sequence[Recipe], own: Part, among: Part) -> bool:
    """Tell whether a part of the recipes differs among those that are alike in another."""
    first: dict[str, Any] = {}
    return any(first.setdefault(str(among(each)), own(each)) != own(each) for each in recipes)


def _decides_batches(recipe: Recipe) -> tuple[Any, ...]:
    """Return what the size of a batch follows from unless it was given."""
    spec = recipe.training
    return spec.windows, spec.length, spec.stride, level_of(recipe)


def _all(recipe: Recipe) -> str:
    return ""


def _model(recipe: Recipe) -> str:
    return recipe.model.name


def _soft(recipe: Recipe) -> bool:
    return recipe.target.soft_weight > 0


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), *words[-1:]] if len(words) > 1 else words)


DIFFERING: dict[str, list[tuple[Part, Part]]] = {
    "models": [(lambda r: r.model, _all)],
    "targets": [(lambda r: r.target, _all)],
    # The label alone may have another loss only because it has no soft part.
    "losses": [
        (lambda r: r.loss if _soft(r) else None, _soft),
        (lambda r: r.loss.for_label_alone(), _all),
    ],
    "candidates": [(lambda r: r.candidates, _all)],
    "weights of the examples": [(lambda r: r.weights, _all)],
    "false positives": [(level_of, _all)],
    "settings of training": [
        (lambda r: r.training.model_dump(exclude=FOLLOWING), _all),
        (lambda r: r.training.windows, _model),
        (lambda r: r.training.batch_size, _decides_batches),
    ],
    "priors": [(lambda r: r.prior, _all)],
    "settings of interests": [(lambda r: r.interest, _model)],
    "trials": [(lambda r: r.trials, _all)],
}
"""In what rows may differ: the parts of a recipe, each among rows that are alike in another."""
