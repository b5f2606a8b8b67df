"""The fields that have an option and a keyword of their own, read from the settings classes.

`softrec fit`, `fit()`, `compare()` and the tables of docs/recipes.md take theirs from here, so that
a field is added in one place: its settings class, with `common=True`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from softrec.errors import RecipeError
from softrec.recipe.recipe import Recipe, sections
from softrec.recipe.specs.models import ModelSettings


@dataclass(frozen=True)
class Option:
    """What is set by one name: `alpha`, of all targets that have it."""

    name: str
    """The keyword: "alpha"."""
    path: str
    """The place in a recipe: "target.alpha"."""
    fields: dict[str, FieldInfo] = field(default_factory=dict)
    """The field, by the members of its section that have it; by "" where there is no choice."""

    @property
    def section(self) -> str:
        """Return the section of a recipe that it belongs to; "" for none."""
        return self.path.rpartition(".")[0]

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the names on the command line: ("--model", "-m")."""
        own = extra(next(iter(self.fields.values())), "flags")
        return own or (f"--{self.name.replace('_', '-')}",)


def extra(info: FieldInfo, name: str) -> Any:
    """Return what `setting` was told of a field, beside what pydantic knows."""
    told = info.json_schema_extra
    return told.get(name) if isinstance(told, Mapping) else None


def places() -> dict[str, type[BaseModel]]:
    """Return the settings at each place of a recipe, in the order of its sections."""
    found = {**sections(), "model": ModelSettings}
    order = ["", *Recipe.model_fields]
    return dict(sorted(found.items(), key=lambda item: order.index(item[0].partition(".")[0])))


def options() -> dict[str, Option]:
    """Return all options by their keywords, in the order of the sections.

    Raises:
        RecipeError: if fields of two sections claim the same keyword.
    """
    found: dict[str, Option] = {}
    for section in Recipe.model_fields:
        for member, name, path, info in _common(section):
            option = found.setdefault(name, Option(name, path))
            if option.path != path:
                raise RecipeError(
                    f"{name} is a keyword of {option.path} and of {path}; one of them must have "
                    "another name, or no common=True"
                )
            option.fields[member] = info
    return found


def _common(section: str) -> Iterator[tuple[str, str, str, FieldInfo]]:
    """Yield member, name, path and field of what is common in a section, itself first."""
    own, below = Recipe.model_fields[section], _below(section)
    if extra(own, "common"):
        yield "", section, f"{section}.name" if below else section, own
    for member, settings in below.items():
        for name, info in settings.model_fields.items():
            if extra(info, "common"):
                yield member, name, f"{section}.{name}", info


def _below(section: str) -> dict[str, type[BaseModel]]:
    """Return the settings of a section by the members it is chosen from; by "" without choice."""
    split = {place.partition("."): settings for place, settings in places().items()}
    return {member: settings for (first, _, member), settings in split.items() if first == section}
