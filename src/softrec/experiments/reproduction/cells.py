"""The cells of a paper's tables: a published number for each metric, and the recipe of a training.

Cells of different tables that are the same training have the same recipe, so it is trained once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from softrec.data.reading import BROKEN
from softrec.errors import RecipeError, no_such, one_line
from softrec.experiments.inputs import read_input, read_source
from softrec.experiments.reproduction.papers import (
    AXES,
    Choice,
    TableChoices,
    file_of,
    published_file,
    read_paper,
)
from softrec.recipe.recipe import Recipe, read_recipe
from softrec.renamed import RUNS

DASHES = ("", "-", "\N{EN DASH}", "\N{EM DASH}")  # where no number was printed
COLUMNS = ("table", *AXES, "metric", "value")
PRINTED = {"hr": "hit_rate"}  # names of metrics in papers that softrec has another name for


@dataclass(frozen=True)
class Cell:
    """A training in a published table.

    Attributes:
        table: the name of the table.
        names: the printed dataset, backbone, method and setting.
        published: the value of each metric, by softrec's names; NaN if none was printed.
        recipe: the recipe of the training; None if it is not run.
        source: the name of the recipe to which the changes are applied.
        changes: changes to the recipe `source`.
        reason: why it is not run.
        stand_in: other data that are used instead; "" for the data of the paper.
        notes: notes for the reader, by metric; under "" for all metrics.
        supposed: a possible cause of a difference, which was not proved.
        found: a cause of a difference that was found by a measurement.
        baseline: the method from which gains are computed.
        base: the published values of the row of that method, by metric.
    """

    table: str
    names: dict[str, str]
    published: dict[str, float]
    recipe: Recipe | None = None
    source: str = ""
    changes: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    stand_in: str = ""
    notes: dict[str, str] = field(default_factory=dict)
    supposed: str = ""
    found: str = ""
    baseline: str = ""
    base: dict[str, float] = field(default_factory=dict)

    @property
    def block(self) -> tuple[str, str]:
        """Return the table and the data set."""
        return self.table, self.names["dataset"]

    @property
    def row(self) -> str:
        """Return the name of its row in a block."""
        named = [self.names["backbone"]]
        if self.names["method"] != self.names["backbone"]:
            named.append(self.names["method"])
        return ", ".join(part for part in named if part)


def cells_of(paper: str) -> list[Cell]:
    """Return all cells of a paper, in the order of its tables.

    Raises:
        RecipeError: if a printed name has no meaning, or a recipe is wrong.
    """
    path, about = file_of(paper), read_paper(paper)
    cells = [
        _cell(path, table, names, published)
        for table in about.tables
        for names, published in _rows(published_file(path, table.file), table)
    ]
    return _with_all_metrics(_with_bases(cells))


def _rows(path: Path, table: TableChoices) -> Iterable[tuple[dict[str, str], dict[str, float]]]:
    """Return the printed names and the published values of each cell of a table."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for row in _read(path).filter(pl.col("table") == table.name).iter_rows(named=True):
        key, metric = tuple(row[axis] for axis in AXES), metric_name(row["metric"])
        cell = found.setdefault(key, {})
        if metric in cell:
            raise RecipeError(
                f"{path} has two values of {row['metric']} for {', '.join(filter(None, key))} in "
                f"{table.name}; keep one"
            )
        try:
            cell[metric] = _number(row["value"])
        except ValueError:
            if not table.reason:
                raise RecipeError(
                    f"{path} has the value {row['value']!r} of {row['metric']} for "
                    f"{', '.join(filter(None, key))} in {table.name}; write a number such as 0.02, "
                    "or a dash if none was printed"
                ) from None
            cell[metric] = math.nan  # nothing is trained, as of a table of data sets
    if not found:
        raise RecipeError(f"{path} has no rows of a table {table.name!r}")
    return [(dict(zip(AXES, key, strict=True)), values) for key, values in found.items()]


def _read(path: Path) -> pl.DataFrame:
    try:
        frame = pl.read_csv(path, infer_schema=False)
        return frame.select(COLUMNS).fill_null("")
    except (*BROKEN, FileNotFoundError) as error:
        reason = one_line(str(error), 150)
        raise RecipeError(
            f"{path} must be a CSV file with the columns {', '.join(COLUMNS)}: {reason}"
        ) from error


def _number(value: str) -> float:
    """Return a printed number; NaN for a dash or nothing."""
    return math.nan if value.strip() in DASHES else float(value)


def metric_name(printed: str) -> str:
    """Return softrec's name of a metric.

    Example:
        >>> metric_name("NDCG@10"), metric_name("HR@5")
        ('ndcg@10', 'hit_rate@5')
    """
    name, at, cutoff = printed.lower().partition("@")
    return f"{PRINTED.get(name, name)}{at}{cutoff}"


