"""The space of a search: the settings of a recipe that are tried, and their ranges.

Ranges are defined next to the settings (`search=`, `SEARCH` of a model); the user can replace them.
Settings of a target or a loss are tried only with that target or loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from softrec.errors import RecipeError
from softrec.losses.settings import LOSSES, LossSettings
from softrec.models.registry import MODELS
from softrec.recipe.fields import extra, simple
from softrec.recipe.options import recipe_of
from softrec.recipe.recipe import Recipe
from softrec.recipe.space import Between, Choices, Range, parse_range
from softrec.recipe.specs.models import settings_of
from softrec.recipe.specs.training import InterestSettings, TrainingSettings
from softrec.recipe.specs.trials import BUDGET
from softrec.settings import numeric
from softrec.targets.one_hot import OneHotSettings
from softrec.targets.settings import TARGETS

NAMES = {"target": ("one-hot", "uniform", "pop+"), "loss": ("mixed", "decoupled")}
"""The targets to try if neither target nor loss was named."""
Pick = Callable[[str, Range], Any]
"""Chooses a value from a range, by the name of the parameter."""


@dataclass(frozen=True)
class Space:
    """The settings to try for a recipe.

    Attributes:
        base: the recipe.
        own: the ranges given by the user, by the place of a field.
        given: places of fields that keep the value of the recipe.
        targets: the names of the targets to try.
        losses: the names of the losses to try with soft targets.
        left_out: places whose ranges do not fit the recipe.
    """

    base: Recipe
    own: Mapping[str, Range]
    given: frozenset[str]
    targets: tuple[str, ...]
    losses: tuple[str, ...]
    left_out: frozenset[str] = frozenset()

    def settings(self, pick: Pick) -> dict[str, Any]:
        """Return settings by place, each chosen by `pick` if its range has several values."""
        target = self._name("target", self.targets, pick)
        loss = self._loss(target, pick)
        found: dict[str, Any] = {}
        if len(self.targets) > 1 or target != self.base.target.name:
            found["target.name"] = target
        several = len(self.losses) > 1 or loss != self.base.loss.name
        if several and not is_hard(target):
            found["loss.name"] = loss
        for place, tried in self.fields(target, loss).items():
            if isinstance(tried, Choices) and len(tried.values) == 1:
                found[place] = tried.values[0]
            else:
                found[place] = pick(self.key(place, target, loss), tried)
        return found

    def near(
        self, values: Mapping[str, Any], target: str | None = None, loss: str | None = None
    ) -> dict[str, Any]:
        """Return the settings in the space that are nearest to given values and to the recipe.

        Args:
            values: by place; for other places the values of the recipe are used.
            target: by default that of the recipe, or the first if that is not tried.
            loss: by default that of the recipe, or the first if that is not tried.
        """
        named = {
            "target.name": target or Choices(self.targets).nearest(self.base.target.name),
            "loss.name": loss or Choices(self.losses).nearest(self.base.loss.name),
        }
        places = {
            self.key(place, named["target.name"], named["loss.name"]): place
            for place in self.fields(named["target.name"], named["loss.name"])
        }

        def pick(key: str, tried: Range) -> Any:
            if key in named:
                return named[key]
            place = places[key]
            own = values.get(place, self.value(place, named["target.name"], named["loss.name"]))
            return tried.nearest(own)

        return self.settings(pick)

    def parameters(self, settings: Mapping[str, Any]) -> dict[str, tuple[Any, Range]]:
        """Return settings with their ranges, by the names of the parameters."""
        target = settings.get("target.name", self.targets[0])
        loss = settings.get("loss.name", self.losses[0])
        if is_hard(target):
            loss = LossSettings.read({"name": loss}).for_label_alone().name
        places = {self.key(place, target, loss): place for place in self.fields(target, loss)}
        asked: dict[str, tuple[Any, Range]] = {}

        def pick(key: str, tried: Range) -> Any:
            asked[key] = settings[places.get(key, key)], tried
            return asked[key][0]

        self.settings(pick)
        return asked

    def recipe(self, settings: Mapping[str, Any], base: Recipe | None = None) -> Recipe:
        """Return the recipe with settings.

        Args:
            settings: by place.
            base: the recipe to change; by default the recipe of the space.

        Raises:
            RecipeError: if they do not fit together.
        """
        recipe = base or self.base

        def adapt(fields: dict[str, Any]) -> dict[str, Any]:
            target = fields.get("target", {})
            if isinstance(target, Mapping) and is_hard(str(target.get("name"))):
                loss = LossSettings.read(fields["loss"]).for_label_alone()
                fields = {**fields, "loss": loss.model_dump(mode="json")}
            return fields

        fields = recipe.model_dump(mode="json")
        return recipe_of(fields, settings, "the space", adapt).without_search()

    def fields(self, target: str, loss: str) -> dict[str, Range]:
        """Return the range of each field that is tried with a target and a loss."""
        found: dict[str, Range] = {}
        for place, info in places_of(self.base, target, loss):
            if place in self.left_out and place not in self.own:
                continue
            tried = self._range(place, info, target, loss)
            if tried is not None:
                found[place] = _typed(place, tried, info)
        return found

    def value(self, place: str, target: str, loss: str) -> Any:
        """Return the value of the recipe at a place, or the default of another target or loss."""
        section, _, field = place.partition(".")
        own = getattr(self.base, section)
        if section == "model":
            default = settings_of(own.name)[field].default
            return own.settings.get(field, default)
        if section == "target" and own.name != target:
            return TARGETS[target].model_fields[field].get_default()
        if section == "loss" and own.name != loss:
            return LOSSES[loss].model_fields[field].get_default()
        return getattr(own, field, None)

    def key(self, place: str, target: str, loss: str) -> str:
        """Return the name of a parameter; with several targets it has the name of its target."""
        section, _, field = place.partition(".")
        if section == "target" and len(self.targets) > 1:
            return f"target.{target}.{field}"
        if section == "loss" and len(self.losses) > 1:
            return f"loss.{loss}.{field}"
        return place

    def branches(self) -> Iterator[tuple[str, str]]:
        """Yield each target to try with each of its losses."""
        for target in self.targets:
            for loss in self.losses:
                alone = LossSettings.read({"name": loss}) if is_hard(target) else None
                yield target, alone.for_label_alone().name if alone else loss
                if alone:
                    break

    def facts(self) -> dict[str, str]:
        """Return all ranges as texts, by the names of the parameters."""
        found: dict[str, str] = {}
        for section, names in (("target", self.targets), ("loss", self.losses)):
            if len(names) > 1:
                found[f"{section}.name"] = ",".join(names)
        for target, loss in self.branches():
            ranges = self.fields(target, loss)
            found |= {self.key(place, target, loss): str(one) for place, one in ranges.items()}
        return found

    def _name(self, section: str, names: tuple[str, ...], pick: Pick) -> str:
        first, *others = names
        return pick(f"{section}.name", Choices(names)) if others else first

    def _loss(self, target: str, pick: Pick) -> str:
        if is_hard(target):
            return LossSettings.read({"name": self.losses[0]}).for_label_alone().name
        return self._name("loss", self.losses, pick)

    def _range(self, place: str, info: FieldInfo, target: str, loss: str) -> Range | None:
        """Return the range of a field: that of the user, else the one defined with the setting."""
        if place in self.own:
            return self.own[place]
        section, _, field = place.partition(".")
        default = extra(info, "search")
        if section == "model":
            default = getattr(MODELS[self.base.model.name], "SEARCH", {}).get(field)
        value = self.value(place, target, loss)
        if place in self.given or not default or value is None or isinstance(value, str):
            return None
        return parse_range(place, default).with_value(value)


def rounded(value: float) -> float:
    """Return a number rounded to four digits, so that a recipe is easy to read.

    Example:
        >>> rounded(0.00123456)
        0.001235
    """
    return float(f"{value:.4g}")


def is_hard(target: str) -> bool:
    """Return whether a target is the label alone."""
    return target in OneHotSettings.names


def places_of(recipe: Recipe, target: str, loss: str) -> Iterator[tuple[str, FieldInfo]]:
    """Yield place and field of everything that a recipe can have with a target and a loss."""
    kinds: dict[str, Mapping[str, FieldInfo]] = {
        "model": settings_of(recipe.model.name),
        "target": TARGETS[target].model_fields,
        "loss": LOSSES[loss].model_fields,
        "candidates": type(recipe.candidates).model_fields,
        "weights": type(recipe.weights).model_fields,
        "training": TrainingSettings.model_fields,
        "interest": InterestSettings.model_fields if recipe.interest is not None else {},
    }
    for section, fields in kinds.items():
        for name, info in fields.items():
            if name != "name" and f"{section}.{name}" not in BUDGET:
                yield f"{section}.{name}", info


def _typed(place: str, tried: Range, info: FieldInfo) -> Range:
    """Return a range of whole numbers if the field has whole numbers, else of any numbers.

    Raises:
        RecipeError: if the field has no numbers.
    """
    if not isinstance(tried, Between):
        return tried
    if not numeric(info.annotation):
        raise RecipeError(
            f"{place}={tried} is a range, but the field has no numbers; give values: {place}=a,b"
        )
    kind = int if simple(info) is int else float
    if kind is int and (tried.low != int(tried.low) or tried.high != int(tried.high)):
        raise RecipeError(
            f"{place}={tried} is a range, but the field has whole numbers; give such ends"
        )
    return Between(kind(tried.low), kind(tried.high), tried.log)
