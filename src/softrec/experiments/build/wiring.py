"""Tables from what a recipe may say to what is built of it: whole, without a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from softrec.errors import RecipeError

T = TypeVar("T")


def wired(table: Mapping[Any, T], key: object, what: str) -> T:
    """Return what `table` has for `key`; something else in its place would train another model.

    Args:
        table: from the classes or names of a recipe to what builds them.
        key: the class or name that came.
        what: what the recipe says, for the message: "loss: mixed".

    Raises:
        RecipeError: if nothing builds it.

    Example:
        >>> wired({"mean": sum}, "mean", "pooling: mean")([1, 2])
        3
    """
    try:
        return table[key]
    except KeyError:
        known = ", ".join(sorted(getattr(name, "__name__", str(name)) for name in table))
        raise RecipeError(
            f"{what} can be written in a recipe, but nothing builds it (only {known}); it is a "
            "fault of softrec, please report it, and choose another meanwhile"
        ) from None
