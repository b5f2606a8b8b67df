"""The search: trials one after the other until the budget is used, evaluated on validation."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from softrec.data.splits import Split
from softrec.errors import RunError
from softrec.experiments.build.decided import decided
from softrec.experiments.executors import Executor, Task, results
from softrec.experiments.naming import short
from softrec.experiments.runs import describe
from softrec.experiments.train import resolved
from softrec.experiments.tuning.history import write_history
from softrec.experiments.tuning.space import Space
from softrec.experiments.tuning.starts import Start, starts
from softrec.experiments.tuning.trials import Trained, Trial, tried
from softrec.progress import shows_bars
from softrec.recipe.recipe import Recipe
from softrec.training.lines import in_words

if TYPE_CHECKING:
    from softrec.experiments.tuning.study import Proposal, Study

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
    search: Search, split: Split, folder: Path, where: Executor, *, name: str = ""
) -> list[Trial]:
    """Return all trials: those of an unfinished study in `folder`, and the missing ones.

    No trial is evaluated on the test part.

    Args:
        search: the space and the budget.
        split: the data.
        folder: of the study, which this process has locked.
        where: trains the trials.
        name: of the row, for messages.

    Raises:
        RunError: if the study is of another search or other data, or no trial could be trained.
    """
    from softrec.experiments.tuning.study import opened  # of an extra

    base = _with_runs(search.space.base, split, where)
    common = Trained(search.space, base, split)
    first = starts(search.space, split)
    place = f"{name}, " if name else ""
    study = opened(
        folder, asked=search.facts(), data=describe(split), pruner=search.pruner, seed=search.seed
    )
    with study as kept, _bar(search.trials, len(kept.trials)) as bar:
        if kept.trials:
            LOGGER.info("%s%d trials are there", place, len(kept.trials))
        drawn = time.monotonic()
        trials = _Trials(kept, search, common, first, folder)
        for trial in trials.ended(where):
            LOGGER.info("%s%s", place, line(trial, kept.trials, search, len(kept.running) + 1))
            bar.update()
            if time.monotonic() - drawn > OFTEN:
                write_history(folder, search, kept.trials, name)
                drawn = time.monotonic()
            shutil.rmtree(folder / TRIALS / str(trial.number), ignore_errors=True)
        found = kept.trials[: search.trials]
    write_history(folder, search, found, name)
    shutil.rmtree(folder / TRIALS, ignore_errors=True)
    best_of(found, search.monitor)
    return found


def _with_runs(base: Recipe, split: Split, where: Executor) -> Recipe:
    """Return the recipe with the runs that it depends on, trained and tested as any run is."""
    if not base.stages():
        return base
    (found,) = results(where, [Task("stages", base, _stages, split, (base,))])
    return found


def _stages(split: Split, base: Recipe) -> Recipe:
    return resolved(base, split)


def _bar(trials: int, done: int) -> Any:
    return tqdm(total=trials, initial=done, desc=TRIALS, disable=not shows_bars(), leave=False)


@dataclass
class _Trials:
    """Makes a task of each trial that is proposed, and tells the study how it ended."""

    study: Study
    search: Search
    common: Trained
    first: Sequence[Start]
    folder: Path
    known: list[Trial] = field(default_factory=list)

    def ended(self, where: Executor) -> Iterator[Trial]:
        """Yield each trial when it has ended, those with known outcomes at the next one."""
        proposed: dict[str, Proposal] = {}
        with closing(where.outcomes(self._tasks(proposed))) as outcomes:
            for task, outcome in outcomes:
                trial = outcome.result()
                proposed.pop(task.name).finish(trial)
                yield from self._now_known()
                yield trial
        yield from self._now_known()

    def _now_known(self) -> list[Trial]:
        known, self.known = self.known, []
        return known

    def _tasks(self, proposed: dict[str, Proposal]) -> Iterator[Task]:
        """Yield a task for each trial whose outcome is not known."""
        while self.study.next <= self.search.trials:
            number = self.study.next
            start = self.first[number - 1] if number <= len(self.first) else None
            new = number not in self.study.again
            proposal = self.study.begin(self.search.space, start.settings if start else None)
            about = {
                "number": number,
                "settings": proposal.settings,
                "origin": start.origin if start else SEARCHED,
            }
            before = self.study.trials
            twin = next((one for one in before if one.settings == proposal.settings), None)
            if twin is not None:
                self._end_as(twin, proposal, about)
                continue
            own = self.folder / TRIALS / str(number)
            if new:  # a checkpoint there would be of other settings
                shutil.rmtree(own, ignore_errors=True)
            name = f"trial {number}"
            proposed[name] = proposal
            arguments = own, about
            yield Task(name, self.common.base, tried, self.common, arguments, proposal.report)

    def _end_as(self, twin: Trial, proposal: Proposal, about: Mapping[str, Any]) -> None:
        """End a trial with the outcome of another one that had the same settings."""
        outcome = replace(twin, **about, same_as=twin.same_as or twin.number)
        for epoch, value in enumerate(twin.curve, 1):
            proposal.report(value, epoch)
        proposal.finish(outcome)
        self.known.append(outcome)


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


def line(last: Trial, trials: Sequence[Trial], search: Search, at_once: int = 1) -> str:
    """Return a line on the trial that ended last: its outcome, the best one, settings, the time."""
    of, monitor = search.trials, search.monitor
    complete = [trial for trial in trials if trial.state == "complete"]
    best = max(complete, key=lambda trial: trial.value, default=None)
    standing = (
        "" if best is None
        else ", the best so far" if best == last
        else f", the best {best.value:.4f} in trial {best.number}"
    )  # fmt: skip
    outcome = {
        "complete": f"{monitor} {last.value:.4f}",
        "pruned": f"pruned after epoch {len(last.curve)}, {monitor} {last.value:.4f}",
        "failed": f"failed: {last.reason}",
    }[last.state]
    same = f"as in trial {last.same_as}, " if last.same_as else ""
    times = [trial.seconds for trial in trials if trial.same_as is None]
    left = (of - len(trials)) * sum(times) / max(1, len(times)) / at_once
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
