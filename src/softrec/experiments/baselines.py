"""The simple baselines of every comparison: they show whether the trained rows are any good."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from softrec.data.splits import Split
from softrec.errors import SoftrecError
from softrec.experiments.build.data import with_noise
from softrec.experiments.build.objective import build
from softrec.experiments.counting import check_counted
from softrec.experiments.train import resolved
from softrec.recipe.recipe import Recipe, read_recipe
from softrec.recipe.specs.models import is_counted

NAMES = (
    "popularity", "recent-popularity", "markov", "item-knn", "rp3beta", "rp3beta-popularity",
    "markov-rp3beta", "session-knn", "ease",
)  # fmt: skip
LENGTH = 500  # items of a history that baselines read at least, whatever the trained models read

LOGGER = logging.getLogger(__name__)


def simple_recipes(base: Recipe) -> dict[str, Recipe]:
    """Return the recipes of the simple baselines, for the data and the evaluation of `base`."""
    return {name: simple_recipe(base, {"name": name}) for name in NAMES}


def simple_recipe(base: Recipe, model: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a counted model, for the data and the evaluation of `base`.

    Settings that are not given are chosen on validation. Its histories are as long as those of
    `base`, and at least 500 items. Where `base` has a refit, it is counted once more on the same
    events.
    """
    fields = base.model_dump(mode="json")
    spec = base.training
    training = {"length": max(spec.length, LENGTH), "monitor": spec.monitor, "refit": spec.refit}
    own = {} if model["name"] in NAMES else {"plugins": fields["plugins"]}
    return read_recipe(
        {
            "data": fields["data"],
            "evaluation": {**fields["evaluation"], "score": "trained"},
            "training": training,
            "seed": base.seed,
            "model": dict(model),
            **own,
        }
    )


def those_that_fit(
    recipes: Mapping[str, Recipe], split: Split
) -> tuple[dict[str, Recipe], list[str]]:
    """Return the recipes that can be counted on `split`, and a note for each reason of others."""
    fitting: dict[str, Recipe] = {}
    lacking: dict[str, list[str]] = {}
    for name, recipe in recipes.items():
        try:
            split = with_noise(split, recipe.data)
            check_counted(recipe, split)
            fitting[name] = recipe
        except SoftrecError as error:
            lacking.setdefault(str(error), []).append(name)
    notes = [
        f"The simple baseline{'s' * (len(names) > 1)} {' and '.join(names)} "
        f"{'are' if len(names) > 1 else 'is'} left out: {error}."
        for error, names in lacking.items()
    ]
    for note in notes:
        LOGGER.info(note)
    return fitting, notes


def check_buildable(recipe: Recipe, split: Split) -> None:
    """Refuse a recipe that cannot be built, before it is trained; its stages may be trained."""
    if is_counted(recipe.model.name):
        check_counted(recipe, split)
    else:
        build(resolved(recipe, split), split)
