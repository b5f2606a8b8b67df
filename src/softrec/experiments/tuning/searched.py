"""The space around a recipe: ranges that belong to its settings, and ranges given by the user."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from softrec.errors import RecipeError, no_such
from softrec.experiments.tuning.space import NAMES, Space, is_hard, places_of
from softrec.losses.settings import LOSSES
from softrec.recipe.listed import NAMED_IN_GRID
from softrec.recipe.options import dotted
from softrec.recipe.recipe import Recipe
from softrec.recipe.space import Choices, Range, parse_range
from softrec.recipe.specs.models import is_counted
from softrec.recipe.specs.trials import BUDGET, SECTIONS
from softrec.targets.settings import TARGETS


def space_of(
    recipe: Recipe,
    own: Mapping[str, Any] | None = None,
    *,
    given: Collection[str] = (),
    named: Collection[str] = ("target", "loss"),
) -> Space:
    """Return the space around a recipe.

    Args:
        recipe: whose settings are searched; the search takes the place of its trials.
        own: ranges given by the user, by name or place: "1e-4..1e-2:log", [0, 0.2].
        given: places of fields that keep the value of the recipe, unless `own` has them.
        named: which of target and loss was named, so that no others are tried.

    Raises:
        RecipeError: if a range cannot be read, belongs to no field that can be searched, or has
            values that the recipe cannot have.
    """
    if is_counted(recipe.model.name):
        raise RecipeError(
            f"{recipe.model.name} is counted, not trained; its settings are chosen on validation "
            "whenever it is fitted: use softrec fit"
        )
    ranges = placed(own or {})
    asked_for = [section for section in NAMES if f"{section}.name" in ranges]
    tried = {s: _named(recipe, s, ranges.pop(f"{s}.name", None), named) for s in NAMES}
    recipe = recipe.model_copy(update={"trials": None})
    space = Space(recipe, ranges, frozenset(given), tried["target"], tried["loss"])
    _check_names(space, asked_for)
    space = _fitting(space)
    _check_own(space)
    return space


def placed(own: Mapping[str, Any]) -> dict[str, Range]:
    """Return the ranges given by the user, by place.

    Raises:
        RecipeError: if a range cannot be read, its field cannot be searched, or it is given twice.
    """
    return {place: parse_range(name, one) for name, place, one in _own(own)}


def _own(own: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield name, place and range, as given by the user.

    Raises:
        RecipeError: if a field cannot be searched, or is given twice.
    """
    seen: set[str] = set()
    for name, tried in own.items():
        ((place, _),) = dotted({name: "a name"}).items()
        section, _, field = place.partition(".")
        if place in seen:
            raise RecipeError(f"{name} is given twice in the space; give it once")
        seen.add(place)
        if section == "prior":
            raise RecipeError(
                f"{name} is not searched, as each model can choose its own prior once it is "
                "trained: give prior.strengths, prior.models or prior.popularities in the recipe"
            )
        if place in BUDGET or section not in SECTIONS:
            raise RecipeError(
                f"{name} cannot be searched: it is the same for all that is compared; leave it out "
                "of the space"
            )
        if field == "name" and section not in NAMES:
            how = f"--grid {place}=A,B" if section in NAMED_IN_GRID else "--models A,B"
            raise RecipeError(
                f"{name} itself is not searched; leave it out of the space, and search each: "
                f"softrec compare {how} --tune 20"
            )
        yield name, place, tried


def _named(
    recipe: Recipe, section: str, tried: Range | None, named: Collection[str]
) -> tuple[str, ...]:
    """Return the targets or losses to try, that of the recipe first."""
    mine = getattr(recipe, section).name
    if tried is None:
        others = () if section in named else NAMES[section]
        return tuple(dict.fromkeys((mine, *others)))
    registry = TARGETS if section == "target" else LOSSES
    names = tried.values if isinstance(tried, Choices) else (str(tried),)
    wrong = next((name for name in names if name not in registry), None)
    if wrong is not None:
        raise RecipeError(f"{section}: {no_such(section, wrong, registry.choices())}")
    return names


def _check_names(space: Space, own: Collection[str]) -> None:
    """Refuse targets and losses that a user named and that do not fit the recipe."""
    if not own:
        return
    for target, loss in space.branches():
        space.recipe({"target.name": target} | ({} if is_hard(target) else {"loss.name": loss}))


def _fitting(space: Space) -> Space:
    """Return the space without ranges that do not fit the recipe, except those of the user."""

    def fits(settings: Mapping[str, Any]) -> bool:
        try:
            space.recipe(settings)
        except RecipeError:
            return False
        return True

    targets = tuple(
        n for n in space.targets if n == space.base.target.name or fits({"target.name": n})
    )
    losses = tuple(
        n
        for n in space.losses
        if n == space.base.loss.name
        or any(fits({"target.name": t, "loss.name": n}) for t in targets if not is_hard(t))
    )
    space = replace(space, targets=targets, losses=losses or space.losses[:1])
    left_out: set[str] = set()
    for target, loss in space.branches():
        named = _branch(space, target, loss)
        for place, tried in space.fields(target, loss).items():
            if place not in space.own and not all(
                fits(named | {place: value}) for value in tried.ends()
            ):
                left_out.add(place)
    return replace(space, left_out=frozenset(left_out))


def _check_own(space: Space) -> None:
    """Refuse a range whose field no variant has, or with values that it cannot have."""
    for place, tried in space.own.items():
        having = [one for one in space.branches() if place in space.fields(*one)]
        if not having:
            section = place.partition(".")[0]
            known = {
                name.partition(".")[2]
                for one in space.branches()
                for name, _ in places_of(space.base, *one)
                if name.startswith(f"{section}.")
            }
            field = place.partition(".")[2]
            raise RecipeError(f"{place}: {no_such('setting', field, sorted(known))}")
        for target, loss in having:
            for value in tried.ends():
                space.recipe(_branch(space, target, loss) | {place: value})


def _branch(space: Space, target: str, loss: str) -> dict[str, Any]:
    named = {"target.name": target} if target != space.base.target.name else {}
    if not is_hard(target) and loss != space.base.loss.name:
        named["loss.name"] = loss
    return named
