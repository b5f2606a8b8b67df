"""Rows of the table of fields: how each field of a recipe is seen in what is built of it."""

from typing import Any, NamedTuple

import numpy as np

from softrec.registry import Chosen


class Row(NamedTuple):
    """How a field is seen: `see` of what begins to be trained, compared with `expect` of it."""

    place: str  # dotted, in a recipe
    values: list
    see: Any
    expect: Any  # None: that other values differ is all that is seen
    base: dict  # what else the recipe says
    refused: tuple  # values that a recipe cannot have here, or that make the same object
    within: float  # how far a number may be from the expected one


FIELDS: dict[tuple[type, str], list[Row]] = {}


def row(spec, field, values, see, expect=None, *, place=None, base=None, refused=(), within=1e-5):
    """Enter one more row of a field."""
    if issubclass(spec, Chosen):
        section = spec.registry.kind
    else:
        section = spec.__name__.removesuffix("Settings").lower()
    place = place or f"{section}.{field}"
    found = Row(place, values, see, expect, base or {}, refused, within)
    FIELDS.setdefault((spec, field), []).append(found)


def same(one, other, within):
    """Tell whether two things seen are equal, numbers up to a distance."""
    try:
        first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    except (TypeError, ValueError):
        return one == other
    return first.shape == second.shape and np.allclose(
        first, second, within, within, equal_nan=True
    )
