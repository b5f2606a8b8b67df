"""What a search may try of a field: a range of numbers, or one of several values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from softrec.errors import RecipeError, one_line
from softrec.recipe.options import parse_assignment, parts_of, plain

HOW = "expected such as 1e-4..1e-2:log, 0.05..0.9 or 0,0.2,0.5"


@dataclass(frozen=True)
class Between:
    """The numbers of an interval, ends included; `log`: as many below as above the middle ratio."""

    low: float
    high: float
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high  # pyright: ignore[reportOperatorIssue]

    def nearest(self, value: Any) -> Any:
        """Return the value itself, or the end next to it; of what is no number the lower end."""
        return min(max(value, self.low), self.high) if _is_number(value) else self.low

    def with_value(self, value: Any) -> Between:
        """Return the interval that reaches to a number, too; of a logarithm above 0 alone."""
        if not _is_number(value) or (self.log and value <= 0):
            return self
        return replace(self, low=min(self.low, value), high=max(self.high, value))

    def ends(self) -> tuple[Any, ...]:
        """Return what is tried before a search, for all between them fits if they do."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{_shown(self.low)}..{_shown(self.high)}{':log' if self.log else ''}"


@dataclass(frozen=True)
class Choices:
    """One of several values."""

    values: tuple[Any, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def nearest(self, value: Any) -> Any:
        """Return the one that equals the value, or the number next to it, or the first of all."""
        if value in self.values:
            return self.values[self.values.index(value)]  # 0 for 0.0, as it was given
        if _is_number(value) and all(map(_is_number, self.values)):
            return min(self.values, key=lambda own: abs(own - value))
        return self.values[0]

    def with_value(self, value: Any) -> Choices:
        """Return the choices with one more, numbers in their order."""
        if value in self.values:
            return self
        values = (*self.values, value)
        return Choices(tuple(sorted(values)) if all(map(_is_number, values)) else values)

    def ends(self) -> tuple[Any, ...]:
        """Return all of them."""
        return self.values

    def __str__(self) -> str:
        return ",".join(map(_shown, self.values))


Range = Between | Choices


def parse_range(name: str, given: Any) -> Range:
    """Return what may be tried of a field.

    Args:
        name: of the field, for messages.
        given: "1e-4..1e-2:log", "0.05..0.9" or "0,0.2,0.5"; a list of values; or one value, which
            leaves nothing to search.

    Raises:
        RecipeError: in one line, with what is expected.

    Example:
        >>> parse_range("lr", "1e-4..1e-2:log")
        Between(low=0.0001, high=0.01, log=True)
        >>> parse_range("dropout", [0, 0.2]), str(parse_range("tied", "true,false"))
        (Choices(values=(0, 0.2)), 'true,false')
    """
    if isinstance(given, Between | Choices):
        return given
    if isinstance(given, str) and ".." in given:
        return _between(name, given)
    if isinstance(given, str):
        values = [parse_assignment(f"{name}={part}")[1] for part in parts_of(given)]
    else:
        values = plain(list(given) if isinstance(given, list | tuple) else [given])
    if not values:
        raise RecipeError(f"there is nothing to try of {name}; {HOW}")
    twice = [value for place, value in enumerate(values) if value in values[:place]]
    if twice:
        raise RecipeError(f"{name}={_shown(twice[0])} is given twice in the space; give it once")
    return Choices(tuple(values))


def _between(name: str, text: str) -> Between:
    came = one_line(repr(text), 80)
    found = re.fullmatch(r"\s*(\S+?)\s*\.\.\s*(\S+?)\s*(?::\s*(\w+))?\s*", text)
    if found is None:
        raise RecipeError(f"{name}: {came} is no range; {HOW}")
    *ends, kind = found.groups()
    low, high = (parse_assignment(f"{name}={end}")[1] for end in ends)
    if not (_is_number(low) and _is_number(high)):
        raise RecipeError(f"{name}: the ends of {came} are not numbers; {HOW}")
    if kind not in (None, "log"):
        raise RecipeError(f"{name}: {came} ends in :{kind}, but only :log is known; {HOW}")
    if not low < high:
        raise RecipeError(f"{name}: {came} must go from a number to a larger one; {HOW}")
    if kind == "log" and low <= 0:
        raise RecipeError(
            f"{name}: a logarithm needs numbers above 0, got {came}; leave out :log, or give "
            "values, such as 0,1e-5,1e-4"
        )
    return Between(low, high, log=kind == "log")


def parse_space(given: Any) -> dict[str, Any]:
    """Return what was given by the names of the fields, from texts "FIELD=RANGE" or a mapping.

    Raises:
        RecipeError: if a text has no name, or a field comes twice.

    Example:
        >>> parse_space(["lr=1e-4..1e-2:log"])
        {'lr': '1e-4..1e-2:log'}
    """
    if isinstance(given, Mapping):
        return {str(name): value for name, value in given.items()}
    found: dict[str, Any] = {}
    for text in [given] if isinstance(given, str) else given or ():
        name, equals, values = str(text).partition("=")
        if not equals or not name.strip():
            raise RecipeError(
                f"expected FIELD=RANGE, such as training.lr=1e-4..1e-2:log, got {text!r}"
            )
        if name.strip() in found:
            raise RecipeError(f"{name.strip()} is given twice in the space; give it once")
        found[name.strip()] = values
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
