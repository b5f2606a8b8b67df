"""The results of a comparison, computed from its finished runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from softrec.data.splits import Split
from softrec.evaluation.asked import Asked, sentence_of
from softrec.experiments.calibrated import MEASURES
from softrec.experiments.differences import against_trained, best_on_validation, differences
from softrec.experiments.levels import baselines_of, level_of
from softrec.experiments.naming import name_of
from softrec.experiments.runs import Run, describe
from softrec.experiments.title import title_of
from softrec.experiments.train import versions
from softrec.experiments.truth import Truth
from softrec.experiments.variants import Plan
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import is_counted
from softrec.report.numbers import MetricDifference, SeedMean, SliceDifference
from softrec.report.results import (
    Bin,
    Calibrated,
    Ceiling,
    Epoch,
    Results,
    Selection,
    Simple,
    Training,
    Variant,
)
from softrec.report.tuned import Tuned, sentence
from softrec.report.verdict import PATIENT

DIFFERS = "differs between rows"


def results_of(
    wanted: Plan,
    split: Split,
    asked: Asked,
    names: Sequence[str],
    runs: Sequence[Sequence[Run]],
    *,
    command: str,
    truth: Truth | None,
    gap: str,
    notes: Sequence[str] = (),
    slices: pl.DataFrame | None = None,
    tuned: Mapping[str, Tuned] | None = None,
) -> Results:
    """Return the results of a comparison.

    Args:
        wanted: the plan of the comparison.
        split: the data.
        asked: the evaluation task.
        names: of the variants, the baseline first, then of the simple baselines.
        runs: a row for each name, a run for each seed; one run for a simple baseline.
        command: the command or call.
        truth: the best ranking, for simulated data.
        gap: why there is no best ranking although the data are simulated; else empty.
        notes: other notes for the report.
        slices: the result of `sliced`.
        tuned: what was found by the search of each variant, by its name.
    """
    base = wanted.base
    baselines = baselines_of(wanted, [row[0].recipe for row in runs])
    metrics = list(base.evaluation.metrics)
    counted = sum(is_counted(row[0].recipe.model.name) for row in runs[1:])
    against = differences(
        runs, metrics, counted=counted, drawn=[base.training.monitor], baselines=baselines
    )
    found = [{}, *against]
    model, training = _settings([variant.recipes[0] for variant in wanted.variants])
    events = sum(map(len, split.parts.values()))
    return Results(
        title=title_of(wanted),
        command=command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(),
        seed_note=f"seeds {', '.join(str(run.recipe.seed) for run in runs[0])}",
        data={"name": base.data.title, **describe(split), "events": events},
        model=model,
        budget=training,
        selection=Selection(metric=base.training.monitor, on="validation"),
        baseline=names[0],
        metrics=tuple(metrics),
        variants=tuple(
            variant_of(name, row, metrics, difference, truth).model_copy(
                update=_place_of(wanted, place, names[baselines[place]])
                | {"tuned": (tuned or {}).get(name)}
            )
            for place, (name, row, difference) in enumerate(zip(names, runs, found, strict=True))
        ),
        ceiling=_ceiling(truth),
        evaluation=asked.facts(base.evaluation.negatives),
        slices=() if slices is None else tuple(map(slice_of, slices.iter_rows(named=True))),
        simple=_simple(names, runs, base.training.monitor),
        tuning=budget_of(wanted),
        notes=(
            *([sentence(budget_of(wanted))] if wanted.search else []),
            *notes_of(base, split, asked),
            *([gap] if gap else []),
            *wanted.notes,
            *notes,
        ),
    )


def _settings(rows: Sequence[Recipe]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings of the model and of training that the trained rows share."""
    models = [{"name": r.model.name, "preset": r.model.preset, **r.model.settings} for r in rows]
    training = _shared([recipe.training.model_dump(mode="json") for recipe in rows])
    if training["start"] not in (None, DIFFERS):
        training["start"] = name_of(training["start"])
    return _shared(models), training


