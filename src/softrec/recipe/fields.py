"""The fields that have an option and a keyword, read from the settings classes.

`softrec fit`, `fit()`, `compare()` and the tables of docs/recipes.md use them, so that a new field
is added in one place: its settings class, with `common=True`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from softrec.errors import RecipeError
from softrec.recipe.recipe import Recipe, sections
from softrec.recipe.specs.models import ModelSettings


@dataclass(frozen=True)
class Option:
    """An option: one name, such as `alpha`, for the field of all members that have it."""

    name: str
    """The keyword: "alpha"."""
    path: str
    """The place in a recipe: "target.alpha"."""
    fields: dict[str, FieldInfo] = field(default_factory=dict)
    """The field, by the members of its section that have it; by "" without members."""

    @property
    def section(self) -> str:
        """Return the section of a recipe that it belongs to; "" if it is in no section."""
        return self.path.rpartition(".")[0]

    @property
    def flags(self) -> tuple[str, ...]:
        """Return the names on the command line: ("--model", "-m")."""
        return flags(self.name, next(iter(self.fields.values())))

    @property
    def meaning(self) -> str:
        """Return its meaning, with choices and defaults, for help and documents."""
        everywhere = len(self.fields) == len(_listed(self.section))
        return meaning(self.fields, everywhere=everywhere, with_defaults=True)

    def plain(self) -> dict[str, Any]:
        """Return what the command line needs to know, as plain data: see `softrec.cli.listed`."""
        info, text = next(iter(self.fields.values())), self.meaning
        if all(member == "" for member in self.fields) or not text.startswith(tuple(self.fields)):
            text = text[:1].upper() + text[1:]
        of = "list" if several(info) else simple(info).__name__
        return {"name": self.name, "section": self.section, "flags": list(self.flags),
                "kind": of, "text": text}  # fmt: skip


def flags(name: str, info: FieldInfo) -> tuple[str, ...]:
    """Return the names of a field's option on the command line."""
    return extra(info, "flags") or (f"--{name.replace('_', '-')}",)


def meaning(
    fields: Mapping[str, FieldInfo], *, everywhere: bool = True, with_defaults: bool = False
) -> str:
    """Return the meaning of a name for the members that have it, with its choices.

    Args:
        fields: the field of each member.
        everywhere: whether all members of the section have it, so that they are not listed.
        with_defaults: include the defaults.
    """
    texts: dict[str, list[str]] = {}
    for member, info in fields.items():
        texts.setdefault(_text(info), []).append(member)
    parts: list[str] = []
    for text, members in texts.items():
        same = {member: fields[member] for member in members}
        defaults = common_default(same) if with_defaults else ""
        own = "" if everywhere and len(texts) == 1 else f"{', '.join(members)}: "
        parts.append(f"{own if any(members) else ''}{text}{f' ({defaults})' if defaults else ''}")
    return "; ".join(parts)


def kind(info: FieldInfo) -> Any:
    """Return the type of a field without None.

    Example:
        >>> kind(FieldInfo(annotation=int | None))
        <class 'int'>
    """
    parts = [part for part in get_args(info.annotation) if part is not type(None)]
    optional = type(None) in get_args(info.annotation)
    return parts[0] if optional and len(parts) == 1 else info.annotation


def several(info: FieldInfo) -> bool:
    """Return whether a field is a list of texts."""
    return get_origin(kind(info)) is tuple


def simple(info: FieldInfo) -> type[int] | type[float] | type[bool] | type[str]:
    """Return the type of an option's value: int, float or bool, else str."""
    plain = get_args(kind(info))[0] if get_origin(kind(info)) is Annotated else kind(info)
    return next((one for one in (bool, int, float) if plain is one), str)


def listed(names: Sequence[str]) -> str:
    """Return `a, b or c`."""
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def _text(info: FieldInfo) -> str:
    known = extra(info, "choices")
    names = known() if known else get_args(kind(info)) if get_origin(kind(info)) is Literal else ()
    text = info.description or ""
    if not names or all(name in text for name in names):
        return text
    if any(":" in name for name in names):
        return f"{text}: {'; '.join(names)}"
    return f"{text}; one of {listed(names)}"


def common_default(fields: Mapping[str, FieldInfo]) -> str:
    """Return the default; if members differ, the most common one first."""
    return by_member({member: shown_default(info) for member, info in fields.items()})


def by_member(shown: Mapping[str, str]) -> str:
    """Return the text of all members; if they differ, the most common one first.

    Example:
        >>> by_member({"mixed": "inner", "bpr": "inner", "sl": "cosine"})
        'inner; sl: cosine'
    """
    (most, often), *_ = Counter(shown.values()).most_common()
    if often == len(shown):
        return most
    by_default: dict[str, list[str]] = {}
    for member, value in shown.items():
        by_default.setdefault(value, []).append(member)
    first = [most] if often > len(shown) / 2 else []
    rest = [f"{', '.join(m)}: {v}" for v, m in by_default.items() if not (first and v == most)]
    return "; ".join([*first, *rest])


def shown_default(info: FieldInfo) -> str:
    """Return a default as in a recipe; "" if there is none, or the description mentions it."""
    value = None if info.is_required() else info.get_default(call_default_factory=True)
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if isinstance(value, BaseModel):
        return str(getattr(value, "name", ""))
    return f"{value:g}" if isinstance(value, float) else str(value)


def default_of(info: FieldInfo) -> str:
    """Return a default for a table: "required", "none" or the value; "" if it is described."""
    if info.is_required():
        return "required"
    described = "by default" in (info.description or "")
    return shown_default(info) or ("" if described else "none")


def _listed(section: str) -> list[str]:
    """Return the members of a section that a user can choose."""
    below = _below(section) if section else {}
    return [member for member, kind in below.items() if getattr(kind, "listed", True)]


def extra(info: FieldInfo, name: str) -> Any:
    """Return an argument of `setting` that pydantic does not store itself."""
    found = info.json_schema_extra
    return found.get(name) if isinstance(found, Mapping) else None


def places() -> dict[str, type[BaseModel]]:
    """Return the settings at each place of a recipe, in the order of its sections."""
    found = {**sections(), "model": ModelSettings}
    order = ["", *Recipe.model_fields]
    return dict(sorted(found.items(), key=lambda item: order.index(item[0].partition(".")[0])))


def options() -> dict[str, Option]:
    """Return all options by their keywords, in the order of the sections.

    Raises:
        RecipeError: if fields of two sections have the same keyword.
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
    """Yield member, name, path and field of the common fields of a section; its own first."""
    own, below = Recipe.model_fields[section], _below(section)
    if extra(own, "common"):
        yield "", section, f"{section}.name" if below else section, own
    for member, settings in below.items():
        if not getattr(settings, "listed", True):
            continue  # only code can make it
        for name, info in settings.model_fields.items():
            if extra(info, "common"):
                yield member, name, f"{section}.{name}", info


def _below(section: str) -> dict[str, type[BaseModel]]:
    """Return the settings of a section by its members; by "" if the section has no members."""
    split = {place.partition("."): settings for place, settings in places().items()}
    return {member: settings for (first, _, member), settings in split.items() if first == section}
