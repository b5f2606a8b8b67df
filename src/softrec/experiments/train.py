"""From a recipe to a finished run: a folder of safetensors, Parquet and JSON, nothing pickled.

    RUN/
      run.json           recipe, versions, data, best epoch, metrics
      model.safetensors  the weights of the best epoch
      items.parquet      raw item ids in the order of their numbers; users.parquet likewise
      catalogue.parquet  the table of the items, if there is one; user_table.parquet likewise
      log.parquet        user, item (numbers), time, weight and part in the order of events, to
                         serve known users, and for models that read the training part as a graph
      per_user.parquet   the test metrics of each user
      curve.csv          one row per epoch, or for each setting that was tried of a counted model
      recipe.yaml        the recipe
      softrec.json       the marker file of softrec, with facts about the data

`run.json` has the hash and size of the other files. A run in progress is in RUN.part, with
checkpoints, and is renamed when it is complete: see `folders`. After a refit the weights are of
that, see `refit`.
"""

from __future__ import annotations

import logging
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml
from safetensors.torch import save_file

from softrec.data.interactions import Interactions
from softrec.data.refit import HeldOut
from softrec.data.splits import Split
from softrec.evaluation.asked import Asked
from softrec.experiments.build.data import load_logged
from softrec.experiments.build.decided import decided
from softrec.experiments.calibrated import calibrated
from softrec.experiments.counting import CountingResult
from softrec.experiments.evaluator import Evaluator, means
from softrec.experiments.fitted import fit_of
from softrec.experiments.memory import PeakMemory
from softrec.experiments.refit import FOLDER, Refitted, refitted
from softrec.experiments.runs import FILES, Run, describe, open_run
from softrec.experiments.stages import Fit, folder_of, with_runs
from softrec.experiments.store.folders import RUN, Place, reserved
from softrec.experiments.store.integrity import sealed
from softrec.experiments.store.run_file import FORMAT, ChangedRunError
from softrec.experiments.tables import Tables, tables_of
from softrec.experiments.trials import in_time, tried
from softrec.experiments.written import write_data
from softrec.files import replacing, write_facts
from softrec.parallel import by_first, in_turn, rank, together
from softrec.parallel.stored import write_together
from softrec.parallel.tables import parts_of
from softrec.recipe.plugins import plugins_of
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.training import PROCESSES, TrainingSettings
from softrec.training.checkpoints import forget, resumable
from softrec.training.loop import TrainingResult
from softrec.training.trackers import log_test
from softrec.types import Model

LOGGER = logging.getLogger(__name__)
WEIGHTS = "model.safetensors"
OF_TRIALS = ("curve.csv", "recipe.yaml", "softrec.json")
"""The files of a trial beside run.json."""
Accept = Callable[[Run], bool]
"""Judges a run before it is finished."""


def fit_recipe(
    recipe: Recipe,
    out: str | Path,
    *,
    data_dir: Path | None = None,
    log: Interactions | None = None,
    split: Split | None = None,
    sibling: Path | None = None,
    overwrite: bool = False,
    accept: Accept | None = None,
) -> Run:
    """Train a recipe, evaluate it on the test part, and write the run to `out`.

    If training of the same recipe was interrupted, it is resumed. The stages that the recipe
    depends on are trained first, unless they are in the cache: see `stages`. If the recipe asks for
    a refit, it comes before the test with the validation part, and at the end with all events.

    Args:
        recipe: the recipe.
        out: the folder of the run.
        data_dir: a folder with public data sets.
        log: the log, if it is in memory.
        split: the data, if they were already read, cleaned and split.
        sibling: a finished run on the same data; its data files are used as hard links.
        overwrite: replace a finished run, and remove an unfinished one of another recipe.
        accept: called with the judged run while it is still in OUT.part; may add files to it, and
            says whether it is fitted once more on all events, if the recipe asks for that.

    Raises:
        RunError: if `out` exists.
        DataError: if the data cannot be used; nothing is written to `out` then.
    """
    spec = recipe.training
    others = partial(
        fit_recipe, recipe, out, data_dir=data_dir, log=log, split=split, sibling=sibling,
        overwrite=overwrite,
    )  # fmt: skip
    with together(spec.devices, spec.nodes, others, cuda=_on_cuda(spec), shards=spec.shards):
        return _fitted(
            recipe.without_search(), out, data_dir, log, split, sibling, overwrite, accept
        )


def _on_cuda(spec: TrainingSettings) -> bool:
    return spec.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()


