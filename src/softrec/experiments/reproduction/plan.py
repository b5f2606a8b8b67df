"""The trainings for the cells of a paper, and for comparison, in the order of their cost."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from softrec.data import sources
from softrec.errors import RecipeError, shown
from softrec.experiments.baselines import simple_recipes
from softrec.experiments.reproduction.cells import Cell, with_metrics
from softrec.experiments.reproduction.cost import minutes
from softrec.experiments.views import asked
from softrec.recipe.recipe import Recipe, read_recipe

DEFAULTS = ("sasrec", "gru4rec")
"""The models that are trained with their defaults for comparison with a block."""
DEFAULTS_BY_USER = ("mf", "lightgcn")
"""These models if the log has no order."""

Kind = Literal["cell", "simple", "defaults"]


@dataclass(frozen=True)
class Job:
    """A training or a count that is needed.

    Attributes:
        name: its name.
        recipe: its recipe, with the seed.
        kind: whether it is a row of the paper, a simple baseline or a model with defaults.
        minutes: its estimated time; NaN if it is unknown.
    """

    name: str
    recipe: Recipe
    kind: Kind
    minutes: float

    @property
    def folder(self) -> str:
        """Return the name of its folder, which depends only on the recipe."""
        fields = json.dumps(self.recipe.model_dump(mode="json"), sort_keys=True)
        key = hashlib.sha256(fields.encode()).hexdigest()[:8]
        words = "".join(c if c.isalnum() or c in ".+" else "-" for c in asked(self.recipe))
        return f"{words}-seed{self.recipe.seed}-{key}"


@dataclass(frozen=True)
class Group:
    """The cells of a block with their jobs, and the jobs for comparison, by name."""

    table: str
    dataset: str
    cells: list[Cell]
    jobs: list[list[Job]]  # for each cell, one job per seed
    beside: dict[str, Job] = field(default_factory=dict)

    @property
    def all_jobs(self) -> list[Job]:
        """Return all jobs."""
        return [*self.beside.values(), *(job for own in self.jobs for job in own)]


def selected(cells: Sequence[Cell], table: str | None, row: str | None) -> list[Cell]:
    """Return the cells of a table and of a row.

    Args:
        cells: all of a paper.
        table: the name of a table, or a part of it.
        row: printed names of data set, backbone, method or setting, separated by commas.

    Raises:
        RecipeError: if there are none.
    """
    tables = list(dict.fromkeys(cell.table for cell in cells))
    if table is not None:
        exact = [name for name in tables if name.lower() == table.lower()]
        found = exact or [name for name in tables if table.lower() in name.lower()]
        if not found:
            raise RecipeError(f"no table is called {table!r}; there are {shown(tables, 20)}")
        cells = [cell for cell in cells if cell.table in found]
    if row is not None:
        chosen = [cell for cell in cells if _has(cell, row.lower())]
        if not chosen:
            named = dict.fromkeys(name for cell in cells for name in cell.names.values() if name)
            raise RecipeError(f"no row has the names {row!r}; there are {shown(named, 30)}")
        cells = chosen
    return list(cells)


def _has(cell: Cell, row: str) -> bool:
    """Return whether a cell has all names of a row, of which some contain commas themselves."""
    names = {name.lower() for name in cell.names.values()}
    for name in names:
        row = row.replace(name, ",") if "," in name else row
    return all(word.strip() in names for word in row.split(",") if word.strip())


def groups(
    cells: Sequence[Cell], seeds: Sequence[int], *, baselines: bool = True, defaults: bool = True
) -> list[Group]:
    """Return the cells by block, with their jobs.

    Args:
        cells: the selected cells.
        seeds: of the trainings.
        baselines: add the simple baselines on the same data and protocol.
        defaults: add models with today's defaults on the same data and protocol.
    """
    found: list[Group] = []
    for (table, dataset), own in _blocks(cells).items():
        jobs = [
            [_job(one, seed, dataset) for seed in seeds if one.recipe is not None] for one in own
        ]
        base = _base(own)
        beside: dict[str, Job] = {}
        if base is not None and baselines:
            beside |= _beside(simple_recipes(base), "simple", dataset)
        if base is not None and defaults:
            beside |= _beside(default_recipes(base), "defaults", dataset)
        found.append(Group(table, dataset, own, jobs, beside))
    return found


def with_finished(
    wanted: Sequence[Group], everything: Iterable[Group], finished: Callable[[Job], bool]
) -> list[Group]:
    """Return the groups that are wanted, and of all others of the paper what is finished.

    Args:
        wanted: of the selected cells.
        everything: the groups of all cells, among which are the selected ones.
        finished: whether there is a run of a job.
    """
    found: list[Group] = []
    for group in everything:
        name = group.table, group.dataset
        own = next((each for each in wanted if (each.table, each.dataset) == name), None)
        cells = [] if own is None else own.cells
        rows = [
            (cell, jobs)
            for cell, jobs in zip(group.cells, group.jobs, strict=True)
            if cell in cells or any(map(finished, jobs))
        ]
        if own is None:
            beside = {name: job for name, job in group.beside.items() if finished(job)}
        else:
            beside = own.beside
        if rows:
            shown, jobs = map(list, zip(*rows, strict=True))
            found.append(replace(group, cells=shown, jobs=jobs, beside=beside))
    return found


def _blocks(cells: Sequence[Cell]) -> dict[tuple[str, str], list[Cell]]:
    """Return the cells by table and data set, and by setting where that changes the data.

    So the rows beside a block are of the same data.
    """
    blocks: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        table, dataset = cell.block
        setting = cell.names["setting"]
        if setting and any(place.startswith("data.") for place in cell.changes):
            dataset = f"{dataset}, {setting}"
        blocks.setdefault((table, dataset), []).append(cell)
    return blocks


def _job(cell: Cell, seed: int, dataset: str) -> Job:
    assert cell.recipe is not None
    recipe = cell.recipe.model_copy(update={"seed": seed})
    return Job(f"{dataset} {cell.row}", recipe, "cell", minutes(recipe))


def _base(cells: Iterable[Cell]) -> Recipe | None:
    """Return a recipe with the data, the ranking and all metrics of a block."""
    recipes = [cell.recipe for cell in cells if cell.recipe is not None]
    if not recipes:
        return None
    metrics = dict.fromkeys(name for recipe in recipes for name in recipe.evaluation.metrics)
    return with_metrics(recipes[0], metrics)


def _beside(recipes: dict[str, Recipe], kind: Kind, dataset: str) -> dict[str, Job]:
    return {
        name: Job(f"{dataset} {name}", recipe, kind, minutes(recipe))
        for name, recipe in recipes.items()
    }


def default_recipes(base: Recipe) -> dict[str, Recipe]:
    """Return the recipes that `fit` trains by default: every position, candidates by cost."""
    by_user = base.training.windows == "interactions"
    fields = base.model_dump(mode="json")
    training = {"monitor": base.training.monitor}
    if by_user:
        training |= {"windows": "interactions", "length": 1}
    return {
        f"{name}, defaults": read_recipe(
            {
                "data": fields["data"],
                "evaluation": {**fields["evaluation"], "score": "trained"},
                "training": training,
                "model": {"name": name},
                "seed": base.seed,
            }
        )
        for name in (DEFAULTS_BY_USER if by_user else DEFAULTS)
    }


def by_cost(found: Iterable[Group]) -> list[Job]:
    """Return each job once: first simple baselines, then by seed and cost, unknown costs last."""
    jobs: dict[str, Job] = {}
    for group in found:
        for job in group.all_jobs:
            jobs.setdefault(job.folder, job)
    return sorted(
        jobs.values(),
        key=lambda job: (
            job.kind != "simple",
            job.recipe.seed,
            math.inf if math.isnan(job.minutes) else job.minutes,
        ),
    )


def where(recipe: Recipe, data_dir: Path | None) -> str:
    """Return, in a few words, whether the data of a recipe are on this machine."""
    if recipe.data.source not in sources.SOURCES:
        return (
            "" if recipe.data.source == "shop" or Path(recipe.data.source).exists() else "missing"
        )
    source = sources.get(recipe.data.source)
    missing = [file for file in source.files if sources.find(source, file, data_dir) is None]
    if not missing:
        return "here"
    return "to be downloaded" if all(file.url for file in missing) else "missing"
