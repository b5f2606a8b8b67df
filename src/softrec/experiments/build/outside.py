"""What comes from outside softrec is asked about one batch of the log before it is trained on.

Numbers that are no distribution, or one value in place of one per example, train to something, and
nobody would see it. All of a contract is checked by `softrec.testing.check_registered`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import numpy as np
import torch

from softrec.errors import MISTAKES, RecipeError, one_line
from softrec.evaluation.metrics import NOT_RANKED, Ranks, evaluate
from softrec.objective import Objective
from softrec.recipe.plugins import plugins_of
from softrec.recipe.recipe import Recipe
from softrec.targets.objects import ObjectSettings
from softrec.testing.briefly import (
    check_answers,
    check_encoded,
    check_scored,
    check_values,
    check_weighed,
)
from softrec.testing.members import check_candidates
from softrec.types import Batch, Encoder, Events, Scorer

Check = Callable[[Batch], object]
RANKS = Ranks(np.arange(3), np.array([1, 4, NOT_RANKED]), np.ones(3, np.int64))
"""What metrics are asked about before there is any ranking."""


def check_outside(
    recipe: Recipe, objective: Objective, encoder: Encoder, batches: Iterable[Batch]
) -> None:
    """Refuse what comes from outside and breaks its contract.

    The state of torch's random numbers is the same afterwards.

    Args:
        recipe: what is trained.
        objective: what was built from it.
        encoder: the model.
        batches: batches of the training part; the first one is read.

    Raises:
        RecipeError: if one does; it names the member, and what was expected and came.
    """
    own = _own(recipe)
    model = encoder.as_trained()
    side = recipe.training.padding_side
    checks = [
        *_of_metrics(recipe, own),
        *_of_model(own, lambda batch: check_encoded(model, batch, side)),
        *_checks(recipe, objective, encoder, own),
    ]
    _run_all(checks, batches)


def check_counted_outside(recipe: Recipe, scorer: Scorer, batches: Iterable[Batch]) -> None:
    """Refuse a scorer or a metric from outside that breaks its contract.

    Args:
        recipe: what is counted.
        scorer: the model, fitted.
        batches: as it ranks them; the first one is read.

    Raises:
        RecipeError: if one does; it names the member, and what was expected and came.
    """
    own = _own(recipe)
    checks = _of_model(own, lambda batch: check_scored(scorer, batch))
    _run_all([*_of_metrics(recipe, own), *checks], batches)


def fit(name: str, scorer: Scorer, events: Events) -> None:
    """Fit a scorer.

    Args:
        name: under which it is registered.
        scorer: of softrec or from outside.
        events: the training part.

    Raises:
        RecipeError: if one from outside fails by mistake; it names the scorer, and what came.
    """
    try:
        scorer.fit(events)
    except MISTAKES as error:
        if type(scorer).__module__.startswith("softrec."):
            raise
        raise _failure("model", name, "fitted", error) from error


def _failure(kind: str, name: str, when: str, error: Exception) -> RecipeError:
    told = one_line(f"{type(error).__name__}: {error}", 250)
    return RecipeError(
        f"the {kind} {name!r} fails when it is {when}: {told}; --debug shows where "
        f"({_registered(kind, name)})"
    )


def _registered(kind: str, name: str) -> str:
    return f"softrec.testing.check_registered({kind!r}, {name!r}) checks all of its contract"


def _run_all(checks: list[tuple[str, str, Check]], batches: Iterable[Batch]) -> None:
    if not checks:
        return
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        for batch in islice(batches, 1):
            for kind, name, check in checks:
                _run(kind, name, check, batch)


def _run(kind: str, name: str, check: Check, batch: Batch) -> None:
    try:
        check(batch)
    except AssertionError as error:
        told = one_line(str(error), 300)
        said = f"the {kind} {name!r}: {told} ({_registered(kind, name)})"
        raise RecipeError(said) from error
    except MISTAKES as error:
        raise _failure(kind, name, "asked", error) from error


def _own(recipe: Recipe) -> dict[str, list[str]]:
    """Return the members from outside, by kind."""
    own: dict[str, list[str]] = {}
    for one in plugins_of(recipe):
        if not one["module"].startswith("softrec."):  # an instance may be of a class of softrec
            own.setdefault(one["kind"], []).append(one["name"])
    if isinstance(recipe.target, ObjectSettings):
        own["target"] = [recipe.target.label]
    return own


def _of_metrics(recipe: Recipe, own: dict[str, list[str]]) -> Iterator[tuple[str, str, Check]]:
    """Yield the checks of metrics: two rankings, and an item that is not ranked."""
    for name in own.get("metric", ()):
        asked = [one for one in recipe.evaluation.metrics if one.partition("@")[0] == name]
        yield "metric", name, lambda _, asked=asked: evaluate(RANKS, asked)


def _of_model(own: dict[str, list[str]], check: Check) -> list[tuple[str, str, Check]]:
    return [("model", name, check) for name in own.get("model", ())]


def _checks(
    recipe: Recipe, objective: Objective, encoder: Encoder, own: dict[str, list[str]]
) -> Iterator[tuple[str, str, Check]]:
    """Yield kind and name of each member of the objective, and how it is checked."""
    n_items, target = encoder.n_items, recipe.target
    source, candidates, weights = objective.source, objective.candidates, objective.weights
    if "target" in own and source is not None:
        several = candidates is not None

        def ask(batch: Batch) -> None:
            check_answers(source(batch), batch, n_items, several=several)

        yield "target", own["target"][-1], ask
    if "loss" in own:
        yield "loss", own["loss"][-1], lambda _: check_values(objective.loss, target.soft_weight)
    if "candidates" in own and candidates is not None:
        name = own["candidates"][-1]
        yield "candidates", name, lambda batch: check_candidates(candidates, batch, n_items)
    if "weights" in own and weights is not None:

        def weigh(batch: Batch) -> None:
            weights.begin_epoch(encoder, 0)
            check_weighed(weights, batch, n_items)

        yield "weights", own["weights"][-1], weigh
