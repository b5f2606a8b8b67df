"""Plain data from YAML: mappings, lists, texts, numbers, true and false, of limited size.

Everything else in YAML is refused: tags, which make other types; references to themselves, which
are infinite; nested references, which can exceed any memory; and two fields of the same name, of
which one would be lost.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from softrec.errors import RecipeError, one_line

RECIPES = (".yaml", ".yml")
LARGEST = 200_000  # bytes of a recipe file
DEEPEST = 40  # levels of nesting
MOST = 20_000  # values; a value that is referred to counts each time
_PREFIX = "tag:yaml.org,2002:"
_TEXT, _MERGE, _FLOAT, _TIMESTAMP = (
    _PREFIX + name for name in ("str", "merge", "float", "timestamp")
)


class _Loader(yaml.SafeLoader):
    """Composes plain data or raises a `YAMLError`."""

    yaml_implicit_resolvers = {  # dates are text  # noqa: RUF012 - as PyYAML has it
        first: [(tag, form) for tag, form in found if tag != _TIMESTAMP]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.values = 0
        self.sizes: dict[int, int] = {}  # the number of values in each finished node, by its id

    def compose_node(self, parent: Any, index: Any) -> Any:
        before, event = self.values, self.peek_event()
        if getattr(event, "tag", None) not in (None, "!"):
            self._refuse(f"the tag {event.tag!r} is not allowed in plain data", event)
        if self.depth == DEEPEST:
            self._refuse(f"more than {DEEPEST} levels of nesting", event)
        self.depth += 1
        node: Any = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self.sizes:
                self._refuse(f"*{event.anchor} holds itself", event)
            self.values += self.sizes[id(node)]
        else:
            self.values += 1
            self.sizes[id(node)] = self.values - before
        if self.values > MOST:
            self._refuse(f"more than {MOST:,} values", event)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node: Any = super().compose_mapping_node(anchor)
        names: set[str] = set()
        for key, _ in node.value:
            if key.tag not in (_TEXT, _MERGE):
                self._refuse("the name of a field is not text; quote it", key)
            if key.value in names:
                self._refuse(f"the field {key.value!r} is given twice", key)
            names.add(key.value)
        return node

    def _refuse(self, problem: str, where: Any) -> None:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


# In YAML 1.1 the number 1e-3 would be text, because it has no point.
_Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parsed(text: str) -> Any:
    """Return the plain data of a YAML text.

    Raises:
        ValueError: if it is not plain data or too large.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it has more than {LARGEST:,} bytes")
    try:
        return yaml.load(text, _Loader)  # a safe one
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ValueError(f"{error.problem or error.context}{where}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(one_line(str(error), 200)) from error


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the fields of a recipe file.

    Raises:
        RecipeError: if there is no such file or it is not a YAML mapping.
    """
    try:
        if path.exists() and not path.is_file():
            raise RecipeError(f"cannot read the recipe {path}: it is not a file")
        with path.open("rb") as file:
            text = file.read(LARGEST + 1).decode()
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path} is not valid YAML: it is not in UTF-8; save it as UTF-8"
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RecipeError(f"cannot read the recipe {path}: {reason}") from error
    try:
        fields = parsed(text)
    except ValueError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(fields, dict):
        raise RecipeError(
            f"{path} must be a mapping with data, model, target, ...; it is a "
            f"{type(fields).__name__}"
        )
    return fields


def exists(path: str | Path) -> bool:
    """Return whether a file exists; false also for text that cannot be a file name."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False