def _fitted(
    recipe: Recipe,
    out: str | Path,
    data_dir: Path | None,
    log: Interactions | None,
    split: Split | None,
    sibling: Path | None,
    overwrite: bool,
    accept: Accept | None,
) -> Run:
    """Do what `fit_recipe` does, in each of the processes; `by_first` has what one does for all."""
    text = _asked(recipe)
    with reserved(out, RUN, inputs_of(recipe)) as place:
        by_first(lambda: place.check_free(text, overwrite=overwrite))
        if split is None:
            split = in_turn(lambda: load_logged(recipe, data_dir, log))
        tables = tables_of(recipe.data, split)
        asked = Asked.of(split, recipe.evaluation.mask_seen)
        trial = partial(fit_trial, split=split, asked=asked)
        recipe, trials = by_first(lambda: tried(recipe, split, trial))
        recipe, lines = decided(recipe, split)
        for line in lines:
            LOGGER.info(line)
        valid, test = (Evaluator(recipe, split, part, asked) for part in ("valid", "test"))
        # A recipe that cannot be built is refused before anything is written.
        ready = resolved(in_time(recipe, trials), split)
        fit = fit_of(ready, split, valid)
        told = describe(split)
        folder = by_first(lambda: place.begin(text, told, overwrite=overwrite))
        if not by_first(lambda: _is_complete(folder)):
            with _dropped_if_worthless(place):
                memory = PeakMemory()
                model, how, about = fit(folder)
                spent = how.seconds + sum(trial["seconds"] for trial in trials)
                made = by_first(partial(_calibration, recipe, model, valid, test))
                made |= {"seconds": spent, **({"trials": trials} if trials else {})}
                if recipe.training.refit == "valid":
                    del fit, model  # and what they hold, which is built once more
                    again = refitted(ready, split, "valid", {**about, **_best(how)}, folder)
                    model, made = again.model, made | _refit_facts("valid", spent, again)
                tested, lists = test.with_lists(model)
                made |= {
                    "evaluation": asked.facts(recipe.evaluation.negatives),
                    "lists": lists,
                    **about,
                    "peak_memory_mib": memory.mib(),
                }
                save_weights(folder, model)
                write = partial(_write, folder, recipe, split, how, tested, made, tables, sibling)
                by_first(write)
        if by_first(lambda: _goes_on(recipe, folder, accept)):
            _refit_on_all(ready, split, folder)
        by_first(partial(_finish, place))
        return open_run(place.out)


def fit_trial(recipe: Recipe, folder: Path, *, split: Split, asked: Asked) -> Run:
    """Train a recipe, and keep what validation says of it: no weights, no log, and no test.

    An interrupted trial is resumed. One process makes it; others that train with it wait.

    Args:
        recipe: without trials and without a refit.
        folder: of the run, which has no other use than its facts.
        split: the data.
        asked: the task on these.
    """
    text = _asked(recipe)
    with reserved(folder, RUN, inputs_of(recipe)) as place:
        recipe, _ = decided(recipe, split)
        fit = fit_of(resolved(recipe, split), split, Evaluator(recipe, split, "valid", asked))
        part = place.begin(text, describe(split), overwrite=False)
        if not _is_complete(part):
            with _dropped_if_worthless(place):
                how = fit(part).how
                write_curve(part, how)
                facts = facts_of(recipe, split, how)
                files = {"files": sealed(part, OF_TRIALS)}
                write_facts(part / RUN.result, facts | {"seconds": how.seconds, "test": {}} | files)
        _finish(place)
        return open_run(folder)


def _goes_on(recipe: Recipe, folder: Path, accept: Accept | None) -> bool:
    """Return whether a judged run is fitted once more on all events, and was not before a kill."""
    on_all = recipe.training.refit == "all"
    if accept is None and not on_all:
        return False
    run = open_run(folder)
    if run.refit == "all":
        return False
    return (accept is None or accept(run)) and on_all


def _refit_on_all(recipe: Recipe, split: Split, folder: Path) -> None:
    """Replace the weights of a judged run; its metrics stay, because nothing is left to judge."""
    facts = by_first(lambda: open_run(folder).facts)
    again = refitted(recipe, split, "all", facts, folder)
    save_weights(folder, again.model)

    def told() -> None:
        files = {"files": sealed(folder, facts["files"])}
        more = _refit_facts("all", facts["seconds"], again)
        write_facts(folder / RUN.result, facts | more | files)

    by_first(told)


def _best(how: TrainingResult | CountingResult) -> dict[str, Any]:
    return {"best_epoch": how.best_epoch, "curve": how.curve}


def _refit_facts(on: HeldOut, seconds: float, again: Refitted) -> dict[str, Any]:
    """Return what run.json says of a refit; its seconds are those of all trainings."""
    return {"refit": on, "seconds": seconds + again.seconds}


