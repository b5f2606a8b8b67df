"""The options of business rules, and of the table of items that some of them read."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from softrec.cli.options import option
from softrec.errors import RecipeError, RulesError, one_line, shown

if TYPE_CHECKING:
    from softrec.serving.rules import Rules

RULES = "Business rules"  # the panel of the options
Items = Annotated[
    Path | None,
    option(
        None,
        "A table of the items (CSV, TSV, Parquet, JSON lines) with the columns id, title and any "
        "others, in place of the one that was given when the run was trained.",
        "--items",
    ),
]
Allow = Annotated[
    list[str] | None,
    option(RULES, "Only these items, separated by commas; may be given several times."),
]
Block = Annotated[list[str] | None, option(RULES, "Never these items.")]
Where = Annotated[
    str | None,
    option(
        RULES,
        "Only items for which a condition on the columns of their table is true, in SQL: "
        "\"category = 'shoes' and stock > 0\".",
    ),
]
AtMost = Annotated[
    list[str] | None,
    option(
        RULES,
        "At most so many items with equal values in a column of their table: category=2. May be "
        "given several times.",
    ),
]
Pin = Annotated[
    list[str] | None,
    option(RULES, "These items first, in this order, unless a rule leaves them out."),
]
RulesFile = Annotated[
    Path | None,
    option(
        RULES,
        "A JSON file with rules: allow, block, where, at_most, pinned, mask_seen. Options replace "
        "the rules of the file that have their name.",
        "--rules",
    ),
]


def rules_of(
    file: Path | None,
    allow: list[str] | None,
    block: list[str] | None,
    where: str | None,
    at_most: list[str] | None,
    pin: list[str] | None,
) -> Rules:
    """Return the rules of a file, with those of the options in their place.

    Raises:
        RulesError: if they cannot be read.
    """
    from softrec.serving.rules import Rules

    given: dict[str, Any] = {
        "allow": ids_of(allow) if allow else None,
        "block": ids_of(block) if block else None,
        "where": where,
        "at_most": dict(map(_limit, at_most)) if at_most else None,
        "pinned": ids_of(pin) if pin else None,
    }
    # An empty text, as of a shell variable that is not set, is a wrong rule and not none.
    told = {name: rule for name, rule in given.items() if rule is not None}
    return Rules.of((_read(file) if file else {}) | told)


def ids_of(texts: Iterable[str]) -> list[str]:
    """Return ids that are separated by commas; one with a comma in it is in double quotes.

    Raises:
        RecipeError: if a quote is not closed.

    Example:
        >>> ids_of(["tea, jam", 'milk, "bread, white"'])
        ['tea', 'jam', 'milk', 'bread, white']
    """
    found = list[str]()
    for text in texts:
        try:
            rows = list(csv.reader([text], skipinitialspace=True, strict=True))
        except csv.Error as error:
            raise RecipeError(
                "ids are separated by commas, and one with a comma is in double quotes; close "
                f"the quotes in {shown([text])} ({error})"
            ) from error
        found += [part.strip() for row in rows for part in row]
    return [part for part in found if part]


def _limit(text: str) -> tuple[str, int]:
    column, equals, number = text.rpartition("=")
    if not equals or not number.strip().isdecimal():
        raise RulesError(
            f"--at-most must be a column and a number, such as category=2, got {text!r}"
        )
    return column.strip(), int(number)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        reason = one_line(str(error), 150)
        raise RulesError(f"{file} cannot be read as JSON: {reason}; see docs/serving.md") from error
    if not isinstance(found, dict):
        raise RulesError(
            f"{file} has {type(found).__name__}, expected rules by their names, such as "
            '{"block": ["tea"]}'
        )
    return found
