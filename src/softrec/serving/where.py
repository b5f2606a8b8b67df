"""Conditions on the columns of a table, written in SQL and read by Polars.

A condition may come from anyone who can reach a service, and SQL can read files. So a condition is
made of a few known words: each name in it is replaced by the quoted name of a column of the table,
and any other word, a function that is not listed, a subquery or a comment is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import polars as pl

from softrec.errors import RulesError, no_such, one_line

LONGEST = 2_000
"""Characters of a condition."""
WORDS = frozenset(
    {"and", "or", "not", "in", "is", "null", "true", "false", "like", "ilike", "between", "date"}
)
FUNCTIONS = frozenset(
    {"lower", "upper", "length", "abs", "round", "coalesce", "starts_with", "ends_with"}
)
TOKEN = re.compile(
    r"""\s*(?:
    (?P<text>'(?:[^'\\]|'')*')
    |"(?P<quoted>(?:[^"\\]|"")+)"
    |(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?!\w)
    |(?P<word>[^\W\d]\w*)(?!['"])
    |(?P<sign><=|>=|<>|!=|==|[=<>(),+*%]|-(?!-)|/(?!\*))
    )""",
    re.VERBOSE,
)


def chosen(table: pl.DataFrame, where: str) -> np.ndarray:
    """Return for which rows of a table a condition holds, (N,) bool; null counts as false.

    Raises:
        RulesError: if the condition cannot be read, names a column that the table does not have,
            compares values of different types, or is no condition.

    Example:
        >>> chosen(pl.DataFrame({"price": [3, None, 7]}), "price > 5 or price < 1").tolist()
        [False, False, True]
    """
    sql = "".join(_rewritten(where, table.columns))
    try:
        found = table.with_columns(pl.sql_expr(sql).alias("where"))["where"]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError) as error:
        reason = one_line(str(error).partition("This error occurred")[0], 150)
        raise _unusable(where, reason, table) from error
    if found.dtype != pl.Boolean:
        raise _unusable(where, f"its values are {found.dtype}, not true or false", table)
    return found.fill_null(False).to_numpy()


def _rewritten(where: str, columns: list[str]) -> Iterator[str]:
    """Yield the parts of a condition, each column as a quoted name."""
    if len(where) > LONGEST:
        raise RulesError(f"where has {len(where):,} characters; {LONGEST:,} at most are read")
    place, end = 0, len(where.rstrip())
    while place < end:
        token = TOKEN.match(where, place)
        if token is None:
            raise RulesError(
                f"where cannot be read from {one_line(repr(where[place : place + 30]))} on; write "
                "a condition such as \"category = 'shoes' and stock > 0\""
            )
        place = token.end()
        yield _part(token, columns, following=where[place:end].lstrip()[:1]) + " "


def _part(token: re.Match[str], columns: list[str], *, following: str) -> str:
    """Return one part as Polars reads it; `following` is the character after it."""
    quoted, word = token["quoted"], token["word"]
    name = word or (quoted or "").replace('""', '"')
    if not name:
        return token[0].strip()
    lower = (word or "").lower()
    if lower == "date" and following != "'":  # a column, unless it says what a text is
        lower = ""
    if lower in WORDS or (lower in FUNCTIONS and following == "("):
        return name
    if following == "(":
        raise RulesError(f"where: {no_such('function', name, sorted(FUNCTIONS))}")
    if name not in columns:
        raise RulesError(f"where: {no_such('column', name, columns)}; texts are in single quotes")
    return '"' + name.replace('"', '""') + '"'


def _unusable(where: str, reason: str, table: pl.DataFrame) -> RulesError:
    listed = ", ".join(f"{name} ({kind})" for name, kind in table.schema.items())
    return RulesError(
        f"where {one_line(repr(where), 120)} cannot be used: {reason}; the columns are "
        f"{one_line(listed, 200)}"
    )
