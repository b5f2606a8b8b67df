"""Same data, same model, same budget; only the target differs. Did it help?

The answer is a mean over users and trainings: each user's metric under a soft target less the
same user's metric under the baseline, with an interval that knows both that other users might have
come and that another seed might have trained another model, and a p-value corrected for how many
targets were tried. With one seed there is no verdict.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.splits import Split
from softrec.errors import RunError
from softrec.evaluation.asked import Asked
from softrec.experiments.baselines import check_buildable, simple_recipes, those_that_fit
from softrec.experiments.build.data import load_logged
from softrec.experiments.comparison import REPORT, Comparison
from softrec.experiments.runs import Run, describe
from softrec.experiments.sliced import case_slices, sliced
from softrec.experiments.stages import kept_run
from softrec.experiments.store.folders import COMPARISON, Place, reserved
from softrec.experiments.summary import name_of, results_of
from softrec.experiments.train import fit_recipe, inputs_of
from softrec.experiments.truth import truth_of
from softrec.losses.settings import LossSettings
from softrec.recipe.recipe import Recipe, read_recipe
from softrec.recipe.specs.models import is_counted
from softrec.report.results import Results, write_results
from softrec.report.write import write_report
from softrec.targets.one_hot import OneHotSettings

LOGGER = logging.getLogger(__name__)


def compare_targets(
    base: Recipe,
    targets: Sequence[Mapping[str, Any]],
    out: str | Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    data_dir: Path | None = None,
    log: Interactions | None = None,
    command: str = "",
    overwrite: bool = False,
    baselines: bool = False,
    user_table: Any = None,
    item_table: Any = None,
) -> Comparison:
    """Train `base` once per target and seed, and write a report, its numbers, and a table of users.

    Finished runs are kept in `out`.part and reused if the comparison was interrupted.

    Args:
        base: data, model, budget; its own target is not used.
        targets: target sections of recipes; the first is the baseline.
        out: the folder of the comparison.
        seeds: each target is trained once per seed; of one seed no verdict is given.
        data_dir: a folder with public data sets.
        log: the log, where it lies in memory.
        command: what was typed, for the report.
        overwrite: replace a finished comparison.
        baselines: add rows of the simple baselines, each counted once.
        user_table: by whose columns test cases are sliced; see `own_table`.
        item_table: likewise, for their labels.

    Raises:
        RecipeError: if a target does not fit, before anything is trained.
    """
    fields = base.model_dump(mode="json")
    recipes = [[_with_target(fields, target, seed) for seed in seeds] for target in targets]
    inputs = [path for row in recipes for recipe in row for path in inputs_of(recipe)]
    with reserved(out, COMPARISON, inputs) as place:
        results = _compared(
            base, targets, recipes, simple_recipes(base) if baselines else {}, place,
            data_dir=data_dir, log=log, command=command, overwrite=overwrite,
            tables=(user_table, item_table),
        )  # fmt: skip
        place.finish()
    return Comparison(place.out, results)


def _compared(
    base: Recipe,
    targets: Sequence[Mapping[str, Any]],
    recipes: Sequence[Sequence[Recipe]],
    simple: Mapping[str, Recipe],
    place: Place,
    *,
    data_dir: Path | None,
    log: Interactions | None,
    command: str,
    overwrite: bool,
    tables: tuple[Any, Any],
) -> Results:
    """Train and judge, leave all files in the folder of the work in progress."""
    asked_for = [*recipes, *([recipe] for recipe in simple.values())]
    text = json.dumps([[r.model_dump(mode="json") for r in row] for row in asked_for], indent=1)
    place.check_free(text, overwrite=overwrite)
    names = _names(targets, [row[0] for row in recipes])
    split = load_logged(base, data_dir, log)
    asked = Asked.of(split, base.evaluation.mask_seen)
    slices = case_slices(base, split, asked, *tables)  # a table may be refused
    truth, gap = truth_of(base, split, asked.test)
    if gap:
        LOGGER.info(gap)
    for row in recipes:
        # What cannot be built is refused before anything but what it depends on is trained.
        check_buildable(row[0], split)
    fitting, notes = those_that_fit(simple, split)
    names, rows = [*names, *fitting], [*recipes, *([recipe] for recipe in fitting.values())]
    _check_distinct(names)
    folder = place.begin(text, describe(split), overwrite=overwrite)
    runs: list[list[Run]] = []
    number, total = 0, sum(map(len, rows))
    for name, row in zip(names, rows, strict=True):
        runs.append([])
        for recipe in row:
            number += 1
            own = folder / "runs" / f"{_slug(name)}-seed{recipe.seed}"
            count = f"run {number} of {total}"
            first = runs[0][0].folder if runs[0] else None
            runs[-1].append(_trained(own, recipe, split, name=f"{count}: {name}", sibling=first))
    slices = sliced(base, names, runs, slices)
    slices.write_parquet(folder / "slices.parquet")
    results = results_of(
        base, split, asked, names, runs, command=command, truth=truth, gap=gap, notes=notes,
        slices=slices,
    )  # fmt: skip
    _per_user(names, runs).write_parquet(folder / "per_user.parquet")
    write_report(results, folder / REPORT)
    write_results(results, folder / COMPARISON.result)
    return results


def _trained(
    folder: Path,
    recipe: Recipe,
    split: Split,
    *,
    name: str,
    sibling: Path | None,
) -> Run:
    """Return the run of a recipe: the one that is there, else a new one next to its sibling."""
    run = kept_run(folder)
    if run is not None:
        if run.recipe == recipe:
            return run
        raise RunError(f"{folder} contains a run of another recipe; delete it")
    if is_counted(recipe.model.name):
        LOGGER.info("counting %s", name)
    else:
        LOGGER.info("training %s, seed %d", name, recipe.seed)
    return fit_recipe(recipe, folder, split=split, sibling=sibling)


def _with_target(fields: dict[str, Any], target: Mapping[str, Any], seed: int) -> Recipe:
    recipe = {**fields, "target": dict(target), "seed": seed}
    if (
        target.get("name") in OneHotSettings.names
    ):  # a baseline, beside a loss that may want a soft target
        loss = LossSettings.read(fields["loss"]).for_label_alone()
        recipe["loss"] = loss.model_dump(mode="json")
    return read_recipe(recipe)


def _names(targets: Sequence[Mapping[str, Any]], recipes: Sequence[Recipe]) -> list[str]:
    """Return a name for each target, with the settings that distinguish it from others."""
    names = []
    for recipe in recipes:
        settings = {
            key: value
            for key, value in recipe.target.model_dump(mode="json").items()
            if key not in ("name", "of", "label", "kind", "fingerprint")
            and (key == "alpha" or value != type(recipe.target).model_fields[key].default)
        }
        if settings.get("teacher"):  # a path of this machine says nothing, and is long
            settings["teacher"] = name_of(settings["teacher"])
        inside = ", ".join(f"{key} {value}" for key, value in settings.items())
        own = getattr(recipe.target, "label", recipe.target.name)
        names.append(f"{own} ({inside})" if inside else own)
    _check_distinct(names)
    return names


def _check_distinct(names: Sequence[str]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RunError(f"the target {twice.pop()} is given twice; compare different ones")


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".+" else "-" for c in name).strip("-")


def _per_user(names: Sequence[str], runs: Sequence[Sequence[Run]]) -> pl.DataFrame:
    """Return the metrics of all runs, a row per target, seed and user."""
    return pl.concat(
        run.per_user.select(
            pl.lit(name).alias("target"), pl.lit(run.recipe.seed).alias("seed"), pl.all()
        )
        for name, row in zip(names, runs, strict=True)
        for run in row
    )
