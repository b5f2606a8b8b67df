"""`tune`: search on validation, train the best settings with several seeds, and test them once.

    OUT/
      study.db       the study, in SQLite, in the form of Optuna
      study.json     space, budget, trials and the best trial
      history.html   every trial, in plots and a table
      best.yaml      the recipe with the best settings
      runs/          the runs of the best settings, one for each seed; only these were tested

Work in progress is in OUT.part. A finished study is not continued, because test has been used.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from softrec.data.interactions import Interactions
from softrec.data.splits import Split
from softrec.experiments.baselines import check_buildable
from softrec.experiments.build.data import load_logged
from softrec.experiments.build.decided import decided
from softrec.experiments.executors import Executor, executor
from softrec.experiments.inputs import Given, seeds_of
from softrec.experiments.runs import Run, describe
from softrec.experiments.store.folders import STUDY, Place, reserved
from softrec.experiments.train import inputs_of, versions
from softrec.experiments.trainings import Training, all_trained
from softrec.experiments.tuning.result import BEST, FORMAT, RUNS, Tuning, open_tuning
from softrec.experiments.tuning.same import check_same
from softrec.experiments.tuning.search import Search, best_of, searched, settings_text
from softrec.experiments.tuning.searched import placed, space_of
from softrec.experiments.tuning.trials import Trial, plain
from softrec.extras import require, require_report
from softrec.files import write_facts, write_text
from softrec.recipe.options import dotted, recipe_of
from softrec.recipe.recipe import Recipe
from softrec.recipe.space import parse_space
from softrec.recipe.specs.tune import TuneSettings

LOGGER = logging.getLogger(__name__)


def search_of(given: Given, trials: int | None = None, space: Any = None) -> Search:
    """Return the search of a recipe with options.

    Settings given by options are not searched; those of the recipe are the first trial. If neither
    names a target or a loss, several are tried. `space` overrides this.

    Args:
        given: the fields of a recipe, and the options that change them.
        trials: the number of trials; by default that of the section `tune` of the recipe, else 20.
        space: texts "FIELD=RANGE" or {field: range}, which override those of the section `tune`.

    Raises:
        RecipeError: if the recipe or the space does not fit.
        SoftrecError: if Optuna is not installed.
    """
    require("optuna", "a search over settings")
    require_report()
    options = {**given.options, "tune.trials": trials}
    recipe = recipe_of(given.fields, options, given.place)
    spec = recipe.tune or TuneSettings()
    typed = set(dotted(given.options))
    named = [
        section
        for section in ("target", "loss")
        if section in given.fields or any(place.startswith(f"{section}.") for place in typed)
    ]
    own = {**placed(spec.space), **placed(parse_space(space))}
    found = space_of(recipe.without_search(), own, given=typed, named=named)
    return Search(found, spec.trials, spec.pruner)


def tune_recipe(
    search: Search,
    out: str | Path,
    *,
    seeds: int = 3,
    data_dir: Path | None = None,
    log: Interactions | None = None,
    overwrite: bool = False,
    on: str = "here",
    cpus_per_run: int | None = None,
) -> Tuning:
    """Search settings, and train and test the best ones with each seed.

    Args:
        search: the space and the budget.
        out: the folder of the study; an interrupted one is continued.
        seeds: how many times the best settings are trained, from the recipe's seed on.
        data_dir: a folder with public data sets.
        log: the log, if it is in memory.
        overwrite: replace a finished study, and drop an unfinished one of another search.
        on: "here", or "ray"; see `executors`.
        cpus_per_run: of each training on Ray.

    Raises:
        RunError: if `out` is taken, or its study is of another search or other data.
        SoftrecError: if the recipe cannot be built on the data, or there is to be no training.
    """
    base = search.space.base
    chosen = seeds_of(base.seed, seeds)
    text = json.dumps(search.facts(), indent=1)
    with executor(on, cpus_per_run, out) as where, reserved(out, STUDY, inputs_of(base)) as place:
        where.check(base)
        if not overwrite:
            _check_begun(place, search)
        place.check_free(text, overwrite=overwrite)
        split = load_logged(base, data_dir, log)
        search = search.settled(split)
        base = search.space.base
        check_buildable(base, split)
        folder = place.begin(text, describe(split), overwrite=overwrite)
        trials = searched(search, split, folder, where)
        best = best_of(trials, search.monitor)
        winner = search.space.recipe(best.settings)
        write_best(winner, best, search, folder / BEST)
        LOGGER.info("the best of %d trials is trial %d; it is trained and tested with %s",
                    len(trials), best.number, f"{seeds} seed{'s' * (seeds > 1)}")  # fmt: skip
        runs = _trained(winner, chosen, split, folder, where)
        facts = {
            "format": FORMAT,
            "recipe": winner.model_dump(mode="json"),
            "monitor": search.monitor,
            "space": search.space.facts(),
            "budget": {"trials": search.trials, "epochs": base.training.epochs,
                       "pruner": search.pruner, "seed": search.seed},
            "trials": [plain(trial) for trial in trials],
            "best": best.number,
            "runs": [str(run.folder.relative_to(folder)) for run in runs],
            "data": describe(split),
            "versions": versions(),
        }  # fmt: skip
        write_facts(folder / STUDY.result, facts)
        place.finish()
    return open_tuning(place.out)


def _check_begun(place: Place, search: Search) -> None:
    """Refuse to go on with another search, and say in what it differs."""
    begun = place.part / STUDY.asked
    if begun.exists():
        try:
            kept = json.loads(STUDY.current(begun.read_text(encoding="utf-8")))
        except ValueError:  # not a file that softrec wrote: `check_free` refuses it
            return
        check_same(place.part, kept, json.loads(json.dumps(search.facts())))


def _trained(
    recipe: Recipe, seeds: Sequence[int], split: Split, folder: Path, where: Executor
) -> list[Run]:
    """Return the runs of the winner, those that are there and new ones."""
    copies = [decided(recipe.model_copy(update={"seed": seed}), split)[0] for seed in seeds]
    wanted = [Training("the best", one, folder / RUNS / f"seed{one.seed}") for one in copies]
    return all_trained(wanted, split, where)


def write_best(recipe: Recipe, best: Trial, search: Search, path: Path) -> None:
    """Write the recipe of the winner, which `softrec fit` takes."""
    head = (
        f"# The best of {search.trials} trials by {search.monitor} on validation "
        f"({best.value:.4f}): {settings_text(best.settings)}\n"
    )
    fields: Mapping[str, Any] = recipe.model_dump(mode="json")
    write_text(path, head + yaml.safe_dump(dict(fields), sort_keys=False))
