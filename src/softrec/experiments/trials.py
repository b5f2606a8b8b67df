"""Settings that are tried on validation before a training.

Each trial is a short training in the cache, as the stages of a run are: a killed one goes on, and
runs that differ only in their seed share them. It is not tested, and leaves no model and no log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from softrec.data.splits import Split
from softrec.errors import DivergedError
from softrec.experiments.stages import Fit, cached
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.prior import NO_CHOICE
from softrec.recipe.specs.training import PROCESSES
from softrec.recipe.specs.trials import with_settings

LOGGER = logging.getLogger(__name__)
SHARE = 1 / 3  # of the minutes of a training that all trials may take
SHORTEST = 1e-6  # minutes, in which one epoch is trained
SEED = 0  # of all trials, so that several seeds of a run share them


def tried(recipe: Recipe, split: Split, fit: Fit) -> tuple[Recipe, list[dict[str, Any]]]:
    """Return a recipe with the best of the settings that it tries, and a row for each of these.

    A row has the settings, their metric in the best epoch of the trial, and its seconds. Of equal
    settings the first are kept. Settings with which the training diverged have no metric.

    Args:
        recipe: unchanged, without rows, if it has no trials.
        split: the data.
        fit: trains a recipe in a folder, and leaves its facts there.

    Raises:
        DivergedError: if the trainings with all settings diverged.
    """
    spec = recipe.trials
    if spec is None:
        return recipe, []
    monitor, rows = recipe.training.monitor, list[dict[str, Any]]()
    for number, settings in enumerate(spec.settings, start=1):
        name = f"trial {number} of {len(spec.settings)}, {in_words(settings)}"
        found, seconds = _outcome(name, trial_of(recipe, settings), split, fit)
        rows.append({"settings": settings, monitor: found, "seconds": seconds})
    learned = [row for row in rows if row[monitor] is not None]
    if not learned:
        raise DivergedError(
            f"with none of the {len(rows)} settings of trials the loss stayed finite; a lower --lr "
            f"(now {recipe.training.lr:g}) usually fixes it"
        )
    best = max(learned, key=lambda row: row[monitor])["settings"]
    LOGGER.info("trials: the training has %s", in_words(best))
    return with_settings(recipe, best), rows


def _outcome(name: str, trial: Recipe, split: Split, fit: Fit) -> tuple[float | None, float]:
    """Return the metric of a trial, None if it diverged, and its seconds."""
    begin = time.perf_counter()
    try:
        facts = cached(name, trial, split, fit, trial=True).facts
    except DivergedError as error:
        LOGGER.info("%s: left out, because %s", name, error)
        return None, time.perf_counter() - begin
    found = facts["valid"][trial.training.monitor]
    LOGGER.info("%s: %s %.4f on validation", name, trial.training.monitor, found)
    return found, facts["seconds"]


def in_time(recipe: Recipe, trials: Sequence[Mapping[str, Any]]) -> Recipe:
    """Return a recipe whose training has the minutes that its trials have left.

    Args:
        recipe: unchanged if its minutes are not limited, or it had no trials.
        trials: rows of `tried`.
    """
    minutes = recipe.training.minutes
    if minutes is None or not trials:
        return recipe
    left = max(minutes - sum(row["seconds"] for row in trials) / 60, SHORTEST)
    return recipe.model_copy(
        update={"training": recipe.training.model_copy(update={"minutes": left})}
    )


def trial_of(recipe: Recipe, settings: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a trial.

    It has fewer epochs, its part of the time, one process and no refit, and a prior is as it is
    given.

    Args:
        recipe: with trials.
        settings: one of those.
    """
    assert recipe.trials is not None
    found = with_settings(recipe, settings)
    epochs = min(recipe.trials.epochs, found.training.epochs)
    once: dict[str, Any] = dict.fromkeys(PROCESSES, 1) | {"epochs": epochs, "refit": "none"}
    if found.training.minutes is not None:
        once["minutes"] = SHARE * found.training.minutes / len(recipe.trials.settings)
    prior = None if found.prior is None else found.prior.model_copy(update=NO_CHOICE)
    return found.model_copy(
        update={
            "training": found.training.model_copy(update=once),
            "prior": prior,
            "seed": SEED,
        }
    )


def in_words(settings: Mapping[str, Any]) -> str:
    """Return settings as text.

    Example:
        >>> in_words({"loss.score_temperature": 0.1, "model.dim": 64})
        'loss.score_temperature 0.1, model.dim 64'
    """
    return ", ".join(f"{place} {value}" for place, value in settings.items())
