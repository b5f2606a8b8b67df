"""Does the order of events matter in a log? The same model, with histories in random order.

A model is trained and tested twice: on the log, and on the control of `Split.shuffled`, which has
the same labels after the same items in random order. The difference is its gain from the order.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from softrec.data.interactions import Interactions
from softrec.errors import RecipeError, RunError
from softrec.experiments.build.data import load_logged
from softrec.experiments.build.decided import decided
from softrec.experiments.differences import differences
from softrec.experiments.runs import Run
from softrec.experiments.stages import kept_run
from softrec.experiments.train import fit_recipe
from softrec.extras import require
from softrec.files import write_facts
from softrec.recipe.recipe import Recipe, merged, read_recipe
from softrec.recipe.specs.models import is_counted
from softrec.report.numbers import MetricDifference

LOGGER = logging.getLogger(__name__)
ORDERS = ("shuffled", "log")


class OrderFound(NamedTuple):
    """The gain of a model from the order of a log, in one metric.

    `low` and `high` are the ends of the 95 % interval of the gain, over users and trainings. For a
    counted model the interval is over users only; with one training it is NaN.
    """

    metric: str
    log: float
    shuffled: float
    gain: float
    low: float
    high: float

    def sentence(self) -> str:
        """Return the answer in one line.

        Example:
            >>> print(OrderFound("ndcg@10", 0.12, 0.1, 0.02, 0.015, 0.025).sentence())
            the order matters: ndcg@10 is 0.1200 with it and 0.1000 in random order, a difference \
of +0.0200 (95 % interval +0.0150 to +0.0250)
        """
        if math.isnan(self.low):
            answer = "one training cannot tell whether the order matters"
        elif self.low > 0:
            answer = "the order matters"
        elif self.high < 0:
            answer = "the order misleads the model"
        else:
            answer = "no use of the order is seen"
        interval = (
            "" if math.isnan(self.low) else f" (95 % interval {self.low:+.4f} to {self.high:+.4f})"
        )
        return (
            f"{answer}: {self.metric} is {self.log:.4f} with it and {self.shuffled:.4f} in random "
            f"order, a difference of {self.gain:+.4f}{interval}"
        )


def compare_order(
    base: Recipe,
    out: str | Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    data_dir: Path | None = None,
    log: Interactions | None = None,
    overwrite: bool = False,
) -> OrderFound:
    """Train `base` on the log and on its shuffled control, and return the gain from the order.

    Writes the runs to `out`, and the result to `order.json`. Finished runs of the same recipes and
    data are used again.

    Args:
        base: data, model, target and budget.
        out: a folder.
        seeds: of the trainings; a counted model needs one.
        data_dir: a folder with public data sets.
        log: the log, if it is in memory.
        overwrite: train again, and replace finished runs.

    Raises:
        RecipeError: if the recipe sets `data.order`.
        RunError: if `out` contains runs of other recipes or other data.
    """
    if base.data.order != "log":
        raise RecipeError("data.order is what is compared here; leave it out")
    require("scipy", "the interval of a difference")
    counted = is_counted(base.model.name)
    rows: list[list[Run]] = []
    for order in ORDERS:
        changes = {"data.order": order}
        recipe = read_recipe(merged(base.model_dump(mode="json"), changes))
        split = load_logged(recipe, data_dir, log)
        recipe, lines = decided(recipe.without_search(), split)  # as a run has it
        for line in lines:
            LOGGER.info(line)
        rows.append([])
        for seed in seeds[:1] if counted else seeds:
            folder = Path(out) / f"{order}-seed{seed}"
            own = recipe.model_copy(update={"seed": seed})
            run = kept_run(folder)
            if run is None or overwrite:
                run = fit_recipe(own, folder, split=split, overwrite=overwrite)
            if run.recipe != own:
                raise RunError(f"{folder} holds a run of another recipe; delete it, or --overwrite")
            run.check_data(split)  # the recipe names a file, whose events may be others by now
            rows[-1].append(run)
    metric = base.training.monitor
    (found,) = differences(rows, [metric])
    answer = _found(metric, rows, found[metric], counted=counted)
    write_facts(Path(out) / "order.json", answer._asdict())
    return answer


def _found(
    metric: str, rows: Sequence[Sequence[Run]], gain: MetricDifference, *, counted: bool
) -> OrderFound:
    shuffled, log = (sum(run.test[metric] for run in row) / len(row) for row in rows)
    low, high = (gain.low_users, gain.high_users) if counted else (gain.low, gain.high)
    return OrderFound(metric, log, shuffled, gain.mean, low, high)
