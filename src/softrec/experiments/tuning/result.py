"""A finished study, read from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softrec.errors import RunError, one_line
from softrec.experiments.runs import Run, open_run
from softrec.experiments.store.folders import STUDY
from softrec.experiments.tuning.trials import Trial, trial_of
from softrec.files import read_facts
from softrec.recipe.recipe import Recipe, read_recipe

FORMAT = 1
BEST = "best.yaml"
RUNS = "runs"


@dataclass(frozen=True)
class Tuning:
    """A finished study: its trials, and the runs of the best settings.

    Attributes:
        folder: of the study.
        recipe: with the best settings, as in `best.yaml`.
        monitor: the validation metric by which they were chosen.
        space: the ranges, by the names of the parameters.
        budget: trials, epochs, pruner and seed.
        trials: all trials, in their order.
        best: the best trial.
        runs: of the best settings, one for each seed; nothing else was tested.
    """

    folder: Path
    recipe: Recipe
    monitor: str
    space: Mapping[str, str]
    budget: Mapping[str, Any]
    trials: tuple[Trial, ...]
    best: Trial
    runs: tuple[Run, ...]

    @property
    def test(self) -> dict[str, float]:
        """Return the test metrics of the best settings, averaged over the runs."""
        names = self.runs[0].test
        return {name: float(np.mean([run.test[name] for run in self.runs])) for name in names}

    @property
    def valid(self) -> dict[str, float]:
        """Return the validation metrics of the best settings, averaged over the runs."""
        names = self.runs[0].valid
        return {name: float(np.mean([run.valid[name] for run in self.runs])) for name in names}

    def __repr__(self) -> str:
        settings = ", ".join(f"{name} {value}" for name, value in self.best.settings.items())
        return (
            f"Study {self.folder}: trial {self.best.number} of {len(self.trials)} is the best, "
            f"{self.monitor} {self.best.value:.4f} on validation: {settings}\n"
            f"{self.monitor} {self.test[self.monitor]:.4f} on test, mean of {len(self.runs)} "
            f"training{'s' * (len(self.runs) > 1)}; its recipe is {self.folder / BEST}"
        )


def open_tuning(folder: str | Path) -> Tuning:
    """Read a finished study.

    Raises:
        RunError: if there is none in `folder`, or it was changed.
    """
    folder = Path(folder)
    path = folder / STUDY.result
    try:
        facts = read_facts(path)
        trials = tuple(trial_of(one) for one in facts["trials"])
        return Tuning(
            folder,
            read_recipe(facts["recipe"], str(path)),
            facts["monitor"],
            facts["space"],
            facts["budget"],
            trials,
            trials[facts["best"] - 1],
            tuple(open_run(folder / name) for name in facts["runs"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"expected a finished study in {folder}, but {path.name} cannot be read "
            f"({one_line(str(error), 120)}); give the folder that softrec tune wrote"
        ) from error