def _shared(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that all rows have, and a word in place of a value that differs."""
    return {
        name: value if all(row.get(name) == value for row in rows) else DIFFERS
        for name, value in rows[0].items()
    }


def budget_of(wanted: Plan) -> dict[str, Any]:
    """Return the budget that the search of each variant had; {} if nothing was searched."""
    if wanted.search is None:
        return {}
    search, base = wanted.search, wanted.base
    return {
        "trials": search.trials, "epochs": base.training.epochs, "pruner": search.pruner,
        "seed": base.seed, "metric": base.training.monitor,
    }  # fmt: skip


def _place_of(wanted: Plan, place: int, baseline: str) -> dict[str, Any]:
    """Return the group of a row and its baseline."""
    if place >= len(wanted.variants):
        return {"baseline": baseline}
    variant = wanted.variants[place]
    return {
        "group": variant.group,
        "series": variant.series,
        "grid": dict(variant.grid),
        "baseline": None if baseline == variant.name else baseline,
    }


def slice_of(row: dict[str, Any]) -> SliceDifference:
    """Return a row of `differences_by_slice` as the results have it."""
    return SliceDifference.model_validate(row)


def variant_of(
    name: str,
    runs: Sequence[Run],
    metrics: Sequence[str],
    difference: dict[str, MetricDifference],
    truth: Truth | None,
) -> Variant:
    """Return the results of one variant, from its runs."""

    def over_seeds(part: str) -> dict[str, SeedMean]:
        return seed_means({metric: [run.facts[part][metric] for run in runs] for metric in metrics})

    first, target = runs[0], runs[0].recipe.target
    counted = is_counted(first.recipe.model.name)
    settings = {**first.recipe.model.settings, **first.facts.get("settings", {})}
    return Variant(
        name=name,
        kind="counted" if counted else "trained",
        target={"name": name, **settings} if counted else target.model_dump(mode="json"),
        model={"name": first.recipe.model.name, **first.recipe.model.settings},
        loss={} if counted else first.recipe.loss.model_dump(mode="json"),
        windows="" if counted else first.recipe.training.windows,
        soft_weight=target.soft_weight,
        test=over_seeds("test"),
        valid=over_seeds("valid"),
        difference=difference or None,
        runs=tuple(map(training_of, runs)),
        regret=None if truth is None else truth.regret(runs),
        lists=_lists(runs),
        calibration=_calibration(runs),
    )


def _lists(runs: Sequence[Run]) -> dict[str, SeedMean]:
    """Return the measures of the lists that all runs have."""
    names = [name for name in runs[0].lists if all(name in run.lists for run in runs)]
    return seed_means({name: [run.lists[name] for run in runs] for name in names if name != "k"})


def _calibration(runs: Sequence[Run]) -> Calibrated | None:
    """Return how good the softmax is, where all runs say."""
    told = [run.facts.get("calibration") for run in runs]
    found = [each for each in told if each is not None]
    if len(found) < len(runs):
        return None
    skipped = next((each["skipped"] for each in found if "skipped" in each), None)
    if skipped is not None:
        return Calibrated(skipped=skipped)
    trained, scaled = ([each[kind] for each in found] for kind in ("trained", "scaled"))
    return Calibrated(
        temperature=seed_means({"": [each["temperature"] for each in found]})[""],
        trained=_measures(trained),
        scaled=_measures(scaled),
        curves=_reliability(trained),
        curves_scaled=_reliability(scaled),
    )


def _reliability(found: Sequence[dict[str, Any]]) -> tuple[tuple[Bin, ...], ...]:
    return tuple(tuple(map(Bin.model_validate, each["reliability"])) for each in found)


def _measures(found: Sequence[dict[str, Any]]) -> dict[str, SeedMean]:
    return seed_means({name: [each[name] for each in found] for name in MEASURES})


def seed_means(values: Mapping[str, Sequence[float]]) -> dict[str, SeedMean]:
    """Return the mean of the values of each name, with the values."""
    return {n: SeedMean(mean=float(np.mean(v)), per_seed=tuple(v)) for n, v in values.items()}


def _simple(names: Sequence[str], runs: Sequence[Sequence[Run]], metric: str) -> Simple | None:
    """Return the comparison of the best simple baseline with the best trained variant."""
    counted = [is_counted(row[0].recipe.model.name) for row in runs]
    if not any(counted) or all(counted):
        return None
    trained_rows, counted_rows = (
        [number for number, own in enumerate(counted) if own is kind] for kind in (False, True)
    )
    levels = [level_of(runs[n][0].recipe) for n in trained_rows]
    level = min(levels, key=lambda each: each["false_positives"])  # nobody chooses the noise
    least = [n for n, own in zip(trained_rows, levels, strict=True) if own == level]
    best = least[best_on_validation([runs[n] for n in least], metric)]
    counted_rows = [n for n in counted_rows if level_of(runs[n][0].recipe) == level]
    if not counted_rows:
        return None
    _, simple, difference = against_trained([runs[best]], [runs[n] for n in counted_rows], metric)
    return Simple(counted=names[counted_rows[simple]], trained=names[best], difference=difference)


def training_of(run: Run) -> Training:
    """Return the results of one training."""
    facts = run.facts
    counted = is_counted(
        run.recipe.model.name
    )  # has no epochs, so that it cannot have stopped too early
    curve = (
        ()
        if counted
        else tuple(
            Epoch(
                epoch=int(row["epoch"]),
                train_loss=row["train/loss"],
                valid={k.removeprefix("valid/"): v for k, v in row.items() if k[:6] == "valid/"},
            )
            for row in facts["curve"]
        )
    )
    return Training(
        seed=run.recipe.seed,
        best_epoch=facts["best_epoch"],
        epochs=facts["epochs"],
        seconds=facts["seconds"],
        seconds_per_epoch=facts["seconds_per_epoch"],
        peak_memory_mib=facts["peak_memory_mib"],
        levelled_off=counted
        or facts["epochs"] - facts["best_epoch"] >= min(run.recipe.training.patience, PATIENT),
        curve=curve,
    )


def _ceiling(truth: Truth | None) -> Ceiling | None:
    if truth is None:
        return None
    name = "best possible ranking (the simulator knows the truth)"
    return Ceiling(name=name, test=truth.best_metrics())


def notes_of(base: Recipe, split: Split, asked: Asked) -> list[str]:
    """Return notes on the data and the protocol."""
    leak = split.leak()
    number = base.evaluation.negatives
    asks = sentence_of(asked.facts(number))
    lines = [asks, *split.notes(), *([leak.sentence()] if leak else [])]
    notes = [f"{line[0].upper()}{line[1:]}." for line in lines]
    if number is None:
        return notes
    return [
        *notes,
        "Metrics among sampled items may rank the models in another order than a full ranking: "
        "compare them only with each other.",
    ]