def _finish(place: Place) -> None:
    forget(place.part)
    shutil.rmtree(place.part / FOLDER, ignore_errors=True)
    place.finish()


def _calibration(recipe: Recipe, model: Model, valid: Evaluator, test: Evaluator) -> dict[str, Any]:
    """Return what run.json says of the softmax, where that is asked for."""
    if not recipe.evaluation.calibration:
        return {}
    return {"calibration": calibrated(recipe, model, valid, test)}


def inputs_of(recipe: Recipe) -> list[str]:
    """Return the files and folders that a recipe names and reads."""
    data = recipe.data
    files = (data.source, data.valid, data.test, data.items, data.user_table,
             *recipe.target.files)  # fmt: skip
    return [path for path in (*files, *recipe.runs()) if path]


def resolved(recipe: Recipe, split: Split) -> Recipe:
    """Return `recipe` with the folder of a trained run for each recipe that it depends on."""
    return by_first(lambda: with_runs(recipe, split, _fit_on(split)))


def _fit_on(split: Split) -> Fit:
    """Return what trains other recipes on the same data."""
    return lambda recipe, folder: fit_recipe(recipe, folder, split=split)


@contextmanager
def _dropped_if_worthless(place: Place) -> Iterator[None]:
    """Remove the work in progress after an error, unless training can be resumed from it."""
    try:
        yield
    except BaseException:
        if rank() == 0 and not resumable(place.part):
            place.drop()
        raise


def _is_complete(folder: Path) -> bool:
    """Return whether a run only needs to be renamed; an incomplete result is removed."""
    if not (folder / RUN.result).exists():
        return False
    try:
        open_run(folder)
    except ChangedRunError:
        (folder / RUN.result).unlink()
        return False
    return True


def _asked(recipe: Recipe) -> str:
    """Return what an unfinished run is known by: the recipe, for any number of processes."""
    one = recipe.training.model_copy(update=dict.fromkeys(PROCESSES, 1))
    fields = recipe.model_copy(update={"training": one}).model_dump(mode="json")
    return yaml.safe_dump(fields, sort_keys=False)


def _write(
    folder: Path,
    recipe: Recipe,
    split: Split,
    fitted: TrainingResult | CountingResult,
    tested: pl.DataFrame,
    made: dict[str, Any],
    tables: Tables,
    sibling: Path | None,
) -> None:
    """Write the results of a run next to its checkpoints and its weights, run.json last."""
    log = write_data(folder, split, sibling)
    further = tables.write(folder, sibling)
    tested.write_parquet(folder / "per_user.parquet")
    write_curve(folder, fitted)
    facts = {
        **facts_of(recipe, split, fitted),
        **made,
        "test": means(tested),
        "files": sealed(folder, (*FILES, log, *further)),
    }
    write_facts(folder / RUN.result, facts)
    log_test(folder, means(tested))


def write_curve(folder: Path, fitted: TrainingResult | CountingResult) -> None:
    """Write a row for each epoch, or for each setting that was tried of a counted model."""
    pl.DataFrame(fitted.curve).write_csv(folder / "curve.csv")


def facts_of(
    recipe: Recipe, split: Split, fitted: TrainingResult | CountingResult
) -> dict[str, Any]:
    """Return what run.json says of a training before its test."""
    return {
        "format": FORMAT,
        "recipe": recipe.model_dump(mode="json"),
        "plugins": plugins_of(recipe),
        "versions": versions(),
        "data": describe(split),
        "stages": {place: str(folder_of(stage, split)) for place, stage in recipe.stages().items()},
        "model": recipe.model.whole,
        "soft_weight": recipe.target.soft_weight,
        **_best(fitted),
        "epochs": len(fitted.curve),
        "stopped_early": fitted.stopped_early,
        "seconds_per_epoch": fitted.seconds_per_epoch,
        "valid": fitted.best,
    }


def save_weights(folder: Path, model: Model) -> None:
    """Write the weights of a model to the folder of its run; each process the rows it has."""
    parts = parts_of(model)
    if parts:
        write_together(folder / WEIGHTS, model.state_dict(), parts)
        return

    def save() -> None:
        state = {n: t.contiguous().cpu() for n, t in model.state_dict().items()}
        with replacing(folder / WEIGHTS) as fresh:
            save_file(state, fresh)

    by_first(save)


def versions() -> dict[str, str]:
    """Return the versions of the software that the numbers depend on."""
    packages = ("softrec", "torch", "lightning", "numpy", "polars")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
