"""The rows of a comparison, each with its best settings, found with the same budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from softrec.data.splits import Split
from softrec.experiments.build.data import with_noise
from softrec.experiments.executors import Executor
from softrec.experiments.tuning.search import Search, best_of, searched
from softrec.experiments.tuning.trials import Trial
from softrec.experiments.tuning.tune import BEST, write_best
from softrec.experiments.variants import Plan
from softrec.report.tuned import Tuned

STUDIES = "studies"


def tuned(
    wanted: Plan, split: Split, folder: Path, slug: Callable[[str], str], where: Executor
) -> tuple[Plan, dict[str, Tuned]]:
    """Return the plan with the best settings of all searches, and the results of each search.

    Every row has its own study in `folder`, with the same number of trials, epochs, pruner and
    seed. A plan without a search is not changed.

    Args:
        wanted: the variants, with all settings that depend on the data decided.
        split: the data.
        folder: of the comparison.
        slug: makes the name of a folder from the name of a row.
        where: trains the trials.
    """
    if wanted.search is None:
        return wanted, {}
    found: dict[str, Tuned] = {}
    variants = []
    for variant in wanted.variants:
        assert variant.space is not None
        split = with_noise(split, variant.untuned.data)
        space = replace(variant.space, base=variant.recipes[0])
        search = Search(space, wanted.search.trials, wanted.search.pruner)
        own = folder / STUDIES / slug(variant.name)
        own.mkdir(parents=True, exist_ok=True)
        trials = searched(search, split, own, where, name=variant.name)
        best = best_of(trials, search.monitor)
        recipe = space.recipe(best.settings)
        write_best(recipe, best, search, own / BEST)
        seeds = [one.seed for one in variant.recipes]
        copies = tuple(recipe.model_copy(update={"seed": seed}) for seed in seeds)
        variants.append(replace(variant, recipes=copies, space=space))
        found[variant.name] = summary(search, trials, best)
    return replace(wanted, variants=tuple(variants)), found


def summary(search: Search, trials: Sequence[Trial], best: Trial) -> Tuned:
    """Return the results of a search for the report."""
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
