"""A trial: one training with some settings, evaluated on validation alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from softrec.data.splits import Split
from softrec.errors import SoftrecError, one_line
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.fitted import training_of
from softrec.experiments.train import resolved
from softrec.experiments.tuning.space import Space
from softrec.recipe.recipe import Recipe

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """What was tried, and with which outcome.

    Attributes:
        number: counted from 1.
        settings: by their places in a recipe.
        origin: "as given", "from the data", or "searched".
        state: "pruned" where the pruner ended it; "failed" where it could not be trained.
        value: the validation metric of its best epoch; NaN if there was none.
        best_epoch: counted from 1; 0 if there was none.
        curve: the validation metric of each epoch.
        seconds: of its epochs.
        same_as: the trial that had the same settings, whose outcome this one has, too.
        reason: why it failed.
    """

    number: int
    settings: dict[str, Any]
    origin: str
    state: State
    value: float
    best_epoch: int
    curve: tuple[float, ...]
    seconds: float = 0.0
    same_as: int | None = None
    reason: str = ""

    @property
    def epochs(self) -> int:
        """Return how many epochs were trained; 0 of one whose outcome was known."""
        return 0 if self.same_as is not None else len(self.curve)


def plain(trial: Trial) -> dict[str, Any]:
    """Return a trial as plain data: null where its value is not known."""
    return {**asdict(trial), "value": None if math.isnan(trial.value) else trial.value}


def trial_of(facts: Mapping[str, Any]) -> Trial:
    """Return the trial of plain data."""
    value = math.nan if facts["value"] is None else facts["value"]
    known: dict[str, Any] = {**facts, "value": value, "curve": tuple(facts["curve"])}
    return Trial(**known)


@dataclass(frozen=True)
class Trained:
    """What all trials of a search have in common.

    Attributes:
        space: makes a recipe of settings.
        base: the recipe whose settings are changed, with the runs that it depends on.
        split: the data.
    """

    space: Space
    base: Recipe
    split: Split

    @cached_property
    def valid(self) -> Evaluator:
        """Return what evaluates on validation."""
        return Evaluator(self.base, self.split, "valid")

    def __reduce__(self) -> Any:
        """Pickle it without what another process can make of the data."""
        return Trained, (self.space, self.base, self.split)


class PrunedError(Exception):
    """The pruner ended a trial."""


@dataclass
class Watch:
    """Receives each epoch of a trial, and ends it where the pruner says so.

    Args:
        monitor: the validation metric that counts.
        epochs: at most; after the last there is nothing to end.
        report: called with each value and its epoch; returns whether to end the trial.
    """

    monitor: str
    epochs: int
    report: Callable[[float, int], bool]
    rows: list[dict[str, float]] = field(default_factory=list)

    def resumed(self, epoch: int) -> None:
        """Hear that an interrupted trial goes on: nothing to say."""

    def epoch(self, curve: list[dict[str, float]]) -> None:
        """Report the epochs that were not reported yet.

        Raises:
            PrunedError: if the trial is to end.
        """
        for row in curve[len(self.rows) :]:
            self.rows.append(row)
            if self.report(row[f"valid/{self.monitor}"], len(self.rows)) and (
                len(self.rows) < self.epochs
            ):
                raise PrunedError

    @property
    def values(self) -> tuple[float, ...]:
        """Return the metric of each epoch."""
        return tuple(row[f"valid/{self.monitor}"] for row in self.rows)

    @property
    def seconds(self) -> float:
        """Return the time of all epochs, with validation."""
        return sum(row["seconds/train"] + row["seconds/validate"] for row in self.rows)


def tried(
    common: Trained,
    folder: Path,
    about: Mapping[str, Any],
    *,
    report: Callable[[float, int], bool],
) -> Trial:
    """Train in `folder`, or go on there, and return the outcome; the test part is never ranked.

    Args:
        common: the space, the recipe and the data.
        folder: for checkpoints.
        about: number, settings, which may not fit, and origin.
        report: called with the metric of each epoch; returns whether to end the trial.
    """
    training = common.base.training
    watch = Watch(training.monitor, training.epochs, report)
    state, reason = "complete", ""
    try:
        recipe = common.space.recipe(about["settings"], common.base)
        fit = training_of(resolved(recipe, common.split), common.split, common.valid, watch)
        folder.mkdir(parents=True, exist_ok=True)
        watch.epoch(fit(folder).how.curve)  # of a training that a kill found complete
    except PrunedError:
        state = "pruned"
    except (SoftrecError, MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        # Settings that cannot be trained are an outcome of a search, and cost a trial.
        state, reason = "failed", one_line(str(error) or type(error).__name__, 200)
    values = watch.values
    best = max(values, default=math.nan)
    return Trial(
        **about,
        state=state,
        value=best if state != "failed" else math.nan,
        best_epoch=values.index(best) + 1 if values else 0,
        curve=values,
        seconds=watch.seconds,
        reason=reason,
    )
