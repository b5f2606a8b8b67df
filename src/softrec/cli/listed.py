"""The settings that have an option, and the data sets, without an import of what they belong to.

Settings are defined next to models, losses and targets, which need torch: a second, for a page of
help. So they are kept in a table, listed.json, which `make docs` writes and a test compares with
the settings. Where plugins may have added something, it is read from the settings.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

TABLE = Path(__file__).with_name("listed.json")
KINDS: dict[str, Any] = {"int": int, "float": float, "bool": bool, "str": str, "list": list[str]}


class Listed(NamedTuple):
    """A setting with an option: see `softrec.recipe.fields.Option`."""

    name: str
    section: str
    flags: list[str]
    kind: str
    text: str

    @property
    def type(self) -> Any:
        """Return the type of its value."""
        return KINDS[self.kind]


def listed() -> list[Listed]:
    """Return all settings with an option, in the order of the sections of a recipe."""
    from softrec.registry import is_extended

    if is_extended():
        from softrec.recipe.fields import options

        return [Listed(**option.plain()) for option in options().values()]
    return [Listed(**option) for option in _table()["options"]]


def data_sets() -> list[str]:
    """Return the names of the public data sets."""
    from softrec.registry import is_extended

    if is_extended():
        from softrec.data import sources

        return sources.names()
    return _table()["data sets"]


def _table() -> dict[str, Any]:
    return json.loads(TABLE.read_text(encoding="utf-8"))
