"""Same data, same model, same budget; only the target differs. Did it help?

The answer is a mean over users and trainings: each user's metric under a soft target less the
same user's metric under the baseline, with an interval that knows both that other users might have
come and that another seed might have trained another model, and a p-value corrected for how many
targets were tried. With one seed there is no verdict.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.splits import Split
from softrec.errors import RunError
from softrec.evaluation.asked import Asked, told
from softrec.experiments import views
from softrec.experiments.build.data import load_told
from softrec.experiments.build.objective import build
from softrec.experiments.differences import differences
from softrec.experiments.runs import Run, describe
from softrec.experiments.stages import kept_run
from softrec.experiments.store.folders import COMPARISON, Place, reserved
from softrec.experiments.train import fit_recipe, inputs_of, settle, versions
from softrec.experiments.truth import Truth, truth_of
from softrec.files import write_text
from softrec.recipe.recipe import Recipe, read_recipe
from softrec.report.report import write_report


@dataclass(frozen=True)
class Comparison:
    """A finished comparison, in its folder."""

    folder: Path
    results: dict[str, Any]

    def __repr__(self) -> str:
        return views.comparison_text(self)

    def _repr_html_(self) -> str:
        return views.comparison_html(self)


def compare(
    base: Recipe,
    targets: Sequence[Mapping[str, Any]],
    out: str | Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    data_dir: Path | None = None,
    log: Interactions | None = None,
    command: str = "",
    overwrite: bool = False,
    progress: bool | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> Comparison:
    """Train `base` once per target and seed, and write a report, its numbers, and a table of users.

    Finished runs are kept in `out`.part and taken again if the comparison is interrupted.

    Args:
        base: data, model, budget; its own target is not used.
        targets: target sections of recipes; the first is the baseline.
        out: the folder of the comparison.
        seeds: each target is trained once per seed; of one seed no verdict is given.
        data_dir: a folder with public data sets.
        log: the log, where it lies in memory.
        command: what was typed, for the report.
        overwrite: replace a finished comparison.
        progress: show bars; if None, in a terminal or notebook.
        say: called with a line of text for what was read, and before each run.

    Raises:
        RecipeError: if a target does not fit, before anything is trained.
    """
    fields = base.model_dump(mode="json")
    recipes = [[_with_target(fields, target, seed) for seed in seeds] for target in targets]
    inputs = [path for row in recipes for recipe in row for path in inputs_of(recipe)]
    with reserved(out, COMPARISON, inputs) as place:
        results = _compared(
            base, targets, recipes, place, data_dir=data_dir, log=log, command=command,
            overwrite=overwrite, progress=progress, say=say,
        )  # fmt: skip
        place.finish()
    return Comparison(place.out, results)


def _compared(
    base: Recipe,
    targets: Sequence[Mapping[str, Any]],
    recipes: Sequence[Sequence[Recipe]],
    place: Place,
    *,
    data_dir: Path | None,
    log: Interactions | None,
    command: str,
    overwrite: bool,
    progress: bool | None,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Train and judge, leave all files in the folder of the work in progress."""
    text = json.dumps([[r.model_dump(mode="json") for r in row] for row in recipes], indent=1)
    place.check_free(text, overwrite=overwrite)
    names = _names(targets, [row[0] for row in recipes])
    split = load_told(base, data_dir, log, say)
    asked = Asked.of(split, base.evaluation.mask_seen)
    truth, gap = truth_of(base, split, asked.test)
    if gap:
        say(gap)
    for row in recipes:
        # What cannot be built is refused before anything but what it rests on is trained.
        build(settle(row[0], split, progress=progress, tell=say), split)
    folder = place.begin(text, describe(split), overwrite=overwrite)
    numbers, total = itertools.count(1), len(names) * len(recipes[0])
    runs = [
        [
            _trained(
                folder / "runs" / f"{_slug(name)}-seed{recipe.seed}",
                recipe,
                split,
                progress,
                name=f"run {next(numbers)} of {total}: {name}",
                say=say,
            )
            for recipe in row
        ]
        for name, row in zip(names, recipes, strict=True)
    ]
    results = _results(base, split, asked, names, runs, command, truth, gap)
    _per_user(names, runs).write_parquet(folder / "per_user.parquet")
    write_report(results, folder / "report.html")
    write_text(folder / COMPARISON.result, json.dumps(results, indent=1))
    return results


def _trained(
    folder: Path,
    recipe: Recipe,
    split: Split,
    progress: bool | None,
    *,
    name: str,
    say: Callable[[str], object],
) -> Run:
    """Return the run of a recipe: the one that is there, else a new one."""
    run = kept_run(folder, say)
    if run is not None:
        if run.recipe == recipe:
            return run
        raise RunError(f"{folder} holds a run of another recipe; delete it")
    say(f"training {name}, seed {recipe.seed}")
    return fit_recipe(recipe, folder, split=split, progress=progress, tell=say)


def _with_target(fields: dict[str, Any], target: Mapping[str, Any], seed: int) -> Recipe:
    loss = fields["loss"]
    if target.get("name") == "one-hot" and loss["name"] == "decoupled":
        # Nothing to decouple where there is only the label.
        loss = {**{k: v for k, v in loss.items() if k != "balance"}, "name": "mixed"}
    return read_recipe({**fields, "target": dict(target), "loss": loss, "seed": seed})