def _cell(
    path: Path, table: TableChoices, names: dict[str, str], published: dict[str, float]
) -> Cell:
    """Return the cell with the given printed names."""
    cell = Cell(table.name, names, published, baseline=table.baseline)
    if table.reason:
        return replace(cell, reason=table.reason)
    chosen, notes = _chosen(path, table, names)
    shared = {
        "stand_in": _last(choice.stand_in for choice in chosen),
        "supposed": _last(choice.supposed for choice in chosen),
        "found": _last(choice.found for choice in chosen),
        "notes": notes,
    }
    reason = next((choice.reason for choice in chosen if choice.reason), "")
    if reason:
        return replace(cell, reason=reason, **shared)
    words = {axis: choice.name for axis, choice in zip(AXES, chosen, strict=False)}
    source = (_last(choice.recipe or "" for choice in chosen) or table.recipe).format(**words)
    changes: dict[str, Any] = {}
    for choice in chosen:
        changes |= _filled(choice.changes, words)
    recipe = _recipe(path, source, changes)
    return replace(cell, recipe=recipe, source=source, changes=changes, **shared)


def _chosen(
    path: Path, table: TableChoices, names: Mapping[str, str]
) -> tuple[list[Choice], dict[str, str]]:
    """Return the choices of the printed names, by axis, and the notes by metric."""
    chosen: list[Choice] = []
    for axis in AXES:
        known: dict[str, Choice] = getattr(table, axis)
        if known and names[axis] not in known:  # without a recipe, no name needs a choice
            raise RecipeError(f"{path}, {table.name}: {no_such(axis, names[axis], known)}")
        chosen.append(known.get(names[axis], Choice()))
        if chosen[-1].reason:  # the other names need no choice
            break
    notes = {"": "; ".join(dict.fromkeys(choice.note for choice in chosen if choice.note))}
    for special in table.cells:
        metrics = special.where.get("metric", ())
        if metrics:
            fits = all(special.holds({**names, "metric": metric}) for metric in metrics)
            notes |= {metric_name(metric): special.note for metric in metrics} if fits else {}
        elif special.holds(dict(names)):
            chosen.append(special)
            notes[""] = "; ".join(part for part in (notes[""], special.note) if part)
    return chosen, {metric: note for metric, note in notes.items() if note}


def _last(texts: Iterable[str]) -> str:
    return next((text for text in reversed([*texts]) if text), "")


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    """Return changes with braces replaced by the names of choices."""
    if isinstance(value, dict):
        return {name: _filled(part, words) for name, part in value.items()}
    return value.format(**words) if isinstance(value, str) else value


def _recipe(path: Path, source: str, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe with changes; it is looked for first in the folder of the paper's file."""
    runs = {
        place: read_source(_file(path, value), {}).fields
        for place, value in changes.items()
        if place.rpartition(".")[2] in RUNS and isinstance(value, str)
    }
    return read_input(_file(path, source), {**changes, **runs}).recipe


def _file(path: Path, source: str) -> str:
    beside = path.parent / f"{source.removesuffix('.yaml')}.yaml"
    return str(beside) if beside.exists() else beside.name


def _with_bases(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells with the published values of the row from which gains are computed."""

    def place(cell: Cell) -> tuple[str, ...]:
        return *cell.block, cell.names["backbone"], cell.names["setting"]

    bases = {place(c): c.published for c in cells if c.names["method"] == c.baseline}
    return [replace(cell, base=bases.get(place(cell), {})) for cell in cells]


def _with_all_metrics(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells with recipes that compute all metrics published for the same training."""
    cells = list(cells)
    wanted: dict[str, dict[str, None]] = {}
    for cell in cells:
        if cell.recipe is not None:
            own = [*cell.recipe.evaluation.metrics, *cell.published]
            wanted.setdefault(training_of(cell.recipe), {}).update(dict.fromkeys(own))
    return [
        cell
        if cell.recipe is None
        else replace(cell, recipe=with_metrics(cell.recipe, wanted[training_of(cell.recipe)]))
        for cell in cells
    ]


def with_metrics(recipe: Recipe, metrics: Iterable[str]) -> Recipe:
    """Return the recipe with other metrics."""
    fields = recipe.model_dump(mode="json")
    fields["evaluation"]["metrics"] = list(metrics)
    return read_recipe(fields)


def training_of(recipe: Recipe) -> str:
    """Return a recipe without its metrics, as text; it is the same for equal trainings."""
    fields = recipe.model_dump(mode="json")
    fields["evaluation"].pop("metrics")
    return json.dumps(fields, sort_keys=True)
