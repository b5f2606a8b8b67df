"""Rows of a comparison with different shares of false positives in the same training part.

Validation and test are the same for all of them. A row is compared with the baseline of its own
share, and so are simple baselines, which are counted once for each share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from softrec.errors import RecipeError
from softrec.experiments.baselines import simple_recipes
from softrec.experiments.naming import member_name
from softrec.experiments.variants import Plan, VariantPlan
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.data import OF_TRAINING, DataSettings

NOISELESS = {name: DataSettings.model_fields[name].default for name in OF_TRAINING}
HOW = {"replace": "in the place of its events", "add": "added to its events"}

Level = dict[str, Any]
"""The fields of the data that change the training part alone."""


def level_of(recipe: Recipe) -> Level:
    """Return the level of a recipe."""
    return {name: getattr(recipe.data, name) for name in OF_TRAINING}


def levels(wanted: Plan) -> list[Level]:
    """Return the levels of all variants, each once, in the order of the variants."""
    found: list[Level] = []
    for variant in wanted.variants:
        level = level_of(variant.untuned)
        found += [] if level in found else [level]
    return found


def check_noise(variants: Iterable[VariantPlan]) -> None:
    """Refuse a grid over how false positives get into a training part that has none.

    Raises:
        RecipeError: if there is one, for its rows would be equal.
    """
    for variant in variants:
        if "data.contamination" in variant.grid and not variant.untuned.data.false_positives:
            raise RecipeError(
                "a grid over data.contamination compares equal rows where there are no false "
                "positives; give their share, such as --set data.false_positives=0.2, and no 0 in "
                "a grid over it"
            )


def shared(wanted: Plan) -> Recipe:
    """Return a recipe with the data of all variants: no false positives if their levels differ."""
    return wanted.base if len(levels(wanted)) == 1 else _at(wanted.base, NOISELESS)


def note(wanted: Plan) -> list[str]:
    """Return a note on the levels, if there are several."""
    all_levels = levels(wanted)
    if len(all_levels) == 1:
        return []
    how = " or ".join(dict.fromkeys(HOW[level["contamination"]] for level in all_levels))
    told = "; ".join(_told(_given(wanted, level)) for level in all_levels)
    return [
        f"The rows differ in false positives of the training part, random items {how} ({told}; "
        f"seed {wanted.base.data.split_seed}); all rows of a level have the same ones. "
        "Validation and test are as logged and the same for all rows. Each row is compared with "
        "the baseline of its own level. The advice, and figures of one value, are of the lowest "
        "share."
    ]


def simple_rows(wanted: Plan, *, baselines: bool) -> dict[str, Recipe]:
    """Return the recipes of the simple baselines, for each level, by name.

    Args:
        wanted: the plan, with the models that are counted.
        baselines: whether all simple baselines are added to those that were named.
    """
    base, all_levels = wanted.base, levels(wanted)
    rows = {**(simple_recipes(base) if baselines else {}), **wanted.counted}
    if len(all_levels) == 1:
        return rows
    return {
        member_name({"name": name, **_given(wanted, level)}): _at(recipe, level)
        for level in all_levels
        for name, recipe in rows.items()
    }


def baselines_of(wanted: Plan, rows: Sequence[Recipe]) -> list[int]:
    """Return the number of the baseline of each row: of simple ones, the first of their level.

    Args:
        wanted: the plan.
        rows: a recipe of each row, first those of the variants.
    """
    first: dict[str, int] = {}
    for place, variant in enumerate(wanted.variants):
        first.setdefault(str(level_of(variant.untuned)), place)
    simple = rows[len(wanted.variants) :]
    return [*wanted.baselines, *(first[str(level_of(recipe))] for recipe in simple)]


def _at(recipe: Recipe, level: Mapping[str, Any]) -> Recipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=dict(level))})


def _given(wanted: Plan, level: Level) -> dict[str, Any]:
    """Return the values of a level in the grid, as they were given."""
    first = next(each for each in wanted.variants if level_of(each.untuned) == level)
    values = {name: first.grid.get(f"data.{name}") for name in OF_TRAINING}
    return {name: value for name, value in values.items() if value is not None}


def _told(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
