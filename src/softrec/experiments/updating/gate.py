"""The gate: the old and the new model rank what came next, and the difference decides.

Both read the same histories, up to the moment from which events are held out. An item that the old
model does not know is left out of the histories that it reads, and counts as a miss where it is
asked for, because that is what the old model does for its users today.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from softrec.data.cases import Cases, chosen, rows_of
from softrec.data.interactions import Sequences
from softrec.data.splits import Split
from softrec.data.vocabulary import UNKNOWN
from softrec.evaluation.asked import Asked
from softrec.evaluation.metrics import Ranks, evaluate, parse_metric
from softrec.evaluation.protocol import rank_cases
from softrec.evaluation.significance import paired
from softrec.experiments.baselines import simple_recipe, those_that_fit
from softrec.experiments.counting import counted
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.refit import counted_again
from softrec.experiments.runs import Run, ranked
from softrec.recipe.recipe import Recipe

BASELINES = ("popularity", "markov")


class Gate(NamedTuple):
    """What a new model must show to be accepted.

    Attributes:
        margin: it is refused if its metric is lower by more than this fraction of the old one's.
        strict: it is refused, too, if the interval does not exclude such a loss.
        floor: if the old model keeps less than this fraction of the metric of its own test, the new
            events are unlike its log, or broken: the new model is refused unless it is better, and
            no worse than popularity.
    """

    margin: float = 0.02
    strict: bool = False
    floor: float = 0.5

    def verdict(self, found: Found) -> tuple[bool, str, str]:
        """Return whether a new model is accepted, the verdict in a word, and the reason.

        Example:
            >>> Gate(0.02).verdict(Found(0.1, -0.001, -0.004, was=0.12, popular=0.05))[:2]
            (True, 'not worse')
        """
        least = -self.margin * found.old
        better = found.low > 0
        if found.mean < least:
            return False, "worse", f"it is lower by more than the margin ({self.margin:.1%})"
        if found.old < self.floor * found.was and not (better and found.beats_popular):
            than = "the old one" if not better else "popularity"
            return False, "unclear", found.lost(than)
        if better:
            return True, "better", "the interval of the difference is above 0"
        if self.strict and not found.low >= least:
            return False, "unclear", f"a loss above the margin ({self.margin:.1%}) is not excluded"
        return True, "not worse", f"it is not lower by more than the margin ({self.margin:.1%})"


class Found(NamedTuple):
    """What the verdict depends on, all in one metric on the newest events.

    Attributes:
        old: the metric of the old model.
        mean: the difference, new - old.
        low: the lower end of its interval; NaN if there is none.
        was: the metric of the old model in its own test, on other events.
        popular: the metric of popularity.
    """

    old: float
    mean: float
    low: float
    was: float
    popular: float

    @property
    def beats_popular(self) -> bool:
        """Return whether the new model is no worse than popularity."""
        return self.old + self.mean >= self.popular

    def lost(self, than: str) -> str:
        """Return the reason where the old model lost much, and the new one gains too little."""
        return (
            f"the old model keeps {self.old / self.was:.0%} of the metric of its own test "
            f"({self.was:.4f}), and the new one is not better than {than}: the new events are "
            "unlike the log, or broken"
        )


def judged(old: Run, new: Run, split: Split, gate: Gate) -> dict[str, Any]:
    """Return the verdict on a new run and all numbers behind it, as plain data.

    Args:
        old: the run that is in use.
        new: the run that may take its place, trained on the training part of `split`.
        split: the data of the new run; its test part is newer than all that `old` was trained on.
        gate: when it is accepted.
    """
    recipe = new.recipe
    metrics, metric = recipe.evaluation.metrics, recipe.training.monitor
    asked = Asked.of(split, new.mask_seen)
    cases = asked.test
    rows = {"old": _table(old, cases, split, asked, metrics),
            "new": _table(new, cases, split, asked, metrics)}  # fmt: skip
    found = {name: _compared(rows["old"][name], rows["new"][name]) for name in metrics}
    own, baselines = found[metric], _baselines(recipe, split, asked)
    simple = baselines.get("popularity", {}).get(metric, 0.0)
    accepted, verdict, reason = gate.verdict(
        Found(own["old"], own["difference"], own["low"], old.test.get(metric, 0.0), simple)
    )
    return {
        "accepted": accepted,
        "verdict": verdict,
        "reason": reason,
        "metric": metric,
        "margin": gate.margin,
        "strict": gate.strict,
        "floor": gate.floor,
        "old_test": old.test.get(metric),
        "cases": len(cases),
        "metrics": found,
        "groups": _groups(old, split, cases, rows, metric),
        "baselines": baselines,
    }


def _table(
    run: Run, cases: Cases, split: Split, asked: Asked, metrics: Sequence[str]
) -> pl.DataFrame:
    """Return the metrics of each case, of a run that may not know all users and items."""
    users, items = _places(run, split)
    model = ranked(run.model(), run.recipe)
    history, relevant = (_known(part, items) for part in (cases.history, cases.relevant))
    can = users[cases.user] != UNKNOWN if model.reads == "user" else history.lengths > 0
    served = np.flatnonzero(can & (relevant.lengths > 0))
    case, rank = served[:0], served[:0]
    if len(served):
        own = Cases(users[cases.user[served]], rows_of(history, served), rows_of(relevant, served))
        ranks = rank_cases(
            model, own, length=run.recipe.training.length, mask_seen=asked.mask_seen,
            k=max(parse_metric(name)[1] for name in metrics),
        )  # fmt: skip
        case, rank = served[ranks.case], ranks.rank
    return evaluate(Ranks(case, rank, cases.relevant.lengths), metrics)


def _places(run: Run, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers in `run` of the users and items of `split`, or `UNKNOWN`."""
    log = split.train
    return run.log.users.numbers(log.users.raw), run.log.items.numbers(log.items.raw)


