"""Names of variants, and of members with settings."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from softrec.recipe.recipe import Recipe
from softrec.targets.mixture import MixtureSettings, PartSettings

NOT_SETTINGS = ("name", "of", "label", "kind", "fingerprint")


def target_name(recipe: Recipe, left_out: Iterable[str] = (), shown: Container[str] = ()) -> str:
    """Return the name of a target, with the settings that distinguish it from others.

    Args:
        recipe: that has the target.
        left_out: settings without a value.
        shown: settings that are in the name even if they have their default, as alpha always is.
    """
    settings = {
        key: value
        for key, value in recipe.target.model_dump(mode="json").items()
        if key not in (*NOT_SETTINGS, *left_out)
        and (
            key == "alpha" or key in shown or value != type(recipe.target).model_fields[key].default
        )
    }
    if isinstance(recipe.target, MixtureSettings):
        settings["of"] = " and ".join(map(_part_name, recipe.target.of))
    return _with_settings(getattr(recipe.target, "label", recipe.target.name), settings)


def _part_name(part: PartSettings) -> str:
    """Return the name of a component of a mixture, after its weight; its alpha is not used."""
    left_out = {*NOT_SETTINGS, "alpha"}
    own = part.target.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
    name = _with_settings(getattr(part.target, "label", part.target.name), own)
    return name if part.weight == 1 else f"{part.weight:g} {name}"


def _with_settings(name: str, settings: Mapping[str, Any]) -> str:
    """Return a name with settings in brackets; a path is long, and valid on this machine only."""
    inside = ", ".join(
        f"{key} {name_of(value) if key == 'teacher' and value else _shown(value)}"
        for key, value in settings.items()
    )
    return f"{name} ({inside})" if inside else name


def weights_name(recipe: Recipe) -> str:
    """Return the name of the weights, with the settings that differ from the defaults."""
    return member_name(recipe.weights.model_dump(mode="json", exclude_defaults=True))


def name_of(run: str | dict[str, Any]) -> str:
    """Return the name of a run's folder, or of the model of its recipe."""
    if isinstance(run, str):
        return Path(run).name
    return run.get("model", {}).get("name", "the run of a recipe")


def short(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields by the last part of their names: "lr" for "training.lr"."""
    ends = {place: place.rpartition(".") for place in entry}
    return {
        (section if section and end == "name" else end): entry[place]
        for place, (section, _, end) in ends.items()
    }


def member_name(entry: Mapping[str, Any]) -> str:
    """Return the name of a member with its settings, such as "sasrec (dim 64)"."""
    settings = {key: value for key, value in entry.items() if key not in NOT_SETTINGS}
    inside = ", ".join(f"{key} {_shown(value)}" for key, value in settings.items())
    name = entry.get("label", entry.get("name", ""))
    return f"{name} ({inside})" if inside else str(name)


def _shown(value: Any) -> Any:
    """Return a value as it is shown: a member by its name, others as they are."""
    return member_name(value) if isinstance(value, Mapping) and "name" in value else value