def _names(targets: Sequence[Mapping[str, Any]], recipes: Sequence[Recipe]) -> list[str]:
    """Return a name for each target, with the settings that tell it from others."""
    names = []
    for recipe in recipes:
        settings = {
            key: value
            for key, value in recipe.target.model_dump(mode="json").items()
            if key not in ("name", "of")
            and (key == "alpha" or value != type(recipe.target).model_fields[key].default)
        }
        if settings.get("teacher"):  # a path of this machine says nothing, and is long
            settings["teacher"] = _named(settings["teacher"])
        inside = ", ".join(f"{key} {value}" for key, value in settings.items())
        names.append(f"{recipe.target.name} ({inside})" if inside else recipe.target.name)
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise RunError(f"the target {twice.pop()} is given twice; compare different ones")
    return names


def _notes(base: Recipe, asked: Asked) -> list[str]:
    sentence = told(asked.facts())
    notes = [f"{sentence[0].upper()}{sentence[1:]}."]
    number = base.evaluation.negatives
    if number is None:
        return notes
    return [
        *notes,
        f"Items are ranked among {number:,} drawn ones that the user never took, not among all. "
        "Such metrics may order models otherwise than a full ranking: compare them with each other "
        "alone.",
    ]


def _named(run: str | dict[str, Any]) -> str:
    """Return the name of a run's folder, or of the model of its recipe."""
    if isinstance(run, str):
        return Path(run).name
    return run.get("model", {}).get("name", "the run of a recipe")


def _slug(name: str) -> str:
    return "".join(c if c.isalnum() or c in ".+" else "-" for c in name).strip("-")


def _results(
    base: Recipe,
    split: Split,
    asked: Asked,
    names: Sequence[str],
    runs: Sequence[Sequence[Run]],
    command: str,
    truth: Truth | None,
    gap: str,
) -> dict[str, Any]:
    """Return the content of results.json."""
    metrics = list(base.evaluation.metrics)
    variants = [_variant(name, row, metrics, truth) for name, row in zip(names, runs, strict=True)]
    for variant, found in zip(variants[1:], differences(runs, metrics), strict=True):
        variant["difference"] = found
    training = base.training.model_dump(mode="json")
    if training["start"] is not None:
        training["start"] = _named(training["start"])
    return {
        "title": f"{base.model.name} on {base.data.title}: only the target differs",
        "command": command,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "seed_note": f"seeds {', '.join(str(run.recipe.seed) for run in runs[0])}",
        "data": {"name": base.data.title, **describe(split),
                 "events": len(split.train) + len(split.valid) + len(split.test)},
        "model": {"name": base.model.name, "preset": base.model.preset, **base.model.settings},
        "budget": training,
        "selection": {"metric": base.training.monitor, "on": "validation"},
        "baseline": names[0],
        "metrics": metrics,
        "variants": variants,
        "ceiling": None if truth is None else {
            "name": "best possible ranking (the simulator knows the truth)",
            "test": truth.best_metrics(),
        },
        "evaluation": asked.facts(),
        "notes": [*_notes(base, asked), *([gap] if gap else [])],
    }  # fmt: skip


def _variant(
    name: str, runs: Sequence[Run], metrics: Sequence[str], truth: Truth | None
) -> dict[str, Any]:
    def over_seeds(part: str) -> dict[str, Any]:
        values = {m: [run.facts[part][m] for run in runs] for m in metrics}
        return {m: {"mean": float(np.mean(v)), "per_seed": v} for m, v in values.items()}

    return {
        "name": name,
        "target": runs[0].recipe.target.model_dump(mode="json"),
        "soft_mass": runs[0].recipe.target.soft_mass,
        "test": over_seeds("test"),
        "valid": over_seeds("valid"),
        "difference": None,
        "runs": [_cost(run) for run in runs],
        "regret": None if truth is None else truth.regret(runs),
    }


def _cost(run: Run) -> dict[str, Any]:
    facts = run.facts
    keys = ("best_epoch", "epochs", "seconds", "seconds_per_epoch", "peak_memory_mib")
    curve = [
        {
            "epoch": int(row["epoch"]),
            "train_loss": row["train/loss"],
            "valid": {k.removeprefix("valid/"): v for k, v in row.items() if k[:6] == "valid/"},
        }
        for row in facts["curve"]
    ]
    return {
        "seed": run.recipe.seed,
        **{key: facts[key] for key in keys},
        "levelled_off": facts["epochs"] - facts["best_epoch"] >= run.recipe.training.patience,
        "curve": curve,
    }


def _per_user(names: Sequence[str], runs: Sequence[Sequence[Run]]) -> pl.DataFrame:
    """Return the metrics of all runs, a row per target, seed and user."""
    return pl.concat(
        run.per_user.select(
            pl.lit(name).alias("target"), pl.lit(run.recipe.seed).alias("seed"), pl.all()
        )
        for name, row in zip(names, runs, strict=True)
        for run in row
    )