def _known(sequences: Sequences, places: np.ndarray) -> Sequences:
    """Return the rows in the numbers of a run, without the items that it does not know."""
    moved = Sequences(sequences.offsets, places[sequences.items], sequences.times)
    return chosen(moved, moved.items != UNKNOWN)


def _compared(old: pl.Series, new: pl.Series) -> dict[str, float]:
    """Return both means and the difference with its 95 % interval over users."""
    found = paired(old.to_numpy(), new.to_numpy())
    return {
        "old": float(old.mean()),  # pyright: ignore[reportArgumentType]
        "new": float(new.mean()),  # pyright: ignore[reportArgumentType]
        "difference": found.mean,
        "low": found.low,
        "high": found.high,
        "relative": found.relative,
    }


def _groups(
    old: Run, split: Split, cases: Cases, rows: dict[str, pl.DataFrame], metric: str
) -> dict[str, Any]:
    """Return the metric apart where the old model knows user and items, and where it does not."""
    users, items = _places(old, split)
    unknown = np.add.reduceat(items[cases.relevant.items] == UNKNOWN, cases.relevant.offsets[:-1])
    of_items, of_users = unknown > 0, users[cases.user] == UNKNOWN
    masks = {
        "known": ~of_items & ~of_users, "new items": of_items, "new users": of_users,
    }  # fmt: skip
    told: dict[str, Any] = {}
    for name, mask in masks.items():
        told[name] = {"cases": int(mask.sum())}
        if mask.any():
            both = (rows[which][metric].filter(pl.Series(mask)) for which in ("old", "new"))
            told[name] |= _compared(*both)
    return told


def _baselines(recipe: Recipe, split: Split, asked: Asked) -> dict[str, dict[str, float]]:
    """Return the metrics of simple baselines, counted on what the new run was trained on."""
    recipes = {name: simple_recipe(recipe, {"name": name}) for name in BASELINES}
    fitting, _ = those_that_fit(recipes, split)
    told: dict[str, dict[str, float]] = {}
    for name, simple in fitting.items():
        evaluation = simple.evaluation.model_copy(update={"negatives": None})
        simple = simple.model_copy(update={"evaluation": evaluation})
        valid, test = (Evaluator(simple, split, part, asked) for part in ("valid", "test"))
        scorer, found = counted(simple, split, valid)
        if simple.training.refit == "valid":
            scorer, _ = counted_again(simple, split, "valid", found.chosen)
        told[name] = test.means(scorer)
    return told
