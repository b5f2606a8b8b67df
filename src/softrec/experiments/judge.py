"""Evaluates ranked lists of any system like variants of a comparison, with simple baselines."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from softrec.data.splits import Split
from softrec.errors import RecipeError
from softrec.evaluation.asked import Asked
from softrec.evaluation.by_slice import differences_by_slice
from softrec.evaluation.metrics import metric_names
from softrec.experiments.baselines import simple_recipes, those_that_fit
from softrec.experiments.build.data import load_logged
from softrec.experiments.comparison import REPORT, Comparison
from softrec.experiments.differences import between, difference_between
from softrec.experiments.given_lists import Judge, Row, named
from softrec.experiments.inputs import read_source
from softrec.experiments.runs import Run, describe
from softrec.experiments.sliced import case_slices
from softrec.experiments.stages import kept_run
from softrec.experiments.store.folders import COMPARISON, reserved
from softrec.experiments.summary import (
    notes_of,
    seed_means,
    slice_of,
    training_of,
    variant_of,
)
from softrec.experiments.train import fit_recipe, inputs_of, versions
from softrec.experiments.variants import check_distinct
from softrec.extras import require_report
from softrec.recipe.options import recipe_of
from softrec.recipe.recipe import Recipe, merged, read_recipe
from softrec.report.numbers import MetricDifference
from softrec.report.results import Results, Selection, Simple, Variant, write_results

LOGGER = logging.getLogger(__name__)
NAME_THEM = "give one of them another name, as in NAME=PATH"


def judge_lists(
    lists: Any,
    data: Any = None,
    *,
    out: str | Path,
    against: Any = None,
    metrics: str | Sequence[str] | None = None,
    baselines: bool = True,
    user_table: Any = None,
    item_table: Any = None,
    data_dir: Path | None = None,
    overwrite: bool = False,
    trust: bool = False,
    command: str = "",
    options: Mapping[str, Any] | None = None,
) -> Comparison:
    """Evaluate ranked lists on the test part of a log, and write a comparison.

    The arguments are those of `softrec.evaluate_lists`; with `trust` the files of runs are not
    checked.

    Raises:
        SoftrecError: if something cannot be read; nothing is written then.
    """
    require_report()
    rows = named(lists, "lists", trust=trust)
    references = {} if against is None else named(against, "reference", trust=trust)
    check_distinct([*references, *rows], NAME_THEM)
    beside, given = ([one for some in each.values() for one in some] for each in (references, rows))
    run = next((one for one in beside if isinstance(one, Run)), None)
    recipe, load = _protocol(data, run, metrics, dict(options or {}), data_dir)
    read = [str(place) for place in map(_place, [*beside, *given]) if isinstance(place, str | Path)]
    with reserved(out, COMPARISON, [*inputs_of(recipe), *read]) as place:
        own = {name: [str(_place(one)) for one in some] for name, some in rows.items()}
        asked_for = json.dumps([[recipe.model_dump(mode="json")], [own]], indent=1)
        place.check_free(asked_for, overwrite=overwrite)
        split = load()
        asked = Asked.of(split, recipe.evaluation.mask_seen)
        slices = case_slices(recipe, split, asked, user_table, item_table)
        judge = Judge(recipe, split, asked)
        judged = [judge.row(name, some) for name, some in (references | rows).items()]
        for note in (note for row in judged for note in row.notes):
            LOGGER.info(note)
        simple, notes = those_that_fit(simple_recipes(recipe) if baselines else {}, split)
        check_distinct([*(row.name for row in judged), *simple], NAME_THEM)
        folder = place.begin(asked_for, describe(split), overwrite=overwrite)
        counted = {name: _counted(folder, name, one, split) for name, one in simple.items()}
        results = _results(judge, judged, len(references), counted, slices, notes, command, folder)
        from softrec.report.write import write_report  # draws plots, by a package of an extra

        write_report(results, folder / REPORT)
        write_results(results, folder / COMPARISON.result)
        place.finish()
    return Comparison(place.out, results)


def _place(source: Any) -> Any:
    """Return the folder of a run; anything else as it is."""
    return source.folder if isinstance(source, Run) else source


def _protocol(
    data: Any, run: Run | None, metrics: Any, options: dict[str, Any], data_dir: Path | None
) -> tuple[Recipe, Callable[[], Split]]:
    """Return the recipe with the protocol, from log and options or a run, and what loads data."""
    wanted = metric_names(metrics) if metrics else []
    own: dict[str, Any] = {"evaluation.metrics": wanted} if wanted else {}
    if data is not None:
        if wanted and not {"monitor", "training.monitor"} & options.keys():
            own["training.monitor"] = wanted[0]
        given = read_source(data, options | own)
        recipe = recipe_of(given.fields, given.options, given.place)
        return _of_whole_catalogue(recipe), lambda: load_logged(recipe, data_dir, given.log)
    if run is None:
        raise RecipeError(
            "lists are evaluated on a log: give it with --data, or a run of it with --against (in "
            "Python data= or against=)"
        )
    changed = [name for name, value in options.items() if value is not None]
    if changed:
        raise RecipeError(
            f"{changed[0]} says how a log is split and evaluated, but without --data that is done "
            "as for the run of --against; give --data, or leave it out"
        )
    if wanted:
        own["training.monitor"] = wanted[0]
    fields = merged(run.recipe.model_dump(mode="json"), own)
    return _of_whole_catalogue(read_recipe(fields)), run.split


def _of_whole_catalogue(recipe: Recipe) -> Recipe:
    """Refuse sampled negatives, because lists do not rank them."""
    if recipe.evaluation.negatives is None:
        return recipe
    raise RecipeError(
        "lists are of the whole catalogue, but evaluation.negatives ranks drawn items alone; "
        "leave it out (evaluation.negatives=null), or evaluate the run on a log with --data"
    )


def _counted(folder: Path, name: str, recipe: Recipe, split: Split) -> Run:
    own = folder / "runs" / name
    LOGGER.info("counting %s", name)
    return kept_run(own) or fit_recipe(recipe, own, split=split)


def _results(
    judge: Judge,
    rows: Sequence[Row],
    n_references: int,
    counted: Mapping[str, Run],
    slices: pl.DataFrame,
    notes: Sequence[str],
    command: str,
    folder: Path,
) -> Results:
    """Return the results, and write the tables of users and slices."""
    recipe, split, asked = judge
    metrics, metric = list(recipe.evaluation.metrics), recipe.training.monitor
    names = [*(row.name for row in rows), *counted]
    tables = [*(row.tables for row in rows), *([run.per_user] for run in counted.values())]
    against = between(
        lambda one: [_stacked(own, one) for own in tables], len(names), metrics,
        counted=len(counted), drawn=[metric],
    )  # fmt: skip
    found = [{}, *against]
    values = {n: _stacked(own, metric) for n, own in zip(names, tables, strict=True)}
    sliced = differences_by_slice(slices, values, deterministic=list(counted))
    sliced.write_parquet(folder / "slices.parquet")
    _per_user(names, tables, metrics).write_parquet(folder / "per_user.parquet")
    baseline = names[0]
    events = sum(map(len, split.parts.values()))
    variants = [
        *(_variant(row, metrics, own) for row, own in zip(rows, found, strict=False)),
        *(
            variant_of(name, [run], metrics, found[len(rows) + number], None)
            for number, (name, run) in enumerate(counted.items())
        ),
    ]
    return Results(
        title=f"{', '.join(row.name for row in rows)} on {recipe.data.title}: ranked lists",
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        seed_note="lists evaluated as given",
        data={"name": recipe.data.title, **describe(split), "events": events},
        model={},
        budget={},
        selection=Selection(metric=metric, on="nothing"),
        baseline=baseline,
        metrics=tuple(metrics),
        variants=tuple(
            one.model_copy(update={"baseline": None if one.name == baseline else baseline})
            for one in variants
        ),
        ceiling=None,
        evaluation=asked.facts(),
        slices=tuple(map(slice_of, sliced.iter_rows(named=True))),
        simple=_simple(rows[n_references], counted, metric),
        notes=(
            *notes_of(recipe, split, asked), *(note for row in rows for note in row.notes), *notes
        ),
    )  # fmt: skip


def _variant(row: Row, metrics: Sequence[str], difference: dict[str, MetricDifference]) -> Variant:
    """Return the results of lists, or of runs that were evaluated again with them."""
    test = {
        name: [float(table[name].to_numpy().mean()) for table in row.tables] for name in metrics
    }
    first = row.runs[0] if row.runs else None
    of_run: dict[str, Any] = {}
    if first is not None:
        known = [name for name in metrics if all(name in run.valid for run in row.runs)]
        of_run = {
            "kind": "trained",
            "target": first.recipe.target.model_dump(mode="json"),
            "model": {"name": first.recipe.model.name, **first.recipe.model.settings},
            "soft_weight": first.recipe.target.soft_weight,
            "valid": seed_means({name: [run.valid[name] for run in row.runs] for name in known}),
            "runs": tuple(map(training_of, row.runs)),
        }
    measures = {name: [one[name] for one in row.lists] for name in row.lists[0] if name != "k"}
    lists = {"kind": "listed", "target": {}, "soft_weight": 0.0, "valid": {}, "runs": ()}
    return Variant(
        name=row.name, test=seed_means(test), difference=difference or None, regret=None,
        lists=seed_means(measures), **(of_run or lists),
    )  # fmt: skip


def _simple(lists: Row, counted: Mapping[str, Run], metric: str) -> Simple | None:
    """Return the comparison of the best simple baseline on validation with lists."""
    if not counted:
        return None
    best = max(counted, key=lambda name: counted[name].valid[metric])
    pair = _stacked(lists.tables, metric), _stacked([counted[best].per_user], metric)
    return Simple(
        counted=best,
        trained=lists.name,
        difference=difference_between(*pair, deterministic=True, drawn=True),
    )


def _stacked(tables: Sequence[pl.DataFrame], metric: str) -> np.ndarray:
    return np.stack([table[metric].to_numpy() for table in tables])


def _per_user(
    names: Sequence[str], tables: Sequence[Sequence[pl.DataFrame]], metrics: Sequence[str]
) -> pl.DataFrame:
    """Return the metrics of all rows, a row per name, number of training, and user."""
    return pl.concat(
        table.select(pl.lit(name).alias("target"), pl.lit(number).alias("seed"), "user", *metrics)
        for name, own in zip(names, tables, strict=True)
        for number, table in enumerate(own)
    )
