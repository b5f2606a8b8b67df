"""Fits counted models: their settings are tried on validation, and the best are kept."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import ValidationError

from softrec.data.splits import Split
from softrec.errors import RecipeError, no_such, one_line
from softrec.evaluation.protocol import batches_of
from softrec.experiments.build.model import build_model, training_events
from softrec.experiments.build.outside import check_counted_outside, fit
from softrec.experiments.evaluator import Evaluator
from softrec.recipe.complaints import complaint
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import MODELS, TUNE, ModelSettings, settings_of
from softrec.types import Events, Scorer
from softrec.types.model import LARGEST_GRID

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class CountingResult:
    """The result of a grid search, with the attributes of `TrainingResult`.

    The curve has a row for each combination of settings.
    """

    curve: list[dict[str, Any]]
    best_epoch: int  # the number of the best combination, counted from 1
    chosen: dict[str, Any]  # the settings of the best combination, only those that were searched
    best: dict[str, float]  # the metrics of the best combination on the whole validation part
    stopped_early: bool = True

    @property
    def seconds_per_epoch(self) -> float:
        """Return the time of counting the best combination."""
        return self.curve[self.best_epoch - 1]["seconds/fit"]

    @property
    def seconds(self) -> float:
        """Return the time of all combinations, with validation."""
        return sum(row["seconds/fit"] + row["seconds/validate"] for row in self.curve)


def grid(spec: ModelSettings) -> list[dict[str, Any]]:
    """Return the combinations to try: the model's grid for the settings that are not given.

    Settings that only scoring reads change fastest, so that one fit is used for several
    combinations.

    Raises:
        RecipeError: if there are more than 20, or of settings that the model does not have.
    """
    kind = MODELS[spec.name]
    assert issubclass(kind, Scorer)
    _check_names(spec.name, kind)
    free = {n: v for n, v in kind.GRID.items() if spec.tune and n not in spec.settings}
    names = sorted(free, key=lambda name: name in kind.SCORING)
    found = [dict(zip(names, values, strict=True)) for values in product(*(free[n] for n in names))]
    if len(found) > LARGEST_GRID:
        raise RecipeError(
            f"the grid of {spec.name} has {len(found)} combinations, but at most {LARGEST_GRID} "
            "are allowed; give some of the settings in the recipe, or shorten GRID"
        )
    return found


def _check_names(name: str, kind: type[Scorer]) -> None:
    known = [one for one in settings_of(name) if one != TUNE]
    for one, values in kind.GRID.items():
        if one not in known:
            raise RecipeError(f"the GRID of {name} has {no_such('setting', one, known)}")
        if not isinstance(values, tuple | list) or not values:
            raise RecipeError(
                f"the GRID of {name} has {one_line(repr(values), 80)} for {one}; expected a tuple "
                "of values"
            )


def check_counted(recipe: Recipe, split: Split) -> None:
    """Refuse a model whose settings or size do not fit, before anything is counted."""
    for chosen in grid(recipe.model):
        try:
            spec = recipe.model.with_settings(chosen)
        except ValidationError as error:
            told = complaint(error, {"": ModelSettings})
            raise RecipeError(f"the GRID of {recipe.model.name}: {told}") from error
        build_model(spec, split.train, recipe.training.length, seed=None)


def counted(
    recipe: Recipe, split: Split, valid: Evaluator, *, tried_on: int = 5_000
) -> tuple[Scorer, CountingResult]:
    """Return the scorer that is best on validation, and the results of all combinations.

    Of equal ones the first is kept. The grid search uses at most `tried_on` validation cases, so
    that it takes seconds on large logs, too. Nothing depends on the seed.
    """
    spec, monitor = recipe.model, recipe.training.monitor
    events = training_events(split.train)
    rows: list[dict[str, Any]] = []
    best, place, fitted = None, 0, _Fitted(recipe, split, events)
    tried = grid(spec)
    trial = valid.some(tried_on)
    for number, chosen in enumerate(tried, 1):
        begin = time.perf_counter()
        scorer = fitted.scorer(chosen)
        counting = time.perf_counter() - begin
        if number == 1:
            _check_outside(recipe, scorer, trial)
        metrics = trial.means(scorer)
        validating = time.perf_counter() - begin - counting
        rows.append(
            {"epoch": number, **chosen, **{f"valid/{n}": v for n, v in metrics.items()},
             "seconds/fit": counting, "seconds/validate": validating}
        )  # fmt: skip
        LOGGER.debug("%s %d of %d: %s; %s %.4f on validation", spec.name, number, len(tried),
                     _settings_text(chosen), monitor, metrics[monitor])  # fmt: skip
        if best is None or metrics[monitor] > rows[place - 1][f"valid/{monitor}"]:
            best, place = scorer, number
    assert best is not None
    whole = valid.means(best) if trial is not valid else _metrics(rows[place - 1])
    found = CountingResult(rows, place, tried[place - 1], whole)
    LOGGER.info(
        "%s, best of %d settings: %s; %s %.4f on validation; %.1f s",
        spec.name, len(tried), _settings_text(found.chosen), monitor, whole[monitor], found.seconds,
    )  # fmt: skip
    return best, found


def _check_outside(recipe: Recipe, scorer: Scorer, valid: Evaluator) -> None:
    found = batches_of(valid.cases, recipe.training.length, scorer)
    check_counted_outside(recipe, scorer, (batch for _, batch in found))


def _settings_text(chosen: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in chosen.items()) or "as given"


def _metrics(row: dict[str, Any]) -> dict[str, float]:
    return {n.removeprefix("valid/"): v for n, v in row.items() if n.startswith("valid/")}


class _Fitted:
    """Keeps the last fit, which is used for all settings that only scoring reads."""

    def __init__(self, recipe: Recipe, split: Split, events: Events) -> None:
        self.recipe, self.split, self.events = recipe, split, events
        self.last: tuple[dict[str, Any], Scorer] | None = None

    def scorer(self, chosen: dict[str, Any]) -> Scorer:
        """Return a scorer with these settings, fitted."""
        spec = self.recipe.model.with_settings(chosen)
        made = build_model(spec, self.split.train, self.recipe.training.length, seed=0)
        assert isinstance(made, Scorer)
        counting = {name: v for name, v in chosen.items() if name not in made.SCORING}
        if self.last is not None and self.last[0] == counting:
            made.load_state_dict(self.last[1].state_dict(), assign=True)
        else:
            fit(spec.name, made, self.events)
            self.last = counting, made
        return made.eval()
