"""The variants of a comparison: what is trained, in which groups, and what was left out.

Variants that differ in target and loss alone are a group, and its first is the baseline of the
others. `combinations` makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from softrec.errors import RecipeError, SoftrecError
from softrec.recipe.listed import PLURALS, parse_grid, parse_list
from softrec.recipe.options import dotted
from softrec.recipe.recipe import Recipe

Entry = Mapping[str, Any]
"""A member with its settings, by name; empty: what the base has."""


class Axes(NamedTuple):
    """What is combined, as sections of recipes; the first target is the baseline."""

    targets: Sequence[Entry]
    models: Sequence[Entry] = ({},)
    losses: Sequence[Entry] = ({},)
    grid: Mapping[str, Sequence[Any]] = {}  # values by the place of a field: {"target.alpha": ...}


def axes_of(targets: Any, models: Any, losses: Any, grid: Any, options: Mapping[str, Any]) -> Axes:
    """Return what is to be combined, from texts or lists; None names nothing.

    Raises:
        RecipeError: if something cannot be read, or `options` are about the target, or name a model
            or a loss, too.
    """
    for name, value in options.items():
        if any(place.startswith("target.") for place in dotted({name: value})):
            raise RecipeError(
                f"{name} belongs to one of the targets that are compared; give it in brackets, "
                "such as targets='one-hot,pop+(alpha=0.3)'"
            )
    named = dotted(options)
    for several, place in ((models, "model"), (losses, "loss")):
        if several is not None and f"{place}.name" in named:
            raise RecipeError(
                f"{place} names one and {PLURALS[place]} several; leave out {place}, or put it "
                f"first among the {PLURALS[place]}"
            )
    return Axes(
        parse_list("target", targets),
        ({},) if models is None else parse_list("model", models),
        ({},) if losses is None else parse_list("loss", losses),
        parse_grid(grid),
    )


@dataclass(frozen=True)
class VariantPlan:
    """A row of a comparison that is trained."""

    name: str
    group: str  # those that differ in target and loss alone; "" if all do
    series: str  # the name without the values of the grid
    grid: Mapping[str, Any]  # the values of the grid, by place
    recipes: tuple[Recipe, ...]  # for each seed
    covers: frozenset[Cover] = frozenset()  # what was named that it is an answer to


class Cover(NamedTuple):
    """Something that was named: an entry of an axis, or a value of a field of the grid."""

    axis: str
    place: int


class Refused(NamedTuple):
    """A combination that makes no sense, and why."""

    name: str
    covers: frozenset[Cover]
    error: SoftrecError


@dataclass(frozen=True)
class Plan:
    """What a comparison trains, and what it counts."""

    variants: tuple[VariantPlan, ...]
    counted: Mapping[str, Recipe]  # simple baselines that were named among the models
    notes: tuple[str, ...] = ()

    @property
    def base(self) -> Recipe:
        """Return a recipe with the data and the evaluation of all."""
        return self.variants[0].recipes[0]

    @property
    def baselines(self) -> list[int]:
        """Return for each variant the place of its baseline, the first of its group."""
        first: dict[str, int] = {}
        return [first.setdefault(v.group, place) for place, v in enumerate(self.variants)]

    def without(self, refused: Iterable[Refused]) -> Plan:
        """Return the plan without some variants, with a note on each.

        Raises:
            RecipeError: if nothing is left of something that was named, or a group loses its
                baseline.
        """
        refused = list(refused)
        names = {each.name for each in refused}
        kept = tuple(v for v in self.variants if v.name not in names)
        _check_left(kept, refused)
        notes = [f"{each.name} is left out: {each.error}." for each in refused]
        return replace(self, variants=kept, notes=(*self.notes, *dict.fromkeys(notes)))


def _check_left(kept: Sequence[VariantPlan], refused: Sequence[Refused]) -> None:
    """Refuse to leave out all of something that was named, or the baseline of a group."""
    covered = frozenset().union(*(variant.covers for variant in kept))
    groups: dict[str, set[int]] = {}
    for variant in kept:
        targets = (cover.place for cover in variant.covers if cover.axis == "target")
        groups.setdefault(variant.group, set()).update(targets)
    lost = any(0 not in targets for targets in groups.values())
    for each in refused:
        if each.covers - covered or (lost and Cover("target", 0) in each.covers):
            raise each.error


def check_distinct(names: Sequence[str]) -> None:
    """Refuse rows of the same name.

    Raises:
        RecipeError: with the name.
    """
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RecipeError(f"{twice.pop()} is given twice; compare different ones")
