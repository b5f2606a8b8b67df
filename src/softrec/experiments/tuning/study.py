"""The study in SQLite: Optuna proposes and prunes trials, and a kill loses no finished trial.

Every trial has its own sampler, seeded by the study and the number of the trial, so that a proposal
depends only on the finished trials, and on those that run at the same time. A trial that was
running when the process ended is tried again with the same number and settings; finished trials are
kept.
"""

from __future__ import annotations

import json
import logging
import math
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import StorageInternalError
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from softrec.errors import RunError, one_line
from softrec.experiments.tuning.same import check_data, check_same
from softrec.experiments.tuning.space import Space, rounded
from softrec.experiments.tuning.trials import Trial, plain, trial_of
from softrec.recipe.space import Between, Range

DATABASE = "study.db"
NAME = "softrec"
ASKED, DATA, SETTINGS, NUMBER, OUTCOME = "asked", "data", "settings", "number", "trial"
PRUNERS: dict[str, BasePruner] = {
    # The first trials, and the first epoch of each, say too little about other trials.
    "median": MedianPruner(n_startup_trials=3, n_warmup_steps=2),
    "none": NopPruner(),
}


class Study:
    """The trials of one search; see `opened`."""

    def __init__(self, study: optuna.Study, seed: int) -> None:
        self.study = study
        self.seed = seed
        self.again = self._interrupted()
        self.running: set[int] = set()

    @property
    def trials(self) -> list[Trial]:
        """Return the finished trials in their order."""
        kept = (trial.user_attrs.get(OUTCOME) for trial in self.study.get_trials(deepcopy=False))
        found = [trial_of(facts) for facts in kept if facts is not None]
        return sorted(found, key=lambda trial: trial.number)

    @property
    def next(self) -> int:
        """Return the number of the trial that `begin` returns: first of interrupted ones."""
        if self.again:
            return min(self.again)
        return len(self.trials) + len(self.running) + 1

    def begin(self, space: Space, start: Mapping[str, Any] | None) -> Proposal:
        """Return the next trial.

        Args:
            space: the space of its settings.
            start: its settings; None lets the sampler choose.
        """
        number = self.next
        was, fixed = self.again.pop(number, (None, start))
        seed = np.random.SeedSequence([self.seed, number - 1]).generate_state(1)[0]
        # Trials that are running count as bad ones, so that others are proposed.
        self.study.sampler = TPESampler(seed=int(seed), constant_liar=bool(self.running))
        waiting = self.study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        if fixed is not None and not waiting:
            self.study.enqueue_trial(_written(space.parameters(fixed)))
        trial = self.study.ask()
        proposed = space.settings(lambda name, tried: _suggested(trial, name, tried))
        settings = dict(fixed) if fixed is not None else proposed
        trial.set_user_attr(NUMBER, number)
        trial.set_user_attr(SETTINGS, settings)
        if was is not None:
            self.study.tell(was, state=TrialState.FAIL)
        self.running.add(number)
        return Proposal(self, trial, number, settings)

    def _interrupted(self) -> dict[int, tuple[int, dict[str, Any]]]:
        """Return the trials to try again: by their number, that in Optuna, and their settings."""
        again: dict[int, tuple[int, dict[str, Any]]] = {}
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            attributes = trial.user_attrs
            if OUTCOME in attributes:  # only the state is missing
                _report_outcome(self.study, trial.number, trial_of(attributes[OUTCOME]))
                continue
            number = attributes.get(NUMBER, len(self.trials) + 1)
            if SETTINGS not in attributes or number in again:  # it was just being begun again
                self.study.tell(trial.number, state=TrialState.FAIL)
            else:
                again[number] = trial.number, attributes[SETTINGS]
        return again


class Proposal:
    """A trial before and during its training."""

    def __init__(
        self, study: Study, trial: optuna.Trial, number: int, settings: dict[str, Any]
    ) -> None:
        self.study = study
        self.trial = trial
        self.number = number
        self.settings = settings
        self.reported = 0

    def report(self, value: float, epoch: int) -> bool:
        """Report the metric of an epoch, and return whether the pruner would end the trial.

        A training that goes on elsewhere has the same epochs once more.
        """
        if epoch > self.reported:
            self.trial.report(value, epoch)
            self.reported = epoch
        return self.trial.should_prune()

    def finish(self, outcome: Trial) -> None:
        """Store the outcome."""
        self.trial.set_user_attr(OUTCOME, plain(outcome))
        _report_outcome(self.trial.study, self.trial.number, outcome)
        self.study.running.discard(self.number)


def _report_outcome(study: optuna.Study, number: int, outcome: Trial) -> None:
    """Report to Optuna how a trial ended."""
    if outcome.state == "failed" or math.isnan(outcome.value):
        study.tell(number, state=TrialState.FAIL)
    elif outcome.state == "pruned":
        study.tell(number, state=TrialState.PRUNED)
    else:
        study.tell(number, outcome.value)


def _suggested(trial: optuna.Trial, name: str, tried: Range) -> Any:
    """Return the value that Optuna proposes; values of a list are stored as JSON."""
    if not isinstance(tried, Between):
        return json.loads(trial.suggest_categorical(name, [json.dumps(v) for v in tried.values]))
    low, high = tried.low, tried.high
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=tried.log)
    proposed = trial.suggest_float(name, low, high, log=tried.log)
    return tried.nearest(rounded(proposed))


def _written(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters in the form of Optuna."""
    return {
        name: value if isinstance(tried, Between) else json.dumps(value)
        for name, (value, tried) in parameters.items()
    }


@contextmanager
def opened(
    folder: Path, *, asked: Mapping[str, Any], data: Mapping[str, Any], pruner: str, seed: int
) -> Iterator[Study]:
    """A context with the study in `folder`, a new one or an unfinished one.

    Args:
        folder: locked by this process, so that no other process works on a trial.
        asked: facts that identify the search, see `check_same`.
        data: facts about the data.
        pruner: a name of `PRUNERS`.
        seed: of the proposals.

    Raises:
        RunError: if the study is of other data or of another search, or is damaged.
    """
    path = folder / DATABASE
    # A connection from the path, because a path may have letters with a meaning in an address.
    engine = {"creator": lambda: sqlite3.connect(path), "poolclass": NullPool}
    with _quiet():
        try:
            storage = RDBStorage("sqlite://", engine_kwargs=engine)
        except (SQLAlchemyError, StorageInternalError) as error:
            raise RunError(
                f"{path} cannot be read ({one_line(str(error.__cause__ or error), 120)}); delete "
                "the file to begin the search again, or give another --out"
            ) from error
        try:
            study = optuna.create_study(
                storage=storage, study_name=NAME, direction="maximize", load_if_exists=True,
                pruner=PRUNERS[pruner],
            )  # fmt: skip
            plain = json.loads(json.dumps({ASKED: dict(asked), DATA: dict(data)}))
            kept = study.user_attrs
            if ASKED in kept and DATA in kept:
                check_same(path, kept[ASKED], plain[ASKED])
                check_data(path, kept[DATA], plain[DATA])
            for name, facts in plain.items():
                study.set_user_attr(name, facts)
            yield Study(study, seed)
        finally:
            storage.remove_session()
            storage.engine.dispose()


@contextmanager
def _quiet() -> Iterator[None]:
    """A context without Optuna's own messages."""
    logger = logging.getLogger("optuna")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
