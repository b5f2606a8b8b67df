"""The settings that are searched for each variant of a comparison: the same, if it has them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from softrec.errors import RecipeError
from softrec.experiments.inputs import Given
from softrec.experiments.tuning.searched import placed, space_of
from softrec.experiments.tuning.space import NAMES, Space, places_of
from softrec.extras import require, require_report
from softrec.recipe.listed import PLURALS
from softrec.recipe.options import dotted, recipe_of
from softrec.recipe.recipe import Recipe
from softrec.recipe.space import Range, parse_space
from softrec.recipe.specs.tune import TuneSettings


@dataclass(frozen=True)
class Searches:
    """The search of settings of all variants.

    Attributes:
        settings: trials and pruner, the same for all variants.
        own: the ranges given by the user, by place.
    """

    settings: TuneSettings
    own: Mapping[str, Range]

    def space(self, recipe: Recipe, kept: Collection[str], given: Collection[str]) -> Space:
        """Return the space of a variant.

        Args:
            recipe: of the variant.
            kept: places that define the variant: its brackets, its values of the grid.
            given: other places given by the user, which are searched if the space has them.
        """
        has = dict(places_of(recipe, recipe.target.name, recipe.loss.name))
        own = {place: tried for place, tried in self.own.items() if place in has.keys() - kept}
        return space_of(recipe, own, given={*kept, *given})

    def check_used(self, spaces: Iterable[Space]) -> None:
        """Refuse a range of a field that is searched for no variant.

        Raises:
            RecipeError: if there is one; the message has its place.
        """
        used = {place for space in spaces for place in space.own}
        for place in self.own:
            if place not in used:
                raise RecipeError(
                    f"no variant takes {place} of the space: it has no such setting, or a value of "
                    "its own; leave it out of the space"
                )


def searches(given: Given, trials: int | None, space: Any = None) -> Searches | None:
    """Return the search of the variants; None without a number of trials.

    Args:
        given: the base, whose section `tune` may have a space and a pruner.
        trials: of each variant.
        space: texts "FIELD=RANGE" or {field: range}.

    Raises:
        RecipeError: if there is a space and nothing to search, or something cannot be read.
        SoftrecError: if Optuna is not installed.
    """
    if trials is None:
        if space:
            raise RecipeError(
                "a space is searched where it is said how long; add --tune 20 (in Python tune=20)"
            )
        return None
    require("optuna", "a search over settings")
    require_report()
    # This section is read alone, because some of the other options fit certain variants only.
    fields = {name: given.fields[name] for name in ("data", "tune") if name in given.fields}
    told = {p: value for p, value in dotted(given.options).items() if p.startswith("tune.")}
    spec = recipe_of(fields, {**told, "tune.trials": trials}, given.place).tune
    assert spec is not None
    own = {**placed(spec.space), **placed(parse_space(space))}
    for section in NAMES:
        if f"{section}.name" in own:
            raise RecipeError(
                f"each {section} of a comparison is searched by itself; name several by "
                f"--{PLURALS[section]}, and leave {section} out of the space"
            )
    return Searches(spec, own)
