"""What comes from outside softrec is asked about one batch of the log before it is trained on.

Numbers that are no distribution, or one value in place of one per example, train to something, and
nobody would see it. All of a contract is checked by `softrec.testing.check_registered`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch

from softrec.errors import RecipeError, one_line
from softrec.objective import Objective
from softrec.recipe.plugins import plugins_of
from softrec.recipe.recipe import Recipe
from softrec.targets.objects import ObjectSettings
from softrec.testing.briefly import check_answers, check_values, check_weighed
from softrec.testing.members import check_candidates
from softrec.types import Batch, Encoder

Check = Callable[[Batch], None]


def check_outside(
    recipe: Recipe, objective: Objective, encoder: Encoder, batches: Iterable[Batch]
) -> None:
    """Refuse a target, loss, candidates or weights from outside that break their contract.

    The state of torch's random numbers is the same afterwards.

    Args:
        recipe: what is trained.
        objective: what was built from it.
        encoder: the model.
        batches: batches of the training part; the first one is read.

    Raises:
        RecipeError: if one does; it names the member, and what was expected and came.
    """
    checks = list(_checks(recipe, objective, encoder))
    if not checks:
        return
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        for batch in islice(batches, 1):
            for kind, name, check in checks:
                _run(kind, name, check, batch)


def _run(kind: str, name: str, check: Check, batch: Batch) -> None:
    registered = f"softrec.testing.check_registered({kind!r}, {name!r}) checks all of its contract"
    try:
        check(batch)
    except AssertionError as error:
        told = one_line(str(error), 300)
        raise RecipeError(f"the {kind} {name!r}: {told} ({registered})") from error
    except (RuntimeError, IndexError, TypeError, ValueError, AttributeError) as error:
        told = one_line(f"{type(error).__name__}: {error}", 250)
        raise RecipeError(
            f"the {kind} {name!r} fails when it is asked: {told}; --debug shows where "
            f"({registered})"
        ) from error


def _checks(
    recipe: Recipe, objective: Objective, encoder: Encoder
) -> Iterator[tuple[str, str, Check]]:
    """Yield kind and name of each member from outside, and how it is checked."""
    n_items, target = encoder.n_items, recipe.target
    own = {one["kind"]: one["name"] for one in plugins_of(recipe)}
    if isinstance(target, ObjectSettings):
        own["target"] = target.label
    source, candidates, weights = objective.source, objective.candidates, objective.weights
    if "target" in own and source is not None:
        several = candidates is not None

        def ask(batch: Batch) -> None:
            check_answers(source(batch), batch, n_items, several=several)

        yield "target", own["target"], ask
    if "loss" in own:
        yield "loss", own["loss"], lambda _: check_values(objective.loss, target.soft_weight)
    if "candidates" in own and candidates is not None:
        name = own["candidates"]
        yield "candidates", name, lambda batch: check_candidates(candidates, batch, n_items)
    if "weights" in own and weights is not None:

        def weigh(batch: Batch) -> None:
            weights.begin_epoch(encoder, 0)
            check_weighed(weights, batch)

        yield "weights", own["weights"], weigh
