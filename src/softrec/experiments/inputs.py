"""From the input of a user (a name, a file, a recipe or a table) to a recipe and its data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.sources.base import SOURCES
from softrec.data.splits import Split
from softrec.errors import RecipeError
from softrec.experiments.best import with_best
from softrec.experiments.build.data import load_split, split_of
from softrec.experiments.tables import as_path
from softrec.recipe import shipped
from softrec.recipe.options import dotted, recipe_of
from softrec.recipe.reading import RECIPES, exists, read_yaml
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.data import MEMORY, DataSettings

TABLES = ("polars", "pandas", "pyarrow")
COLUMNS = ("user", "item", "time", "weight", "header", "text_ids")


class Input(NamedTuple):
    """The recipe to train, and its log if that is in memory."""

    recipe: Recipe
    log: Interactions | None = None


class Given(NamedTuple):
    """The fields of a recipe from a source, and the options that change them."""

    fields: Mapping[str, Any]
    options: Mapping[str, Any]
    place: str = "the recipe"  # where the fields come from; shown in messages
    log: Interactions | None = None


def read_input(
    source: Any, options: Mapping[str, Any], data_dir: str | Path | None = None
) -> Input:
    """Return the recipe, and perhaps the log, that `source` and the options describe.

    Args:
        source: the path of a log or of a recipe (.yaml), the name of a data set or of a recipe that
            comes with softrec, a Polars, pandas or Arrow table, or `Interactions`.
        options: fields of a recipe, flat or dotted; None options change nothing.
        data_dir: a folder with public data sets, which only the preset `best` looks into.

    Raises:
        RecipeError: if `source` is none of these, or an option does not fit.
        DataError: if a table is no usable log.
    """
    given = read_source(source, options, data_dir)
    recipe = recipe_of(given.fields, given.options, given.place)
    return Input(recipe.without_search(), given.log)


def read_source(
    source: Any, options: Mapping[str, Any], data_dir: str | Path | None = None
) -> Given:
    """Return the fields of a recipe that `source` describes; see `read_input`."""
    given = _described(source, options)
    fields, changed = with_best(
        given.fields, given.options, given.log, None if data_dir is None else Path(data_dir)
    )
    return given._replace(fields=fields, options=changed)


def _described(source: Any, options: Mapping[str, Any]) -> Given:
    options = {name: value for name, value in options.items() if value is not None}
    options = {name: _as_path(name, value, options) for name, value in options.items()}
    if not isinstance(source, str | Path):
        return _in_memory(source, options)
    if "valid" in options or "test" in options:
        options = {"split": "given"} | options
    file = _recipe_file(str(source))
    if file is not None:
        return Given(read_yaml(file), options, str(file))
    return Given({"data": {"source": str(source)}}, options)


def _as_path(name: str, value: Any, options: Mapping[str, Any]) -> Any:
    """Return the value of an option, and of a table of items or users its path."""
    of = {"items": "item", "user_table": "user"}.get(name.removeprefix("data."))
    if of is None or isinstance(value, str):
        return value
    return as_path(value, of, column=options.get(of, options.get(f"data.{of}")))


def _recipe_file(source: str) -> Path | None:
    """Return the path of the recipe that `source` names: a file, else a recipe of softrec.

    The name of a data set is never that of a recipe, which has settings of its own, such as drawn
    negatives, that nobody asked for who names the data.
    """
    if source.endswith(RECIPES):
        return Path(source) if exists(source) else shipped.find(source) or Path(source)
    return None if exists(source) or source in SOURCES else shipped.find(source)


def _in_memory(source: Any, options: dict[str, Any]) -> Given:
    known = isinstance(source, Interactions)
    if not known and type(source).__module__.partition(".")[0] not in TABLES:
        raise RecipeError(
            "expected a path, the name of a data set, a recipe (.yaml), a Polars, pandas or "
            f"Arrow table, or Interactions; got an object of type {type(source).__name__}"
        )
    files = [name for name in ("valid", "test") if name in options]
    if files:
        raise RecipeError(
            f"{files[0]} names a file, which is possible only if the log is a file, too; give the "
            "whole table and a split (leave-last-out, time, user-ratio), or three files"
        )
    read = [name for name in COLUMNS if name in options or f"data.{name}" in options]
    if known and read:
        raise RecipeError(
            f"{read[0]} says how a log is read, but Interactions have been read already; pass it "
            "to Interactions.read"
        )
    own = {place: value for place, value in dotted(options).items() if place.startswith("data.")}
    log = _log_of(source, recipe_of({"data": {"source": MEMORY}}, own).data)
    return Given({"data": {"source": MEMORY + fingerprint(log)}}, options, log=log)


def _log_of(source: Any, spec: DataSettings) -> Interactions:
    if isinstance(source, Interactions):
        return source
    return Interactions.read(source, **{name: getattr(spec, name) for name in COLUMNS})


def seeds_of(first: int, number: int) -> range:
    """Return the seeds of `number` trainings, from that of the recipe on.

    Raises:
        RecipeError: if there is to be no training.
    """
    if number < 1:
        raise RecipeError(f"seeds is the number of trainings, at least 1, got {number}")
    return range(first, first + number)


def load_data(source: Any, spec: DataSettings, data_dir: Path | None = None) -> Split:
    """Return the data of a log, read, cleaned and split by the settings `spec` of another log."""
    if isinstance(source, str | Path):
        return load_split(spec.model_copy(update={"source": str(source)}), data_dir)
    return split_of(_log_of(source, spec), spec)


def fingerprint(log: Interactions) -> str:
    """Return a short hash of the content of a log: ids, events, times, weights, and order."""
    digest = hashlib.sha256()
    for vocabulary in (log.users, log.items):
        ids = vocabulary.raw.cast(pl.String).to_list()
        digest.update(f"{vocabulary.raw.dtype} {len(ids)}\0".encode())
        digest.update("\0".join(ids).encode())
    for column in log.frame:
        digest.update(f"\0{column.name}\0".encode())
        digest.update(np.ascontiguousarray(column.to_numpy()).tobytes())
    return digest.hexdigest()[:16]


def python_call(
    name: str, source: Any, arguments: Mapping[str, Any], options: Mapping[str, Any]
) -> str:
    """Return the Python call for the report; a table in memory is called `log` in it.

    Example:
        >>> python_call("fit", "a.csv", {"out": "r"}, {"alpha": 0.4, "model.dim": 8})
        "softrec.fit('a.csv', out='r', alpha=0.4, **{'model.dim': 8})"
    """
    first = repr(str(source)) if isinstance(source, str | Path) else "log"
    plain = {n: v for n, v in options.items() if n.isidentifier()}
    dotted = {n: v for n, v in options.items() if not n.isidentifier()}
    listed = [first, *(f"{n}={_shown(v)}" for n, v in (dict(arguments) | plain).items())]
    return f"softrec.{name}({', '.join(listed + [f'**{dotted!r}'] * bool(dotted))})"


def _shown(value: Any) -> str:
    """Return a value as Python code; a class or function by its name, a module by its class."""
    if type(value).__module__.partition(".")[0] in TABLES:
        return "table"
    if callable(value):
        return getattr(value, "__name__", f"{type(value).__name__}(...)")
    return repr(value)
