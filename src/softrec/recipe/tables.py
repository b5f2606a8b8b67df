"""Writes the tables of docs/recipes.md and docs/models.md from the settings: `make docs`.

A table is between `<!-- generated: NAME -->` and `<!-- end -->`; the rest of a page is not changed.
The tables list the members of softrec, and nothing that was registered from outside.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from softrec.data.sources import names
from softrec.errors import RecipeError, no_such
from softrec.models.registry import MODELS
from softrec.recipe.fields import (
    by_member,
    default_of,
    extra,
    flags,
    meaning,
    options,
    places,
    shown_default,
)
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.data import SHOP_FIELDS
from softrec.recipe.specs.docstrings import paragraph, source, summary
from softrec.recipe.specs.models import grid_of, is_counted, reads_graph, settings_of
from softrec.types import Encoder

BEGIN, END = "<!-- generated: {} -->", "<!-- end -->"
ARGUMENT = ("data", "source")
"""The field that is an argument of commands and functions and not an option."""


def written(page: str) -> str:
    """Return a page with new tables.

    Raises:
        RecipeError: if it names a table that does not exist.
    """

    def made(found: re.Match[str]) -> str:
        name = found[1]
        if name not in TABLES:
            raise RecipeError(no_such("table", name, TABLES))
        return f"{BEGIN.format(name)}\n\n{TABLES[name]()}\n\n{END}"

    return re.sub(rf"{BEGIN.format('(.+?)')}\n.*?{END}", made, page, flags=re.DOTALL)


# --- the fields of a section ---


def fields_table(section: str) -> str:
    """Return the table of the fields of a section: option, default and meaning of each."""
    members = {name: kind for name, kind in _members(section).items() if _offered(kind)}
    fields: dict[str, dict[str, FieldInfo]] = {}
    for member, kind in members.items():
        for name, info in kind.model_fields.items():
            fields.setdefault(name, {})[member] = info
    if "name" in fields:  # described in the section of the member
        fields["name"] = {"": Recipe.model_fields[section]}
    rows = [
        (name, _option(section, name, have), _default(have), _meaning(have, len(members)))
        for name, have in fields.items()
    ]
    return _table(("field", "option", "default", "meaning"), rows)


def _option(section: str, name: str, fields: Mapping[str, FieldInfo]) -> str:
    info = next(iter(fields.values()))
    if (section, name) == ARGUMENT:
        return "argument"
    if not extra(info, "common"):
        return "-"
    names = flags(section if name == "name" else name, info)
    both = (f"--no-{names[0].removeprefix('--')}",) if info.annotation is bool else ()
    return ", ".join((*names, *both))


def _default(fields: Mapping[str, FieldInfo]) -> str:
    return by_member({member: default_of(info) for member, info in fields.items()})


def _meaning(fields: Mapping[str, FieldInfo], of: int) -> str:
    if "" in fields and extra(fields[""], "choices"):  # listed in a separate table
        return fields[""].description or ""
    return meaning(fields, everywhere=len(fields) == of)


# --- what a section is chosen from ---


def names_table(section: str) -> str:
    """Return the table of the members of a section, each with its settings."""
    members = _members(section)
    offered = [kind.model_fields for kind in members.values() if _offered(kind)]
    shared = set.intersection(*(set(fields) for fields in offered))
    default = Recipe.model_fields[section].default.name
    rows = [
        (
            ", ".join(f"{name} (default)" if name == default else name for name in kind.names),
            _settings(kind.model_fields, shared),
            summary(kind),
        )
        for kind in dict.fromkeys(members.values())
    ]
    return _table(("name", "settings (defaults)", "meaning"), rows)


def _settings(fields: Mapping[str, FieldInfo], left_out: set[str]) -> str:
    own = {name: shown_default(info) for name, info in fields.items() if name not in left_out}
    return ", ".join(f"{name} ({value})" if value else name for name, value in own.items())


# --- what is searched ---


def searched_table() -> str:
    """Return the table of the ranges that `softrec tune` tries by default."""
    ranges: dict[tuple[str, str], list[str]] = {}
    for place, kind in places().items():
        section, _, name = place.partition(".")
        if not kind.__module__.startswith("softrec.") or not _offered(kind):
            continue
        for field, info in kind.model_fields.items():
            tried = extra(info, "search")
            if tried:
                ranges.setdefault((f"{section}.{field}", tried), []).append(name)
    for field, tried in Encoder.SEARCH.items():
        names = [name for name in _models(counted=False) if field in settings_of(name)]
        ranges[f"model.{field}", tried] = names
    rows = [
        (place, tried, ", ".join(filter(None, sorted(names))))
        for (place, tried), names in sorted(ranges.items())
    ]
    return _table(("field", "tried", "of"), rows)


# --- models ---


def trained_table() -> str:
    """Return the table of the trained models."""
    rows = [
        (_linked(name), _reads(name), ", ".join(MODELS[name].PRESETS), summary(MODELS[name]))
        for name in _models(counted=False)
    ]
    return _table(("name", "reads", "presets", "meaning"), rows)


def counted_table() -> str:
    """Return the table of the counted models."""
    rows = [
        (_linked(name), ", ".join(grid_of(name)), summary(MODELS[name]))
        for name in _models(counted=True)
    ]
    return _table(("name", "chosen on validation", "meaning"), rows)


def models_part(counted: bool) -> str:
    """Return a section for each model: its input, presets, settings and source."""
    return "\n\n".join(_model(name) for name in _models(counted=counted))


def _model(name: str) -> str:
    model, cited = MODELS[name], source(MODELS[name])
    chosen = paragraph(model, "Defaults")
    parts = [
        f"### {name}",
        summary(model),
        "" if is_counted(name) else f"It reads {_reads(name)}.",
        "\n".join(_presets(name)),
        plain_table(settings_of(name), grid_of(name)),
        f"Defaults: {chosen}" if chosen else "",
        f"Source: {cited}" if cited else "",
    ]
    return "\n\n".join(part for part in parts if part)


def plain_table(fields: Mapping[str, FieldInfo], tried: Mapping[str, Any] | None = None) -> str:
    """Return the table of settings without options, with the values that are tried, if any."""
    if not fields:
        return "It has no settings."
    rows = [
        (name, default_of(info), _value(tried.get(name, "")) if tried else "", meaning({"": info}))
        for name, info in fields.items()
    ]
    if tried:
        return _table(("setting", "default", "tried", "meaning"), rows)
    return _table(("setting", "default", "meaning"), [(a, b, text) for a, b, _, text in rows])


def _presets(name: str) -> Iterable[str]:
    own = getattr(MODELS[name], "DEFAULTS", {})
    fields = [(f"{section}.{n}", v) for section, some in own.items() for n, v in some.items()]
    if fields:
        listed = ", ".join(f"`{place}` {_value(value)}" for place, value in fields)
        yield f"- A recipe that names none of them has {listed}."
    for preset, values in MODELS[name].PRESETS.items():
        listed = ", ".join(f"{setting} {_value(value)}" for setting, value in values.items())
        yield f"- `preset: {preset}` is {listed}."


def _value(value: Any) -> str:
    """Return a value as in YAML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _reads(name: str) -> str:
    model = MODELS[name]
    if model.reads == "user":
        graph = ", and the training part as a graph" if reads_graph(name) else ""
        return f"the number of the user{graph}"
    times = " with times; data without times are refused" if model.needs_times else ""
    return f"the history{times}"


