"""Errors of pydantic as one line: the value found, the accepted values, and a suggestion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from softrec.errors import no_such, one_line
from softrec.recipe.specs.arguments import safe_repr
from softrec.registry import NESTED

EXAMPLES = {"loss": "decoupled", "candidates": "sampled", "weights": "slatk"}
MISSING = {
    "teacher": "needs a teacher: the folder of a finished run or a recipe (.yaml); add "
    "--teacher RUN (in a recipe: `target: {name: kd, teacher: RUN}`)",
    "data": "is missing; say where the log is, as in `data: {source: clicks.csv}`",
}


def complaint(error: ValidationError, sections: Mapping[str, type[BaseModel]]) -> str:
    """Return the first of pydantic's errors in one line.

    Args:
        error: of a recipe.
        sections: the settings at each place of a recipe, such as "target.pop+".
    """
    first = _inmost(error.errors(include_url=False)[0])
    *path, last = _place(first)
    inside = ".".join(path)
    came, kind = first.get("input"), first["type"]
    what = one_line(first["msg"].removeprefix("Value error, "))
    plain = isinstance(came, str | int | float | bool) and kind != "value_error"
    what += f", got {one_line(safe_repr(came), 80)}" if plain else ""
    if kind == "union_tag_not_found":
        what = f"needs a name, as in `{last}: {{name: {EXAMPLES.get(last, 'uniform')}, ...}}`"
    if kind == "union_tag_invalid":
        what = no_such(last, first["ctx"]["tag"], first["ctx"]["known"])
    if kind == "literal_error":
        what = no_such("choice", came, _quoted(first["ctx"]["expected"]))
    known = first.get("fields") or (inside in sections and sections[inside].model_fields)
    if kind == "extra_forbidden" and known:
        what, last = no_such("field", last, known), ""
    if kind == "missing":
        what = MISSING.get(last, "is missing")
    if kind in ("model_type", "model_attributes_type"):
        what = f"expected a mapping with fields, such as `{last}: {{name: value}}`"
    if kind in ("string_type", "dict_type") and last in ("teacher", "start"):
        what = "expected the folder of a finished run, or its recipe"
    where = one_line(".".join(filter(None, [*path, last])), 120)
    return f"{where + ': ' if where else ''}{what}"


def field_of(error: ValidationError) -> str:
    """Return the path to the field of the first error, such as "training.lr"."""
    return ".".join(_place(_inmost(error.errors(include_url=False)[0])))


def _inmost(error: Any) -> Any:
    """Return the first of the errors inside an error, with the whole path to it."""
    if error["type"] != NESTED:
        return error
    about = error["ctx"]
    inside = about["errors"][0]
    inside |= {"fields": about["fields"] if len(inside["loc"]) == 1 else None}
    return _inmost(inside | {"loc": (*error["loc"], about["name"], *inside["loc"])})


def _place(first: Any) -> list[str]:
    """Return the path to the field, without what pydantic adds for each type of a union."""
    path = [str(part) for part in first["loc"]]
    named = [part for part in path if part in ("teacher", "start")]
    return path[: path.index(named[0]) + 1] if named else path or [""]


def _quoted(listed: str) -> list[str]:
    """Return the names in pydantic's "'a', 'b' or 'c'"."""
    return re.findall(r"'([^']*)'", listed)
