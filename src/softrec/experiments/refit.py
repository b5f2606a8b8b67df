"""A refit: the model is fitted once more, with events that were held out of the first training.

It begins with the same first weights and takes as many epochs as the best one of the training that
was judged. Nothing is chosen any more, and validation is not asked: it is part of what is trained
on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from softrec.data.refit import HeldOut, for_refit
from softrec.data.splits import Split
from softrec.experiments.build.model import build_model, training_events
from softrec.experiments.build.outside import fit
from softrec.experiments.fitted import training_of
from softrec.parallel import by_first
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import is_counted
from softrec.recipe.specs.prior import as_chosen
from softrec.training.lines import in_words
from softrec.types import Model, Scorer

LOGGER = logging.getLogger(__name__)
FOLDER = "refit"  # in the folder of a run in progress, for checkpoints


class Refitted(NamedTuple):
    """A model that was fitted once more, and the seconds it took."""

    model: Model
    seconds: float


def refitted(
    recipe: Recipe, split: Split, on: HeldOut, judged: Mapping[str, Any], folder: Path
) -> Refitted:
    """Fit the model of a recipe once more, on a larger training part.

    All that a training reads of its data, such as counts of items, is of the larger part. A
    teacher and first weights are those of the judged training.

    Args:
        recipe: its stages are folders of runs, and nothing in it depends on the data.
        split: the data of the judged training.
        on: what is added to the training part.
        judged: facts of that training: best_epoch and curve, and what it chose.
        folder: of the run; a refit that was interrupted goes on.
    """
    if is_counted(recipe.model.name):
        return counted_again(recipe, split, on, judged["settings"])
    larger = for_refit(split, on)
    told = f"{len(larger.train):,} events in place of {len(split.train):,}"
    LOGGER.info("refit: %s once more, on %s", recipe.model.name, told)
    epochs = judged["best_epoch"]
    replay = Replay(judged["curve"], epochs)
    chosen = recipe.model_copy(update={"prior": as_chosen(recipe.prior, judged)})
    fit = training_of(chosen, larger, replay, replay, epochs)
    by_first(lambda: (folder / FOLDER).mkdir(exist_ok=True))
    found = fit(folder / FOLDER)
    return Refitted(found.model, found.how.seconds)


def counted_again(recipe: Recipe, split: Split, on: HeldOut, chosen: Mapping[str, Any]) -> Refitted:
    """Count a model once more, on a larger training part.

    Args:
        recipe: of a counted model.
        split: the data of the judged one.
        on: what is added to the training part.
        chosen: the settings that validation has chosen.
    """
    begin = time.perf_counter()
    log = for_refit(split, on).train
    spec = recipe.model.with_settings(chosen)
    scorer = build_model(spec, log, recipe.training.length, seed=0)
    assert isinstance(scorer, Scorer)
    fit(spec.name, scorer, training_events(log))
    return Refitted(scorer.eval(), time.perf_counter() - begin)


class Replay:
    """Stands for validation: the metrics of the same epoch of the training that was judged.

    So a learning rate that validation changes does so in the same epochs, and the last epoch is the
    best one.

    Args:
        curve: of the judged training.
        epochs: how many are trained.
    """

    def __init__(self, curve: Sequence[Mapping[str, float]], epochs: int) -> None:
        self.curve, self.epochs = curve, epochs
        self.done = 0

    def means(self, model: Model) -> dict[str, float]:
        """Return the metrics of the epoch that has just been trained."""
        row = self.curve[self.done]
        return {n.removeprefix("valid/"): v for n, v in row.items() if n.startswith("valid/")}

    def resumed(self, epoch: int) -> None:
        """Go on in an epoch, counted from 1."""
        self.done = epoch - 1
        LOGGER.info("refit: going on in epoch %d of %d", epoch, self.epochs)

    def epoch(self, curve: list[dict[str, float]]) -> None:
        """Count an epoch, and log a line for it."""
        self.done = len(curve)
        row = curve[-1]
        told = f"loss {row['train/loss']:.5g}; {in_words(row['seconds/train'])}"
        LOGGER.info("%s", f"refit, epoch {self.done} of {self.epochs}: {told}")
