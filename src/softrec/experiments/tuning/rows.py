"""The rows of a comparison, each with the settings that are best for it by the same budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from softrec.data.splits import Split
from softrec.evaluation.asked import Asked
from softrec.experiments.tuning.search import Search, best_of, searched
from softrec.experiments.tuning.trials import Trial
from softrec.experiments.tuning.tune import BEST, write_best
from softrec.experiments.variants import Plan
from softrec.report.tuned import Tuned

STUDIES = "studies"


def tuned(
    wanted: Plan, split: Split, asked: Asked, folder: Path, slug: Callable[[str], str]
) -> tuple[Plan, dict[str, Tuned]]:
    """Return the plan with the winners of all searches, and what is told of each.

    Every row has a study of its own in `folder`, with the same number of trials, epochs, pruner
    and seed; a plan without a search stays as it is.

    Args:
        wanted: the variants, with nothing left to the data.
        split: the data.
        asked: what is asked on them.
        folder: of the comparison.
        slug: makes a name of a folder of that of a row.
    """
    if wanted.search is None:
        return wanted, {}
    told: dict[str, Tuned] = {}
    variants = []
    for variant in wanted.variants:
        assert variant.space is not None
        space = replace(variant.space, base=variant.recipes[0])
        search = Search(space, wanted.search.trials, wanted.search.pruner)
        own = folder / STUDIES / slug(variant.name)
        own.mkdir(parents=True, exist_ok=True)
        trials = searched(search, split, asked, own, name=variant.name)
        best = best_of(trials, search.monitor)
        recipe = space.recipe(best.settings)
        write_best(recipe, best, search, own / BEST)
        seeds = [one.seed for one in variant.recipes]
        copies = tuple(recipe.model_copy(update={"seed": seed}) for seed in seeds)
        variants.append(replace(variant, recipes=copies))
        told[variant.name] = summary(search, trials, best)
    return replace(wanted, variants=tuple(variants)), told


def summary(search: Search, trials: Sequence[Trial], best: Trial) -> Tuned:
    """Return what is told of a search."""
    states = [trial.state for trial in trials]
    return Tuned(
        trials=len(trials),
        complete=states.count("complete"),
        pruned=states.count("pruned"),
        failed=states.count("failed"),
        epochs=sum(trial.epochs for trial in trials),
        seconds=sum(trial.seconds for trial in trials if trial.same_as is None),
        best=best.number,
        valid=best.value,
        settings=best.settings,
        space=search.space.facts(),
    )
