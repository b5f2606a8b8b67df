"""Compares variants that differ in target, loss or model, with the same data and budget.

The result is the mean, over users and trainings, of the metric of a variant minus the metric of its
baseline for the same user. The interval covers both the choice of users and the randomness of
training, and the p-value is corrected for the number of variants. Each model has its own baseline.
With one seed there is no verdict.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.splits import Split
from softrec.errors import SoftrecError
from softrec.evaluation.asked import Asked
from softrec.evaluation.protocol import check_single
from softrec.experiments.baselines import check_buildable, those_that_fit
from softrec.experiments.build.data import load_logged, with_noise
from softrec.experiments.build.decided import decided
from softrec.experiments.combinations import plan
from softrec.experiments.comparison import REPORT, Comparison
from softrec.experiments.executors import Executor, executor
from softrec.experiments.inputs import Given
from softrec.experiments.levels import note, shared, simple_rows
from softrec.experiments.notes import check_refits, prior_note, refit_note, trials_note
from softrec.experiments.protocol import ProtocolRows, with_protocol_rows
from softrec.experiments.runs import Run, describe
from softrec.experiments.sliced import case_slices, sliced
from softrec.experiments.store.folders import COMPARISON, Place, reserved
from softrec.experiments.summary import results_of
from softrec.experiments.train import inputs_of
from softrec.experiments.trainings import Training, all_trained
from softrec.experiments.truth import truth_of
from softrec.experiments.tuning.rows import tuned
from softrec.experiments.variants import Axes, Plan, Refused, VariantPlan, check_distinct
from softrec.extras import require_report
from softrec.recipe.listed import parse_targets
from softrec.recipe.recipe import Recipe
from softrec.report.results import Results, write_results

LOGGER = logging.getLogger(__name__)


def compare_targets(
    base: Recipe,
    targets: Sequence[Mapping[str, Any]],
    out: str | Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    **options: Any,
) -> Comparison:
    """Train `base` on each target with each seed; see `compare_variants`.

    Args:
        base: data, model and budget; its target is not used.
        targets: target sections of recipes; the first is the baseline.
        out: the folder of the comparison.
        seeds: each target is trained once per seed; with one seed there is no verdict.
        **options: those of `compare_variants`.

    Raises:
        RecipeError: if a target does not fit, or has a field that must be the same for all
            rows; nothing is trained then.
    """
    given = Given(base.model_dump(mode="json"), {})
    return compare_variants(plan(given, Axes(parse_targets(targets)), seeds), out, **options)


def compare_variants(
    wanted: Plan,
    out: str | Path,
    *,
    data_dir: Path | None = None,
    log: Interactions | None = None,
    command: str = "",
    overwrite: bool = False,
    baselines: bool = False,
    protocol_rows: ProtocolRows = "never",
    user_table: Any = None,
    item_table: Any = None,
    on: str = "here",
    cpus_per_run: int | None = None,
) -> Comparison:
    """Train each variant with each seed; write the report, the results and a table of users.

    Finished runs are kept in `out`.part and reused if the comparison was interrupted.

    Args:
        wanted: the variants, from `plan`.
        out: the folder of the comparison.
        data_dir: a folder with public data sets.
        log: the log, if it is in memory.
        command: the command or call, for the report.
        overwrite: replace a finished comparison.
        baselines: add rows of the simple baselines, each counted once.
        protocol_rows: add the baseline of each model on other windows; see `with_protocol_rows`.
        user_table: a table of users; test cases are sliced by its columns, see `own_table`.
        item_table: a table of items; test cases are sliced by the columns of their label.
        on: "here", or "ray"; see `executors`.
        cpus_per_run: of each training on Ray.

    Raises:
        SoftrecError: if something cannot be built; nothing is trained then.
    """
    require_report()
    wanted = with_protocol_rows(wanted, protocol_rows)
    recipes = [recipe for variant in wanted.variants for recipe in variant.recipes]
    check_refits(recipes)
    inputs = [path for recipe in recipes for path in inputs_of(recipe)]
    with executor(on, cpus_per_run, out) as where, reserved(out, COMPARISON, inputs) as place:
        for recipe in recipes:
            where.check(recipe)
        results = _compared(
            wanted, baselines, place, where, data_dir=data_dir, log=log, command=command,
            overwrite=overwrite, tables=(user_table, item_table),
        )  # fmt: skip
        place.finish()
    return Comparison(place.out, results)


def _compared(
    wanted: Plan,
    baselines: bool,
    place: Place,
    where: Executor,
    *,
    data_dir: Path | None,
    log: Interactions | None,
    command: str,
    overwrite: bool,
    tables: tuple[Any, Any],
) -> Results:
    """Train and evaluate everything; write all files to the folder of the work in progress."""
    base = wanted.base
    simple = simple_rows(wanted, baselines=baselines)
    asked_for = [*(v.recipes for v in wanted.variants), *([recipe] for recipe in simple.values())]
    text = json.dumps(_asked(asked_for, wanted), indent=1)
    place.check_free(text, overwrite=overwrite)
    split = load_logged(shared(wanted), data_dir, log)
    asked = Asked.of(split, base.evaluation.mask_seen)
    if base.evaluation.negatives is not None:  # before any stage is trained
        check_single(asked.valid)
        check_single(asked.test)
    slices = case_slices(base, split, asked, *tables)  # a table may be refused
    truth, gap = truth_of(base, split, asked.test)
    if gap:
        LOGGER.info(gap)
    wanted = with_decisions(buildable(wanted, split), split)
    wanted = replace(
        wanted,
        notes=(
            *wanted.notes,
            *note(wanted),
            *refit_note(wanted),
            *trials_note(wanted),
            *prior_note(wanted),
        ),
    )
    for line in wanted.notes:
        LOGGER.info(line)
    fitting, notes = those_that_fit(simple, split)
    names = [*(variant.name for variant in wanted.variants), *fitting]
    check_distinct(names)
    folder = place.begin(text, describe(split), overwrite=overwrite)
    wanted, found = tuned(wanted, split, folder, _slug, where)
    rows = [*(variant.recipes for variant in wanted.variants), *([r] for r in fitting.values())]
    runs = _all_trained(folder, names, rows, split, where)
    slices = sliced(wanted, names, runs, slices)
    slices.write_parquet(folder / "slices.parquet")
    results = results_of(
        wanted, split, asked, names, runs, command=command, truth=truth, gap=gap, notes=notes,
        slices=slices, tuned=found,
    )  # fmt: skip
    write_per_user(names, runs, folder / "per_user.parquet")
    from softrec.report.write import write_report  # draws plots, by a package of an extra

    write_report(results, folder / REPORT)
    write_results(results, folder / COMPARISON.result)
    return results


def _asked(rows: Sequence[Sequence[Recipe]], wanted: Plan) -> list[Any]:
    """Return what makes it this comparison: the recipes, and what is searched of them."""
    plain: list[Any] = [[recipe.model_dump(mode="json") for recipe in row] for row in rows]
    if wanted.search is None:
        return plain
    spaces = [each.space.facts() for each in wanted.variants if each.space is not None]
    return [*plain, {"search": wanted.search.model_dump(exclude={"space"}), "spaces": spaces}]


def buildable(wanted: Plan, split: Split) -> Plan:
    """Return the plan with the variants that can be built; only stages may be trained before.

    Raises:
        SoftrecError: if nothing is left of something that was named.
    """
    refused: list[Refused] = []
    for variant in wanted.variants:
        try:
            split = with_noise(split, variant.untuned.data)
            check_buildable(variant.recipes[0], split)
        except SoftrecError as error:
            refused.append(Refused(variant.name, variant.covers, error))
    return wanted.without(refused)


def with_decisions(wanted: Plan, split: Split) -> Plan:
    """Return the plan with settings that depend on the data decided; decisions are logged."""
    lines: dict[str, None] = {}
    variants: list[VariantPlan] = []
    for variant in wanted.variants:
        split = with_noise(split, variant.untuned.data)
        both = [decided(recipe, split) for recipe in variant.recipes]
        lines |= dict.fromkeys(line for _, decisions in both for line in decisions)
        variants.append(replace(variant, recipes=tuple(recipe for recipe, _ in both)))
    for line in lines:
        LOGGER.info(line)
    return replace(wanted, variants=tuple(variants))


def _all_trained(
    folder: Path,
    names: Sequence[str],
    rows: Sequence[Sequence[Recipe]],
    split: Split,
    where: Executor,
) -> list[list[Run]]:
    """Return the runs of all rows; runs that do not exist yet are trained."""
    wanted = [
        Training(name, recipe, folder / "runs" / f"{_slug(name)}-seed{recipe.seed}")
        for name, row in zip(names, rows, strict=True)
        for recipe in row
    ]
    runs = iter(all_trained(wanted, split, where))
    return [[next(runs) for _ in row] for row in rows]


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".+" else "-" for c in name).strip("-")


def write_per_user(names: Sequence[str], runs: Sequence[Sequence[Run]], path: Path) -> None:
    """Write the metrics of all runs, a row per target, seed and user, piece by piece."""
    pl.concat(
        pl.scan_parquet(run.folder / "per_user.parquet", glob=False).select(
            pl.lit(name).alias("target"), pl.lit(run.recipe.seed).alias("seed"), pl.all()
        )
        for name, row in zip(names, runs, strict=True)
        for run in row
    ).sink_parquet(path)
