"""An update: a run goes on with new events, and is judged before it takes the old one's place.

    OUT/
      ...                the files of a run
      update.json        what is new, the drift, the verdict and the numbers behind it

The weights go on from those of the old run; users and items are matched by raw id. The optimiser
begins afresh. A counted model is counted again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from softrec.data.newest import NewestBy, is_late, newest
from softrec.data.splits import Split
from softrec.errors import RunError
from softrec.evaluation.drift import drift
from softrec.experiments.build.data import notices
from softrec.experiments.inputs import fingerprint
from softrec.experiments.runs import Run, open_run
from softrec.experiments.store.folders import checked_output
from softrec.experiments.tables import ITEMS, USERS
from softrec.experiments.train import fit_recipe, versions
from softrec.experiments.updating.gate import Gate, judged
from softrec.experiments.updating.log import check_updatable, new_log
from softrec.experiments.updating.told import data_lines, drift_lines, held_lines, verdict_lines
from softrec.experiments.views import data_text, html_of
from softrec.files import read_facts, write_facts
from softrec.recipe.options import dotted
from softrec.recipe.recipe import Recipe, merged, read_recipe
from softrec.recipe.specs.data import MEMORY
from softrec.recipe.specs.models import is_counted

LOGGER = logging.getLogger(__name__)
UPDATE = "update.json"
FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """How an update is trained and judged.

    Attributes:
        by: how the newest events are found: by time, or the last ones of each user; by default by
            time if there are times.
        test: by time, the fraction of the new events that judge.
        valid: by time, the fraction of the new events before them, which choose the epoch.
        gate: when the new run is accepted.
        refit: train an accepted run once more, on all events, for as many epochs.
        columns: the columns of the new data, if they have other names than in the log of the run.
        changes: fields of the recipe that the update changes.
    """

    by: NewestBy | None = None
    test: float = 0.2
    valid: float = 0.1
    gate: Gate = field(default_factory=Gate)
    refit: bool = False
    columns: Mapping[str, Any] | None = None
    changes: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Update:
    """A finished update: the new run, and the content of update.json."""

    run: Run
    facts: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Return whether the new run may take the place of the old one."""
        return self.facts["gate"]["accepted"]

    def __repr__(self) -> str:
        return "\n".join([f"Update {self.run.folder}", *verdict_lines(self.facts)])

    def _repr_html_(self) -> str:
        names = ("old", "new", "difference", "low", "high")
        metrics = self.facts["gate"]["metrics"]
        rows = [(metric, *(own[name] for name in names)) for metric, own in metrics.items()]
        return html_of(repr(self), ("metric", *names[:3], "from", "to"), rows)


def update_run(
    folder: str | Path,
    data: Any,
    out: str | Path,
    plan: Plan | None = None,
    *,
    overwrite: bool = False,
    trust: bool = False,
) -> Update:
    """Train a run further on its log and new events, judge it, and write it to `out`.

    If it is interrupted, the same call continues.

    Args:
        folder: of the old run, which is not changed.
        data: a file or a table of new events.
        out: the folder of the new run.
        plan: how it is trained and judged.
        overwrite: replace a finished run in `out`.
        trust: use the old run without checking its files.

    Raises:
        RunError: if the run cannot be updated, or `out` exists.
        DataError: if the new events cannot be used.
    """
    plan = plan or Plan()
    # A link, such as one to the run in use, may be another run tomorrow.
    old = open_run(Path(folder).resolve(), trust=trust)
    given = [old.folder, *([data] if isinstance(data, str | Path) else [])]
    checked_output(out, given)
    check_updatable(old)
    found = new_log(old, data, dict(plan.columns or {}))
    by: NewestBy = plan.by or ("time" if found.log.has_time else "last")
    split = newest(found.log, by, valid=plan.valid, test=plan.test)
    own = {"training.refit": "all"} if plan.refit else {}
    recipe = recipe_of(old, split, own | dict(plan.changes or {}))
    drifted = drift(found.log)
    leak = split.leak() if by == "time" else None  # by last events other users go on, as is said
    held = {
        "by": by, "valid": len(split.valid), "test": len(split.test),
        "late": int(is_late(found.log).sum()), "leak": leak and leak.sentence(),
    }  # fmt: skip
    lines = (*data_lines(found.facts), *drift_lines(drifted), data_text(split), *held_lines(held))
    for line in (*lines, *notices(recipe.model, split)):
        LOGGER.info(line)
    facts = {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "old": {"folder": str(old.folder), "weights": old.weights_fingerprint},
        "data": found.facts,
        "held_out": held,
        "drift": drifted,
    }

    def accept(new: Run) -> bool:
        gate = judged(old, new, split, plan.gate)
        accepted = gate["accepted"]
        again = accepted and recipe.training.refit == "all"
        write_facts(new.folder / UPDATE, {**facts, "gate": gate, "refit": again})
        return accepted

    run = fit_recipe(recipe, out, split=split, overwrite=overwrite, accept=accept)
    return open_update(run)


def open_update(run: Run) -> Update:
    """Return the update that made a run.

    Raises:
        RunError: if the run was not made by an update, or its file was changed.
    """
    path = run.folder / UPDATE
    try:
        return Update(run, read_facts(path))
    except FileNotFoundError as error:
        raise RunError(f"{run.folder} was not made by softrec update (no {UPDATE})") from error
    except (ValueError, OSError) as error:
        raise RunError(f"{path} is damaged ({error}); make the update again") from error


def recipe_of(old: Run, split: Split, changes: Mapping[str, Any]) -> Recipe:
    """Return the recipe of an update: that of the old run, from its weights, on the grown log.

    A refit on all events is asked for anew each time, because it comes after the gate.
    """
    recipe = old.recipe.without_search()
    fields = recipe.model_dump(mode="json")
    of_data = {"source": MEMORY + fingerprint(split.whole()), "valid": None, "test": None,
               "split": None, "shop": {}}  # fmt: skip
    own: dict[str, Any] = {f"data.{name}": value for name, value in of_data.items()}
    own["evaluation.mask_seen"] = old.mask_seen
    if recipe.training.refit == "all":
        own["training.refit"] = "none"
    tables = {"items": old.folder / ITEMS, "user_table": old.folder / USERS}
    own |= {f"data.{name}": str(file) for name, file in tables.items() if file.exists()}
    if not is_counted(recipe.model.name):
        fields["model"] = old.model_settings.model_dump(mode="json")
        own |= {
            "training.start": str(old.folder),
            "training.new_rows": "neighbours",
        }
    return read_recipe(merged(fields, own | dotted(dict(changes))), "the recipe of the update")
