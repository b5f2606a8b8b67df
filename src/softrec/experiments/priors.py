"""The prior that is chosen on validation, once the model is trained: what is counted, how strong.

Both differ from log to log: what follows the last item alone is best where sessions are short, what
goes with the whole history where they are long. A model that is good alone need not be the best
prior, so each is judged with the scores of the trained model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from softrec.data.interactions import Interactions
from softrec.experiments.build.model import prior_of
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.naming import member_name
from softrec.models.prior import Prior, WithPrior
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import ModelSettings
from softrec.recipe.specs.prior import PriorSettings
from softrec.types import Encoder

LOGGER = logging.getLogger(__name__)
TRIED_ON = 5_000  # validation cases, at most


class ChosenPrior(NamedTuple):
    """The best prior, what was tried, and the validation metrics of the model with it."""

    facts: dict[str, Any]
    metrics: dict[str, float]


def choose_prior(
    encoder: Encoder, recipe: Recipe, log: Interactions, valid: Evaluator
) -> ChosenPrior:
    """Set the prior of an encoder to the best of its models, each with its best strength.

    A model takes the place of one before it where it is better by more than a standard error of
    the difference of their cases, as otherwise the choice would be noise on small logs; of equal
    strengths the first is kept. At most 5,000 validation cases choose, the same for all.

    Args:
        encoder: trained, with the prior of the recipe.
        recipe: with a prior that has several models or strengths.
        log: the training part, which they count.
        valid: evaluates on validation.

    Source: the one-standard-error rule of Breiman et al., Classification and Regression Trees,
    1984.
    """
    spec, monitor = recipe.prior, recipe.training.monitor
    assert isinstance(encoder, WithPrior)
    assert spec is not None
    encoder.eval()
    trial, tried, best = valid.some(TRIED_ON), list[dict[str, Any]](), None
    for model, prior in _priors(spec, encoder.prior, log, recipe.training.length):
        encoder.prior = prior
        own = list[_Tried]()
        for strength in spec.strengths or (spec.strength,):
            if strength == 0 and model is not spec.model:
                continue  # without any prior, as before
            prior.strength = strength
            values = trial.per_user(encoder, [monitor])[monitor].to_numpy()
            own.append(_Tried(values, model, prior, strength))
            tried.append({"model": named(model), "strength": strength, monitor: own[-1].mean})
        if own:
            strongest = max(own, key=lambda one: one.mean)
            if best is None or is_above(strongest.values, best.values):
                best = strongest
    assert best is not None
    encoder.prior, best.prior.strength = best.prior, best.strength
    metrics = valid.means(encoder)
    LOGGER.info(
        "prior, the best of %d tried: %s at strength %g; %s %.4f on validation",
        len(tried), named(best.model), best.strength, monitor, metrics[monitor],
    )  # fmt: skip
    kept = {"model": best.model.model_dump(mode="json"), "strength": best.strength}
    return ChosenPrior({**kept, "tried": tried}, metrics)


class _Tried(NamedTuple):
    values: np.ndarray  # (C,) the metric of each case
    model: ModelSettings
    prior: Prior
    strength: float

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))


def _priors(
    spec: PriorSettings, first: Prior, log: Interactions, length: int
) -> Iterator[tuple[ModelSettings, Prior]]:
    """Yield the model of the recipe, which is counted already, and the others, one at a time."""
    yield spec.model, first
    for model in spec.models:
        other = spec.model_copy(update={"model": model})
        yield model, prior_of(other, log, length, first.temperature, fit=True)


def is_above(values: np.ndarray, others: np.ndarray) -> bool:
    """Return whether values of some cases are more than a standard error above others of them.

    Example:
        >>> is_above(np.array([0.3, 0.5, 0.4]), np.array([0.2, 0.3, 0.3]))
        True
    """
    if len(values) < 2:
        return False
    difference = values - others
    return bool(difference.mean() > difference.std(ddof=1) / np.sqrt(len(difference)))


def named(model: ModelSettings) -> str:
    """Return the name of a counted model with its settings.

    Example:
        >>> named(ModelSettings.model_validate({"name": "markov", "steps": 3}))
        'markov (steps 3)'
    """
    return member_name({"name": model.name, **model.settings})
