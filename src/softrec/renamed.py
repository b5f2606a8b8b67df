"""Former names of recipe fields, their values and Python names: accepted for one release.

If a user's recipe has former names, a `RenamedWarning` says the new ones. The recipe inside a run
folder is read without a warning, because it should not be edited. Training in an unfinished folder
resumes, because the two recipes are compared in the new names. Results in the cache are computed
again, because the names of their files contain the version of softrec.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from softrec.errors import RecipeError

FIELDS = {
    "data.valid_share": "valid_fraction",
    "data.test_share": "test_fraction",
    "training.padding": "padding_side",
    "target.mixture.of.share": "weight",
}
"""By the place of a field, with the name of a target in it."""
VALUES = {
    "training.windows": {"pieces": "sliding"},
    "target.pop+.scale": {"share": "frequency"},
}
OPTIONS = {"padding": "padding_side"}
"""Of `fit` and `compare` in Python, where a field needs no section before it."""
RUNS = ("teacher", "start")
"""The fields that name another run: its folder, or its recipe, which is read like any other."""


FORMER_DEFAULTS: dict[str, dict[str, Any]] = {
    "comirec-dr": {"same_maps": False, "scale": False},
    "nfm": {"batch_norm": True},
    "tisasrec": {"norm": "pre", "scale": False},
}
"""What models were built with in run folders that do not say it."""

FORMER_TRAINING = {"batch_size": 128, "patience": 5}
"""Former defaults of training, which stand in the run folders of models that are counted, too."""


class RenamedWarning(FutureWarning):
    """A former name is used, which the next release will not accept."""


def current(fields: Any, *, warn: bool = True) -> Any:
    """Return the fields of a recipe with their present names, in the same order.

    Args:
        fields: nested plain data; anything else is returned as it is.
        warn: say which former names were found.

    Raises:
        RecipeError: if a field is given under both names.

    Example:
        >>> current({"data": {"valid_share": 0.2}}, warn=False)
        {'data': {'valid_fraction': 0.2}}
    """
    found: dict[str, None] = {}  # ordered, each once
    renamed = _current(fields, "", found)
    if found and warn:
        _warn("; ".join(found))
    return renamed


def current_option(name: str) -> str:
    """Return the present name of an option, flat or dotted, with a warning if it has another."""
    section, _, _ = name.rpartition(".")
    new = OPTIONS.get(name) or (f"{section}.{FIELDS[name]}" if name in FIELDS else name)
    if new != name:
        _warn(f"{name} is now {new}")
    return new


def current_value(place: str, value: Any) -> Any:
    """Return the present name of a value, with a warning if it has another.

    Example:
        >>> current_value("training.windows", "last")
        'last'
    """
    new = _value(place, value)
    if new is not value:
        _warn(f"{place.rpartition('.')[2]}: {value} is now {new}")
    return new


def former_names(module: str, names: Mapping[str, Any]) -> Callable[[str], Any]:
    """Return a `__getattr__` for a module that accepts the former names of its objects."""

    def found(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        _warn(f"{module}.{name} is now {names[name].__name__}")
        return names[name]

    return found


def _current(value: Any, place: str, found: dict[str, None]) -> Any:
    if isinstance(value, list | tuple):
        return [_current(part, place, found) for part in value]
    if not isinstance(value, Mapping):
        new = _value(place, value)
        if new is not value:
            found[f"{place}: {value} is now {new}"] = None
        return new
    if place == "target" and isinstance(value.get("name"), str):
        place = f"target.{value['name']}"
    fields: dict[Any, Any] = {}
    for name, inside in value.items():
        here = f"{place}.{name}" if place else str(name)
        new = FIELDS.get(here, name)
        if new is not name:
            if new in value:
                raise RecipeError(f"{here} is the former name of {new}; give {new} only")
            found[f"{here} is now {new}"] = None
        fields[new] = _current(inside, _below(str(name), here, inside), found)
    return fields


def _below(name: str, place: str, value: Any) -> str:
    """Return the place of the fields in a value; those of a recipe or target do not depend on it.

    Example:
        >>> _below("teacher", "target.kd.teacher", {}), _below("target", "target.mixture.of", {})
        ('', 'target')
    """
    if name in RUNS and isinstance(value, Mapping):
        return ""
    return "target" if name == "target" else place


def _value(place: str, value: Any) -> Any:
    known = VALUES.get(place, {})
    return known.get(value, value) if isinstance(value, str) else value


def _warn(what: str) -> None:
    warnings.warn(f"{what}; the next release knows only the new name", RenamedWarning, stacklevel=3)