def _linked(name: str) -> str:
    return f"[{name}](models.md#{name.replace('+', '')})"


def _models(*, counted: bool) -> list[str]:
    names = [name for name in MODELS.choices() if MODELS.member(name).in_tree]
    return [name for name in names if is_counted(name) == counted]


# --- in Markdown ---


def _members(section: str) -> dict[str, Any]:
    """Return the settings of the members of a section, by name; by "" if it has no members."""
    found = {}
    for place, kind in places().items():
        first, _, name = place.partition(".")
        if first == section and kind.__module__.startswith("softrec."):
            found[name] = kind
    return found


def _offered(kind: type[BaseModel]) -> bool:
    return getattr(kind, "listed", True)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ["---"] * len(head), *(map(_cell, row) for row in rows)]
    return "\n".join(re.sub(r"\s+\|", " |", f"| {' | '.join(line)} |") for line in lines)


def _cell(text: str) -> str:
    """Return a text as a cell, with links to other pages and escaped bars."""
    return re.sub(r"docs/(\w+\.md)", r"[\1](\1)", text).replace("|", "\\|")


SECTIONS = (
    "data",
    "model",
    "target",
    "loss",
    "candidates",
    "weights",
    "training",
    "evaluation",
    "prior",
    "interest",
    "trials",
    "tune",
)
TABLES: dict[str, Callable[[], str]] = {
    **{f"fields of {name}": partial(fields_table, name) for name in SECTIONS},
    **{
        f"names of {name}": partial(names_table, name)
        for name in ("target", "loss", "candidates", "weights")
    },
    "what is searched": searched_table,
    "settings of the shop": partial(plain_table, SHOP_FIELDS),
    "trained models": trained_table,
    "counted models": counted_table,
    "settings of trained models": partial(models_part, counted=False),
    "settings of counted models": partial(models_part, counted=True),
}
"""The function that makes each table, by the name in its marker."""


def listed() -> str:
    """Return settings with an option, and data sets, as the command line reads them."""
    table = {"options": [option.plain() for option in options().values()], "data sets": names()}
    return json.dumps(table, indent=1) + "\n"


def main(pages: list[str]) -> None:
    """Update the tables of pages, given by their paths, and write that of the command line."""
    for path in map(Path, pages):
        if path.suffix == ".json":
            path.write_text(listed(), encoding="utf-8")
            continue
        path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
