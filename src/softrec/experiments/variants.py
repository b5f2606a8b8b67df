"""The variants of a comparison: what is trained, in which groups, and what is left out.

Variants that differ only in target and loss are a group, and the first of a group is the baseline
of the others. `combinations` makes the variants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from softrec.errors import RecipeError, SoftrecError
from softrec.experiments.tuning.space import Space
from softrec.recipe.listed import PLURALS, parse_grid, parse_list
from softrec.recipe.options import dotted
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.tune import TuneSettings

Entry = Mapping[str, Any]
"""A member with its settings, by name; empty for the member of the base."""


class Axes(NamedTuple):
    """The models, targets, losses and values to combine; the first target is the baseline."""

    targets: Sequence[Entry]
    models: Sequence[Entry] = ({},)
    losses: Sequence[Entry] = ({},)
    grid: Mapping[str, Sequence[Any]] = {}  # values by the place of a field: {"target.alpha": ...}


def axes_of(targets: Any, models: Any, losses: Any, grid: Any, options: Mapping[str, Any]) -> Axes:
    """Return the axes from texts or lists; None stands for the member of the base.

    Raises:
        RecipeError: if something cannot be read, if `options` contain settings of the target, or
            if they name a model or a loss in addition to `models` or `losses`.
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
    """A variant that is trained: a row of a comparison."""

    name: str
    group: str  # the name of its group; "" if there is only one group
    series: str  # the name without the values of the grid
    grid: Mapping[str, Any]  # the values of the grid, by place
    recipes: tuple[Recipe, ...]  # for each seed
    space: Space | None = None  # what is searched of it, if anything is
    covers: frozenset[Cover] = frozenset()  # the entries and values that it covers

    @property
    def untuned(self) -> Recipe:
        """Return the recipe before its settings were searched."""
        return self.recipes[0] if self.space is None else self.space.base


class Cover(NamedTuple):
    """Something that the user named: an entry of an axis, or a value of the grid."""

    axis: str
    place: int


class Refused(NamedTuple):
    """A combination that makes no sense, and why."""

    name: str
    covers: frozenset[Cover]
    error: SoftrecError


@dataclass(frozen=True)
class Plan:
    """The variants that a comparison trains, and the models that it counts."""

    variants: tuple[VariantPlan, ...]
    counted: Mapping[str, Recipe]  # simple baselines that were named among the models
    notes: tuple[str, ...] = ()
    search: TuneSettings | None = None  # how the settings of each variant are searched

    @property
    def base(self) -> Recipe:
        """Return a recipe that has the data and the evaluation of all variants."""
        return self.variants[0].untuned

    @property
    def baselines(self) -> list[int]:
        """Return for each variant the number of its baseline, which is the first of its group."""
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


def check_distinct(names: Sequence[str], remedy: str = "compare different ones") -> None:
    """Refuse rows of the same name.

    Args:
        names: of the rows.
        remedy: how to fix it.

    Raises:
        RecipeError: with the name.
    """
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RecipeError(f"{twice.pop()} is given twice; {remedy}")
