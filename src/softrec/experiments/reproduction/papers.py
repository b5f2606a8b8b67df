"""Which recipe belongs to which row of a published table, with changes, or why there is none.

A table is a product of axes, dataset x backbone x method x setting, and so are recipes. A file says
for each printed name how it changes the recipe:

    tables:
      - name: poster table               # the column `table` of the file
        file: desorec_table.csv
        recipe: "{dataset}-{backbone}-base"
        baseline: Base                   # the method that gains are counted from
        dataset:
          Diginetica: {name: diginetica}
          MovieLens: {reason: the file is not public}
        backbone: {GRU4Rec: {name: gru4rec}}
        method:
          Base: {}
          LS: {changes: {target.name: uniform, target.alpha: 0.7}}
        cells:                           # choices for some cells only
          - {where: {dataset: Diginetica, method: LS}, note: alpha is not published}

Later axes and `cells` override earlier ones. In `recipe` and in texts of `changes`, braces are
replaced by the `name` of the choice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError, field_validator

from softrec.errors import RecipeError, no_such
from softrec.recipe.complaints import complaint
from softrec.recipe.reading import read_yaml
from softrec.settings import Settings, setting

HOME = Path(__file__).parent
AXES = ("dataset", "backbone", "method", "setting")


class Choice(Settings):
    """How a printed name changes the recipe of a cell."""

    name: str = setting("", "the text that replaces the braces")
    recipe: str | None = setting(None, "the name of the recipe, instead of the table's")
    changes: dict[str, Any] = setting({}, "fields of the recipe that are changed")
    reason: str = setting("", "why there is no training for it")
    stand_in: str = setting("", "other data that are used instead; no number is held against it")
    note: str = setting("", "what a reader has to know")
    supposed: str = setting("", "a cause of a difference that was not proved")
    found: str = setting("", "a cause of a difference that was found by a measurement")


class CellChoice(Choice):
    """A choice for some cells only."""

    where: dict[str, tuple[str, ...]] = setting({}, "the printed names, by axis or metric")

    @field_validator("where", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: v if isinstance(v, list | tuple) else (v,) for k, v in value.items()}

    @field_validator("where")
    @classmethod
    def _known(cls, where: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for axis in where:
            if axis not in (*AXES, "metric"):
                raise ValueError(no_such("axis", axis, (*AXES, "metric")))
        return where

    def holds(self, names: dict[str, str]) -> bool:
        """Return whether the choice holds for a cell."""
        return all(names.get(axis) in wanted for axis, wanted in self.where.items())


class TableChoices(Settings):
    """A published table, and the choices of its printed names."""

    name: str = setting(text="as in the column `table` of the file")
    file: str = setting(text="a CSV file of published numbers")
    reason: str = setting("", "why there is no training for its rows")
    recipe: str = setting("", "the name of the recipe of a cell, with axes in braces")
    baseline: str = setting("", "the method that gains are counted from")
    dataset: dict[str, Choice] = setting({}, "the data sets")
    backbone: dict[str, Choice] = setting({}, "the models")
    method: dict[str, Choice] = setting({}, "the methods")
    cells: tuple[CellChoice, ...] = setting((), "what holds for some cells alone")
    setting: dict[str, Choice] = setting({}, "the settings")  # last, because it hides the function


class Paper(Settings):
    """A paper: its tables, and the files of its published numbers."""

    name: str = setting(text="what it is called")
    citation: str = setting("", "authors, title, place, year")
    tables: tuple[TableChoices, ...] = setting(text="its tables", min_length=1)


def names() -> list[str]:
    """Return the names of the papers that come with softrec."""
    return sorted(path.stem for path in (HOME / "papers").glob("*.yaml"))


def file_of(paper: str) -> Path:
    """Return the file of a paper, which says which recipe belongs to which row.

    Args:
        paper: a name, or a file (.yaml) of your own.

    Raises:
        RecipeError: if there is none.
    """
    if paper.endswith((".yaml", ".yml")):
        return Path(paper)
    if paper.lower() not in names():
        raise RecipeError(f"{no_such('paper', paper, names())}, or a file (.yaml) of your own")
    return HOME / "papers" / f"{paper.lower()}.yaml"


def read_paper(paper: str) -> Paper:
    """Return the content of the file of a paper; see `file_of`.

    Raises:
        RecipeError: if there is no such paper, or its file has wrong fields.
    """
    path = file_of(paper)
    fields = read_yaml(path)
    try:
        return Paper.model_validate(fields)
    except ValidationError as error:
        raise RecipeError(f"{path}: {complaint(error, {'': Paper})}") from error


def published_file(paper: Path, name: str) -> Path:
    """Return the file of published numbers: in the folder of the paper's file, else of softrec.

    Raises:
        RecipeError: if it is in neither folder.
    """
    for path in (paper.parent / name, HOME / "published" / name):
        if path.is_file():
            return path
    raise RecipeError(f"{paper} names {name}, which is not beside it; put the file there")
