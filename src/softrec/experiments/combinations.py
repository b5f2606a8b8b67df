"""The variants of a comparison: all combinations of models, targets, losses and values of a grid.

Each variant is what `fit` would train with the same options. Equal variants are merged. A
combination that makes no sense is left out with a note. It is an error if nothing is left of
something that was named.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from softrec.errors import RecipeError
from softrec.experiments.baselines import simple_recipe
from softrec.experiments.inputs import Given, seeds_of
from softrec.experiments.levels import check_noise
from softrec.experiments.naming import member_name, short, target_name, weights_name
from softrec.experiments.tuning.planned import Searches, searches
from softrec.experiments.tuning.space import Space
from softrec.experiments.variants import (
    Axes,
    Cover,
    Entry,
    Plan,
    Refused,
    VariantPlan,
    check_distinct,
)
from softrec.losses.settings import LOSSES, LossSettings
from softrec.models.registry import MODELS
from softrec.recipe.options import dotted, recipe_of, with_plugins
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import is_counted, predicts_interests, settings_of
from softrec.targets.one_hot import OneHotSettings
from softrec.targets.settings import TARGETS

NAMES = {"model": "sasrec", "loss": "mixed"}
OWN = ("model", "target", "loss")
"""The sections whose settings belong to a member of them."""
WITHIN = ("target", "loss", "weights")
"""The sections in which the variants of a group may differ."""


def plan(
    given: Given,
    axes: Axes,
    seeds: int | Sequence[int] = (0, 1, 2),
    *,
    tune: int | None = None,
    space: Any = None,
) -> Plan:
    """Return the variants of a comparison, in the order of models, targets, losses, values.

    Args:
        given: the base. All variants have its data, budget and evaluation, and its other options as
            far as they apply. Its target is not used.
        axes: the models, targets, losses and values to combine.
        seeds: of the trainings; a number n means the n seeds from the base's seed on.
        tune: search the settings of each variant with so many trials; None searches nothing.
        space: what is tried, as for `softrec tune`; what was said of a variant is not searched.

    Raises:
        RecipeError: if something fits to no variant, or is named twice.
    """
    return Planner(given, axes, searches(given, tune, space)).plan(seeds)


class Combination(NamedTuple):
    """One entry of each axis, by its number, and values of the grid."""

    model: int
    target: int
    loss: int
    values: Mapping[str, int]


class Row(NamedTuple):
    """Equal combinations: their recipe, and what is searched of it."""

    recipe: Recipe
    space: Space | None
    own: list[Combination]


class Planner:
    """Makes recipes and names from combinations."""

    def __init__(self, given: Given, axes: Axes, searches: Searches | None = None) -> None:
        self.searches = searches
        fields = with_plugins(given.fields, given.options, given.place)
        self.place, self.axes = given.place, axes
        self.named = {s: _named(fields.get(s)) or name for s, name in NAMES.items()}
        self.fields = {name: value for name, value in fields.items() if name != "target"}
        self.shared = dotted(given.options)
        for section in NAMES:
            self.named[section] = self.shared.get(f"{section}.name", self.named[section])
        self.counted = [n for n, _ in enumerate(axes.models) if is_counted(self.model(n))]
        self.trained = [n for n, _ in enumerate(axes.models) if n not in self.counted]
        self.mixed = len({self.reads(n) for n in self.trained}) > 1

    def model(self, number: int) -> str:
        """Return the name of the model of an entry."""
        return self.axes.models[number].get("name", self.named["model"])

    def reads(self, number: int) -> str:
        """Return the input of a model: "history" or "user"."""
        return getattr(MODELS.get(self.model(number)), "reads", "history")

    def plan(self, seeds: int | Sequence[int]) -> Plan:
        """Return the plan, in which equal variants are merged."""
        if not self.trained:
            raise RecipeError(
                f"{self.model(0)} is counted, not trained, and has no target; name a model that is "
                "trained, such as sasrec, beside it"
            )
        rows: dict[str, Row] = {}
        refused: list[Refused] = []
        for one in self.combinations():
            try:
                recipe = self.recipe(one)
            except RecipeError as error:
                refused.append(Refused(self.text(one), self.covers(one), error))
                continue
            space = self.space(recipe, one)
            rows.setdefault(_key(recipe, space), Row(recipe, space, [])).own.append(one)
        variants = [self.variant(row, seeds) for row in rows.values()]
        check_distinct([variant.name for variant in variants])
        check_noise(variants)
        made = Plan(tuple(variants), {}, tuple(self.notes())).without(refused)
        self.check_used(made)
        if self.searches is not None:
            self.searches.check_used([each.space for each in made.variants if each.space])
            made = replace(made, search=self.searches.settings)
        return replace(made, counted=self.simple(made.base))

    def combinations(self) -> Iterator[Combination]:
        """Yield all combinations, group by group."""
        axes = self.axes
        for model in self.trained:
            places = [p for p in axes.grid if p.partition(".")[0] not in WITHIN]
            for outer in self.values(places, model, 0, 0):
                for target, loss in product(range(len(axes.targets)), range(len(axes.losses))):
                    inner = [p for p in axes.grid if p not in places]
                    for values in self.values(inner, model, target, loss):
                        yield Combination(model, target, loss, {**outer, **values})

    def values(
        self, places: Iterable[str], model: int, target: int, loss: int
    ) -> Iterator[dict[str, int]]:
        """Yield the values of the grid, by number, for the fields that a combination has."""
        entries = self.entries(Combination(model, target, loss, {}))
        own = [p for p in places if self.applies(p, entries) and not _is_given(p, entries)]
        for numbers in product(*(range(len(self.axes.grid[place])) for place in own)):
            yield dict(zip(own, numbers, strict=True))

    def entries(self, one: Combination) -> dict[str, Entry]:
        """Return the entries of a combination by section, each with its name."""
        axes = self.axes
        return {
            "model": {"name": self.model(one.model), **axes.models[one.model]},
            "target": axes.targets[one.target],
            "loss": {"name": self.named["loss"], **axes.losses[one.loss]},
        }

    def applies(self, place: str, entries: Mapping[str, Entry]) -> bool:
        """Return whether a combination has a field; true if none has it, which is refused later."""
        section, _, field = place.partition(".")
        if section not in OWN or field == "name":
            return True
        if not self._takers(section, field):
            return True
        return _takes(section, str(entries[section]["name"]), field)

    def _takers(self, section: str, field: str) -> bool:
        axes = self.axes
        listed = {"model": axes.models, "target": axes.targets, "loss": axes.losses}[section]
        names = [str(e.get("name", self.named.get(section))) for e in listed]
        return any(_takes(section, name, field) for name in names)

    def recipe(self, one: Combination) -> Recipe:
        """Return the recipe of a combination."""
        entries = self.entries(one)
        options: dict[str, Any] = {
            place: value for place, value in self.shared.items() if self.applies(place, entries)
        }
        for section, entry in entries.items():
            if section == "target" or self._axis(section, one):
                options |= {_place(section, field): value for field, value in entry.items()}
        options |= {place: self.axes.grid[place][n] for place, n in one.values.items()}
        own_windows = "training.windows" in options and "training.windows" not in self.shared

        def adapt(fields: dict[str, Any]) -> dict[str, Any]:
            if len(self.axes.models) > 1 and not predicts_interests(entries["model"]["name"]):
                fields = {name: value for name, value in fields.items() if name != "interest"}
            if self.mixed and self.reads(one.model) == "user" and not own_windows:
                training = {**fields.get("training", {}), "windows": "interactions"}
                fields = {**fields, "training": training}
            if entries["target"]["name"] in OneHotSettings.names and "loss" in fields:
                fields = {**fields, "loss": _for_label_alone(fields["loss"])}
            return fields

        return recipe_of(self.fields, options, self.place, adapt).without_search()

    def _axis(self, section: str, one: Combination) -> Entry:
        """Return the entry that was named; empty if the member of the base is used."""
        listed = {"model": self.axes.models[one.model], "loss": self.axes.losses[one.loss]}
        return listed[section]

    def variant(self, row: Row, seeds: int | Sequence[int]) -> VariantPlan:
        """Return the variant of equal combinations."""
        recipe, space, own = row
        self.check_once(recipe, own)
        first = own[0]
        values = {place: {one.values.get(place) for one in own} for place in first.values}
        grid = {  # a value that makes no difference to a variant is none of its own
            place: self.axes.grid[place][n]
            for place, n in first.values.items()
            if len(values[place]) == 1 and _has(recipe, place)
        }
        collapsed = len({one.loss for one in own}) > 1 or any(
            place.startswith("loss.") and place not in grid for place in values
        )
        if isinstance(seeds, int):
            seeds = seeds_of(recipe.seed, seeds)
        group = self.group(first, grid)
        named = [self.row(first, recipe, some, collapsed, space) for some in ({}, grid)]
        series, name = (
            f"{whose}: {text}" if whose else text
            for whose, text in zip((self.group(first, {}), group), named, strict=True)
        )
        covers = frozenset().union(*(self.covers(one, recipe) for one in own))
        copies = tuple(recipe.model_copy(update={"seed": seed}) for seed in seeds)
        return VariantPlan(name, group, series, grid, copies, space, covers)

    def space(self, recipe: Recipe, one: Combination) -> Space | None:
        """Return what is searched of a variant; None if nothing is."""
        if self.searches is None:
            return None
        entries = self.entries(one)
        kept = {_place(s, field) for s, entry in entries.items() for field in entry}
        return self.searches.space(recipe, kept | set(one.values), self.shared)

    def check_once(self, recipe: Recipe, own: Sequence[Combination]) -> None:
        """Refuse what was named twice; with one-hot labels several losses may be the same."""
        first, alone = own[0], isinstance(recipe.target, OneHotSettings)
        for other in own[1:]:
            if (alone or first.loss == other.loss) and first[:2] == other[:2]:
                continue
            for axis in OWN:
                if getattr(first, axis) != getattr(other, axis):
                    text = member_name(self.entries(other)[axis])
                    raise RecipeError(f"the {axis} {text} is given twice; compare different ones")

    def check_used(self, made: Plan) -> None:
        """Refuse a loss or a value that was named but that no variant has."""
        covered = frozenset().union(*(variant.covers for variant in made.variants))
        for number, entry in enumerate(self.axes.losses):
            if Cover("loss", number) not in covered:
                name = entry.get("name", self.named["loss"])
                raise RecipeError(
                    f"no variant is trained with the loss {name}, for the label alone has another; "
                    "name a soft target, such as uniform, or leave the loss out"
                )
        for place, values in self.axes.grid.items():
            if Cover(place, 0) not in covered:
                raise RecipeError(
                    f"no variant takes {place}={values[0]} of the grid, for all have a value of "
                    "their own; leave it out of the grid or out of the brackets"
                )

    def covers(self, one: Combination, recipe: Recipe | None = None) -> frozenset[Cover]:
        """Return what a combination covers; with one-hot labels the loss may be another one."""
        loss = self.axes.losses[one.loss].get("name", self.named["loss"])
        other = recipe is not None and recipe.loss.name != loss
        axes = {"model": one.model, "target": one.target, "loss": one.loss, **one.values}
        return frozenset(Cover(*each) for each in axes.items() if not (other and each[0] == "loss"))

    def group(self, one: Combination, grid: Mapping[str, Any]) -> str:
        """Return the name of a group: its model, with the given settings."""
        outer = {place: v for place, v in grid.items() if place.partition(".")[0] not in WITHIN}
        several = len(self.trained) > 1
        if not several and not any(p.partition(".")[0] not in WITHIN for p in self.axes.grid):
            return ""
        own = self.axes.models[one.model] if several else {}
        return member_name({"name": self.model(one.model), **short(own), **short(outer)})

    def row(
        self,
        one: Combination,
        recipe: Recipe,
        grid: Mapping[str, Any],
        collapsed: bool,
        space: Space | None = None,
    ) -> str:
        """Return the name of a variant inside its group."""
        left_out = {place for place in one.values if place not in grid}
        left_out |= set() if space is None else space.facts().keys()  # values are yet to be found
        shown = () if space is None else self.axes.targets[one.target]  # a default is one of them
        target = target_name(recipe, {p.removeprefix("target.") for p in left_out}, shown)
        if any(place.startswith("weights.") for place in one.values):
            target = f"{target}, {weights_name(recipe)}"
        losses = any(place.startswith("loss.") for place in one.values)
        if (len(self.axes.losses) < 2 and not losses) or collapsed:
            return target
        entry = self.axes.losses[one.loss]
        own = entry if entry.get("name", recipe.loss.name) == recipe.loss.name else {}
        values = {place: value for place, value in grid.items() if place.startswith("loss.")}
        return f"{target}, {member_name({**short(own), 'name': recipe.loss.name, **short(values)})}"

    def text(self, one: Combination) -> str:
        """Return a combination in words, for notes and messages."""
        entries = self.entries(one)
        several = (("model", self.trained), ("target", (0, 0)), ("loss", self.axes.losses))
        return ", ".join(member_name(entries[s]) for s, listed in several if len(listed) > 1)

    def notes(self) -> Iterator[str]:
        """Yield notes on settings that a model has because the other models need others."""
        for place in self.shared:
            section, _, field = place.partition(".")
            listed = {"model": self.axes.models, "target": self.axes.targets}.get(
                section, self.axes.losses if section == "loss" else ()
            )
            names = dict.fromkeys(str(e.get("name", self.named.get(section))) for e in listed)
            takers = [name for name in names if _takes(section, name, field)]
            if field != "name" and 0 < len(takers) < len(names):
                yield f"{place} is a setting of {', '.join(takers)} alone."
        for number in self.trained if self.mixed else ():
            if self.reads(number) == "user" and "training.windows" not in self.axes.models[number]:
                yield (
                    f"{self.model(number)} reads no history and is trained on single interactions "
                    "(windows: interactions)."
                )

    def simple(self, base: Recipe) -> dict[str, Recipe]:
        """Return the recipes of the simple baselines that were named among the models."""
        found: dict[str, Recipe] = {}
        for number in self.counted:
            entry = self.axes.models[number]
            name = member_name(short(entry))
            if name in found:
                raise RecipeError(f"the model {name} is given twice; compare different ones")
            found[name] = simple_recipe(base, entry)
        return found


def _key(recipe: Recipe, space: Space | None) -> str:
    """Return what makes a variant: its recipe, with the defaults of the model, and its search."""
    model = {"name": recipe.model.name, **recipe.model.whole}
    fields = {**recipe.model_dump(mode="json"), "model": model}
    searched = None if space is None else space.facts()
    return json.dumps([fields, searched], sort_keys=True)


def _takes(section: str, name: str, field: str) -> bool:
    """Return whether a member of a section has a setting."""
    if section == "model":
        return name in MODELS and (field == "preset" or field in settings_of(name))
    registry = TARGETS if section == "target" else LOSSES
    return name in registry and field in registry[name].model_fields


def _has(recipe: Recipe, place: str) -> bool:
    """Tell whether a field of the loss is one of the loss that a recipe has."""
    section, _, field = place.partition(".")
    return section != "loss" or _takes(section, recipe.loss.name, field)


def _named(section: object) -> Any:
    return section.get("name") if isinstance(section, Mapping) else section


def _place(section: str, field: str) -> str:
    """Return the place in a recipe of a field in brackets: "dim" is "model.dim"."""
    return field if "." in field else f"{section}.{field}"


def _is_given(place: str, entries: Mapping[str, Entry]) -> bool:
    """Return whether a field has a value in brackets, which is kept."""
    return any(place == _place(s, field) for s, entry in entries.items() for field in entry)


def _for_label_alone(loss: Any) -> Any:
    """Return the section of the loss that is used without a soft target."""
    try:
        return LossSettings.read(loss).for_label_alone().model_dump(mode="json")
    except (PydanticCustomError, ValidationError):  # the recipe is about to say it
        return loss
