"""The search: trials one after the other until the budget is used, evaluated on validation."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from softrec.data.splits import Split
from softrec.errors import RunError
from softrec.evaluation.asked import Asked
from softrec.experiments.build.decided import decided
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.naming import short
from softrec.experiments.runs import describe
from softrec.experiments.train import resolved
from softrec.experiments.tuning.history import write_history
from softrec.experiments.tuning.space import Space
from softrec.experiments.tuning.starts import Start, starts
from softrec.experiments.tuning.trials import Trial, Watch, tried
from softrec.progress import shows_bars
from softrec.recipe.recipe import Recipe
from softrec.training.lines import in_words

if TYPE_CHECKING:
    from softrec.experiments.tuning.study import Study

LOGGER = logging.getLogger(__name__)
TRIALS = "trials"
"""The folder of trials in training, inside that of the study."""
SEARCHED = "searched"
OFTEN = 15  # seconds between two updates of the history page


@dataclass(frozen=True)
class Search:
    """The space of a search, and its budget.

    Attributes:
        space: the settings and their ranges.
        trials: the number of trials.
        pruner: "median" or "none".
    """

    space: Space
    trials: int
    pruner: str = "median"

    @property
    def seed(self) -> int:
        """Return the seed of the proposals and of all trials, which is that of the recipe."""
        return self.space.base.seed

    @property
    def monitor(self) -> str:
        """Return the validation metric by which the best trial is chosen."""
        return self.space.base.training.monitor

    def settled(self, split: Split) -> Search:
        """Return the search with settings that depend on the data decided, equal in all trials."""
        base, lines = decided(self.space.base, split)
        for each in lines:
            LOGGER.info(each)
        return replace(self, space=replace(self.space, base=base))

    def facts(self) -> dict[str, Any]:
        """Return the facts that identify the search; the number of trials may change."""
        return {
            "recipe": self.space.base.model_dump(mode="json"),
            "space": self.space.facts(),
            "pruner": self.pruner,
        }


def searched(
    search: Search, split: Split, asked: Asked, folder: Path, *, name: str = ""
) -> list[Trial]:
    """Return all trials: those of an unfinished study in `folder`, and the missing ones.

    No trial is evaluated on the test part.

    Args:
        search: the space and the budget.
        split: the data.
        asked: the evaluation task.
        folder: of the study, which this process has locked.
        name: of the row, for messages.

    Raises:
        RunError: if the study is of another search or other data, or no trial could be trained.
    """
    from softrec.experiments.tuning.study import opened  # of an extra

    # Runs that the recipe depends on are trained before, and tested there, as any run is.
    base = resolved(search.space.base, split)
    valid = Evaluator(base, split, "valid", asked)
    first = starts(search.space, split)
    place = f"{name}, " if name else ""
    study = opened(
        folder, asked=search.facts(), data=describe(split), pruner=search.pruner, seed=search.seed
    )
    with study as kept, _bar(search.trials, len(kept.trials)) as bar:
        if kept.trials:
            LOGGER.info("%s%d trials are there", place, len(kept.trials))
        drawn = time.monotonic()
        while len(kept.trials) < search.trials:
            trial = _next(kept, search, base, first, split, valid, folder)
            LOGGER.info("%s%s", place, line(kept.trials, search))
            bar.update()
            if time.monotonic() - drawn > OFTEN:
                write_history(folder, search, kept.trials, name)
                drawn = time.monotonic()
            shutil.rmtree(folder / TRIALS / str(trial.number), ignore_errors=True)
        trials = kept.trials[: search.trials]
    write_history(folder, search, trials, name)
    shutil.rmtree(folder / TRIALS, ignore_errors=True)
    best_of(trials, search.monitor)
    return trials


def _bar(trials: int, done: int) -> Any:
    return tqdm(total=trials, initial=done, desc=TRIALS, disable=not shows_bars(), leave=False)


def _next(
    study: Study,
    search: Search,
    base: Recipe,
    first: Sequence[Start],
    split: Split,
    valid: Evaluator,
    folder: Path,
) -> Trial:
    """Return the next trial, finished."""
    before = study.trials
    number = len(before) + 1
    start = first[number - 1] if number <= len(first) else None
    proposal = study.begin(search.space, start.settings if start else None)
    about = {
        "number": number,
        "settings": proposal.settings,
        "origin": start.origin if start else SEARCHED,
    }
    twin = next((one for one in before if one.settings == proposal.settings), None)
    if twin is not None:
        known = twin.same_as or twin.number
        outcome = replace(twin, **about, same_as=known)
        for epoch, value in enumerate(twin.curve, 1):
            proposal.report(value, epoch)
    else:
        outcome = tried(
            lambda: search.space.recipe(proposal.settings, base),
            split,
            valid,
            Watch(search.monitor, base.training.epochs, proposal.report),
            folder / TRIALS / str(number),
            **about,
        )
    proposal.finish(outcome)
    return outcome


def best_of(trials: Sequence[Trial], monitor: str) -> Trial:
    """Return the best trial on validation; of equal ones, the first.

    Raises:
        RunError: if no trial was trained completely.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        raise RunError(
            f"none of {len(trials)} trials could be trained, so that none is best in {monitor}; "
            f"the last: {trials[-1].reason}"
        )
    return max(complete, key=lambda trial: trial.value)


def line(trials: Sequence[Trial], search: Search) -> str:
    """Return a line on the last trial: its outcome, the best one, its settings, the time."""
    last, of, monitor = trials[-1], search.trials, search.monitor
    complete = [trial for trial in trials if trial.state == "complete"]
    best = max(complete, key=lambda trial: trial.value, default=None)
    standing = (
        "" if best is None
        else ", the best so far" if best is last
        else f", the best {best.value:.4f} in trial {best.number}"
    )  # fmt: skip
    outcome = {
        "complete": f"{monitor} {last.value:.4f}",
        "pruned": f"pruned after epoch {len(last.curve)}, {monitor} {last.value:.4f}",
        "failed": f"failed: {last.reason}",
    }[last.state]
    same = f"as in trial {last.same_as}, " if last.same_as else ""
    times = [trial.seconds for trial in trials if trial.same_as is None]
    left = (of - len(trials)) * sum(times) / max(1, len(times))
    ahead = f", about {in_words(left)} to go" if left else ""
    origin = "" if last.origin == SEARCHED else f" ({last.origin})"
    return (
        f"trial {last.number} of {of}{origin}: {same}{outcome}{standing}; "
        f"{settings_text(last.settings)}; {in_words(last.seconds)}{ahead}"
    )


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings in words.

    Example:
        >>> settings_text({"target.name": "pop+", "target.alpha": 0.25})
        'target pop+, alpha 0.25'
    """
    return ", ".join(f"{name} {_value(value)}" for name, value in short(settings).items())


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
