"""The log of an update: that of the run with the new events, cleaned as the recipe says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from softrec.data.growing import NEW, called, grown, read_new
from softrec.data.interactions import Interactions
from softrec.data.vocabulary import UNKNOWN, Vocabulary
from softrec.errors import DataError, RunError
from softrec.experiments.build.data import cleaned
from softrec.experiments.inputs import COLUMNS
from softrec.experiments.runs import ON_DISK, Run
from softrec.recipe.specs.data import DataSettings, parse_step


@dataclass(frozen=True)
class NewLog:
    """The log of an update, with the column `new`, and what is new in it, as plain data."""

    log: Interactions
    facts: dict[str, Any]


def check_updatable(run: Run) -> None:
    """Refuse controls, runs whose users are pieces of users, and those whose log stays on disk.

    Raises:
        RunError: if it is one.
    """
    data = run.recipe.data
    controls = {
        "order": data.order != "log",
        "first_items": data.first_items is not None,
        "false_positives": data.false_positives > 0,
    }
    control = next((name for name, holds in controls.items() if holds), None)
    if control is not None:
        raise RunError(
            f"{run.folder} is a control (data.{control}), whose training part is not the log; "
            "update a run of the log as it is"
        )
    if (run.folder / ON_DISK).exists():
        raise RunError(
            f"the log of {run.folder} stays on disk, where new events cannot be added to it; add "
            "their files to its folder and train again, with training.start the old run"
        )
    if any(step.startswith("pieces") for step in data.clean):
        raise RunError(
            f"the users of {run.folder} are pieces of users (data.clean: pieces), to which new "
            "events cannot be added; train it again on the whole log"
        )


def new_log(run: Run, data: Any, columns: dict[str, Any]) -> NewLog:
    """Return the log of `run` with the new events in `data`.

    Args:
        run: a finished run.
        data: a file or a table of new events; those that are known are left out.
        columns: its columns, as for `Interactions.read`; by default as the run's log was read.

    Raises:
        DataError: if `data` cannot be used, or has no new event.
    """
    spec = run.recipe.data
    how = {name: getattr(spec, name) for name in COLUMNS} | columns
    reading = {name: how.pop(name) for name in ("header", "text_ids")}
    place = called(data)
    events = read_new(data, run.log, how, **reading)
    rated = _of_weight(events, spec, place)
    known = run.log if run.recipe.weights.reads_column else run.log.without("weight")
    found = grown(known, rated, place)
    log = cleaned(found.log, _without_weight(spec))
    added, kept = int(found.log.frame[NEW].sum()), int(log.frame[NEW].sum())
    if not kept:
        raise DataError(
            f"cleaning ({', '.join(spec.clean)}) leaves none of the {added:,} new events of {place}"
        )
    return NewLog(
        log,
        {
            "known": len(log) - kept,
            "new": kept,
            "duplicates": found.duplicates,
            "doubtful": found.doubtful,
            "earlier": found.earlier,
            "left_out": len(events) - len(rated) + added - kept,
            "users": _changes(run.log.users, run.log.user_counts, log.users, log.user_counts),
            "items": _changes(run.log.items, run.log.item_counts, log.items, log.item_counts),
        },
    )


def _of_weight(events: pl.DataFrame, spec: DataSettings, place: str) -> pl.DataFrame:
    """Return the new events with the weight that the recipe asks for; known ones have it."""
    least = [number for name, number in map(parse_step, spec.clean) if name == "min-weight"]
    if not least:
        return events
    if "weight" not in events.columns:
        raise DataError(
            f"the log was cleaned with min-weight={max(least):g}, but {place} has no weights; name "
            "their column with --weight"
        )
    return events.filter(pl.col("weight") >= max(least))


def _without_weight(spec: DataSettings) -> DataSettings:
    steps = tuple(step for step in spec.clean if not step.startswith("min-weight"))
    return spec.model_copy(update={"clean": steps})


def _changes(
    old: Vocabulary, old_counts: np.ndarray, new: Vocabulary, counts: np.ndarray
) -> dict[str, int]:
    """Return how many users or items there are, are new, and have no event any more."""
    places = new.numbers(old.raw)
    now = np.where(places == UNKNOWN, 0, counts[places])
    return {
        "all": len(new),
        "new": int((old.numbers(new.raw) == UNKNOWN).sum()),
        "gone": int(((old_counts > 0) & (now == 0)).sum()),
    }
