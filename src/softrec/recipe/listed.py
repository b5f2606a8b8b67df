"""Reads lists of models, targets and losses to compare, and of values to try."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from softrec.errors import RecipeError
from softrec.recipe.objects import is_object, member_name, target_fields
from softrec.recipe.options import (
    EXAMPLES,
    absolute,
    dotted,
    parse_assignment,
    parse_member,
    parts_of,
    plain,
    spread,
)
from softrec.recipe.specs.data import OF_TRAINING

Section = Literal["model", "target", "loss"]
PLURALS = {"model": "models", "target": "targets", "loss": "losses"}
NOT_GRID = ("evaluation", "seed", "plugins")
MONITOR = "training.monitor"
NAMED_IN_GRID = ("candidates", "weights")
IN_GRID = tuple(f"data.{field}" for field in OF_TRAINING)


def parse_list(section: Section, given: object) -> list[dict[str, Any]]:
    """Return sections of a recipe for a text, separated by commas outside brackets, or a list.

    Args:
        section: "model", "target" or "loss".
        given: a text, a section such as {"name": "pop+", "alpha": 0.4}, a Python object in its
            place, or a list of these.

    Raises:
        RecipeError: if it is none of these, is empty, or has a field in brackets that must be the
            same for all rows.

    Example:
        >>> [model["name"] for model in parse_list("model", "sasrec(dim=64),mf")]
        ['sasrec', 'mf']
    """
    found = [absolute(one) for one in _listed(section, given)]
    if not found:
        raise RecipeError(
            f"there are no {PLURALS[section]} to compare; give some, such as {EXAMPLES[section]}"
        )
    for one in found:
        for field in one:
            _check_shared(str(one["name"]), field)
    return found


def parse_targets(targets: object) -> list[dict[str, Any]]:
    """Return the target sections of a text or a list, see `parse_list`."""
    return parse_list("target", targets)


def _listed(section: Section, given: object) -> list[dict[str, Any]]:
    if isinstance(given, str):
        return [parse_member(section, part) for part in parts_of(given)]
    if isinstance(given, Mapping):
        if not isinstance(given.get("name"), str):
            raise RecipeError(
                f"{dict(given)} does not name a {section}; expected for instance "
                f"{parse_member(section, EXAMPLES[section])}"
            )
        return [{str(field): value for field, value in spread(given)}]
    if section == "target" and is_object(given):
        return [{name: plain(value) for name, value in target_fields(given).items()}]
    if section != "target" and callable(given):
        return [{"name": member_name(section, given)}]
    if isinstance(given, Iterable):
        return [one for part in given for one in _listed(section, part)]
    raise RecipeError(
        f"{PLURALS[section]} must be a text such as {EXAMPLES[section]!r} or a list of names and "
        f"of settings, not an object of type {type(given).__name__}"
    )


def shown_list(section: Section, given: object) -> object:
    """Return a list as a report shows it; an object is shown by its name."""
    if given is None or isinstance(given, str | Mapping):
        return given
    alone = is_object(given) if section == "target" else callable(given)
    parts: list[Any] = [given] if alone else list(given)  # pyright: ignore[reportArgumentType]
    return [part if isinstance(part, str | Mapping) else _name(section, part) for part in parts]


def _name(section: Section, thing: Any) -> str:
    if section == "target":
        return target_fields(thing).get("label", str(thing))
    return getattr(thing, "__name__", type(thing).__name__)


def parse_grid(given: object) -> dict[str, list[Any]]:
    """Return the values to try of each field, by its place in a recipe.

    Args:
        given: texts such as "target.alpha=0.1,0.3", or {"target.alpha": [0.1, 0.3]}. A field may
            have its short name, such as "alpha".

    Raises:
        RecipeError: if a field is unknown or must be the same for all variants, or if a value is
            given twice.

    Example:
        >>> parse_grid(["alpha=0.1,0.3"])
        {'target.alpha': [0.1, 0.3]}
    """
    found: dict[str, list[Any]] = {}
    for name, values in _fields(given):
        ((place, _),) = dotted({name: 0}).items()
        _check_comparable(name, place)
        twice = [value for n, value in enumerate(values) if value in values[:n]]
        if twice or place in found:
            raise RecipeError(f"{name}{f'={twice[0]}' if twice else ''} is given twice in the grid")
        if not values:
            raise RecipeError(f"there are no values of {name} to try; give some: {name}=0.1,0.3")
        found[place] = values
    return found


def _check_shared(member: str, place: str) -> None:
    """Refuse a field in the brackets of one row that must be the same for all of them.

    False positives may differ, but a row is compared with the baseline of its own share, and only
    a grid makes one for each share.
    """
    if place in IN_GRID:
        raise RecipeError(
            f"{member} has {place} in brackets, but a row is compared with a baseline of the same "
            f"false positives; make one for each share with --grid {place}=..."
        )
    if place.startswith(("data.", "evaluation.")) or place == MONITOR:
        raise RecipeError(
            f"{member} has {place} in brackets, but the data, the evaluation and the metric that "
            "chooses the epoch are the same for all rows of a comparison; give it outside the "
            "brackets, for all of them"
        )


def _check_comparable(name: str, place: str) -> None:
    """Refuse a field that must be the same for all rows of a comparison."""
    section, _, field = place.partition(".")
    if place == MONITOR:
        raise RecipeError(
            f"a grid over {name} would choose the epochs of its rows by different metrics, so that "
            "their results cannot be compared; leave it out"
        )
    if section == "data" and place not in IN_GRID:
        raise RecipeError(
            f"a grid over {name} would test its rows on different cases, whose metrics cannot be "
            f"compared; make a comparison for each value. Of data, a grid takes "
            f"{' and '.join(IN_GRID)}, which change the training part alone"
        )
    if section in NOT_GRID or (field == "name" and section not in NAMED_IN_GRID):
        remedy = f"name them in {PLURALS[section]}" if section in PLURALS else "leave it out"
        raise RecipeError(f"a grid over {name} would compare what cannot be compared so; {remedy}")


def _fields(given: object) -> Iterable[tuple[str, list[Any]]]:
    if isinstance(given, Mapping):
        for name, values in given.items():
            several = isinstance(values, Iterable) and not isinstance(values, str)
            yield str(name), [plain(v) for v in values] if several else [plain(values)]
        return
    for text in [given] if isinstance(given, str) else given or ():  # pyright: ignore[reportGeneralTypeIssues]
        name, equals, values = str(text).partition("=")
        if not equals or not name.strip():
            raise RecipeError(f"expected such as target.alpha=0.1,0.3, got {text!r}")
        yield name.strip(), [parse_assignment(f"{name}={part}")[1] for part in parts_of(values)]
