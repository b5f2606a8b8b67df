"""The prior that is chosen on validation, once the model is trained: what is counted, how strong.

Both differ from log to log: what follows the last item alone is best where sessions are short, what
goes with the whole history where they are long. A model that is good alone need not be the best
prior, so each is judged with the scores of the trained model. How fast popularity changes, and how
much it counts, is chosen last, with the rest of the prior as it is then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from softrec.data.interactions import Interactions
from softrec.experiments.build.model import prior_of, training_events
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.naming import member_name
from softrec.models.prior import Prior, WithPrior
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import ModelSettings
from softrec.recipe.specs.prior import PriorSettings
from softrec.types import Encoder, Events

LOGGER = logging.getLogger(__name__)
TRIED_ON = 5_000  # validation cases, at most


class ChosenPrior(NamedTuple):
    """The best prior, what was tried, and the validation metrics of the model with it."""

    facts: dict[str, Any]
    metrics: dict[str, float]


def choose_prior(
    encoder: Encoder, recipe: Recipe, log: Interactions, valid: Evaluator
) -> ChosenPrior:
    """Set the prior of an encoder to the best of its models and strengths, then of popularity.

    A model takes the place of one before it where it is better by more than a standard error of
    the difference of their cases, as otherwise the choice would be noise on small logs, and so
    does popularity; of equal numbers the first is kept. At most 5,000 validation cases choose, the
    same for all.

    Args:
        encoder: trained, with the prior of the recipe.
        recipe: with a prior that has something to choose.
        log: the training part, which they count.
        valid: evaluates on validation.

    Source: the one-standard-error rule of Breiman et al., Classification and Regression Trees,
    1984.
    """
    spec, monitor = recipe.prior, recipe.training.monitor
    assert isinstance(encoder, WithPrior)
    assert spec is not None
    encoder.eval()
    tried, best = list[dict[str, Any]](), None
    trial = _Trial(encoder, valid.some(TRIED_ON), monitor)
    for model, prior in _priors(spec, encoder.prior, log, recipe.training.length):
        encoder.prior = prior
        own = list[_Tried]()
        for strength in spec.strengths or (spec.strength,):
            if strength == 0 and model is not spec.model:
                continue  # without any prior, as before
            prior.strength = strength
            values = trial.values()
            own.append(_Tried(values, model, prior, strength))
            tried.append({"model": named(model), "strength": strength, monitor: own[-1].mean})
        if own:
            strongest = max(own, key=lambda one: one.mean)
            if best is None or is_above(strongest.values, best.values):
                best = strongest
    assert best is not None
    encoder.prior, best.prior.strength = best.prior, best.strength
    if spec.popularities and log.has_time:
        tried += _popularity(trial, spec, training_events(log), best.values)
    metrics = valid.means(encoder)
    prior = encoder.prior
    LOGGER.info(
        "prior, the best of %d tried: %s at strength %g%s; %s %.4f on validation",
        len(tried), named(best.model), prior.strength, _told(prior), monitor, metrics[monitor],
    )  # fmt: skip
    kept = {
        "model": best.model.model_dump(mode="json"),
        "strength": prior.strength,
        "popularity": prior.popularity,
        "half_life": prior.half_life,
    }
    return ChosenPrior({**kept, "tried": tried}, metrics)


class _Point(NamedTuple):
    """A prior with popularity; of its counted model only the strength is changed here."""

    strength: float
    popularity: float
    half_life: float

    def set(self, prior: Prior, events: Events) -> None:
        """Change a prior to this."""
        prior.strength, prior.popularity, prior.half_life = self
        prior.fit_popularity(events)


def _popularity(
    trial: _Trial, spec: PriorSettings, events: Events, before: np.ndarray
) -> list[dict[str, Any]]:
    """Set the best half-life and factor of popularity, and return what was tried.

    The half-lives are tried with the first factor, and the other factors with the best of these.
    What the counted model knows is often that some items are popular, so its strengths are tried
    once more with that, and then the factors.

    Args:
        trial: with the prior as chosen so far.
        spec: its settings.
        events: of the training part.
        before: (C,) the metric of each case without the popularity that is chosen here.
    """
    prior, found = trial.encoder.prior, dict[_Point, np.ndarray]()
    first = _Point(prior.strength, prior.popularity, prior.half_life)

    def best_of(points: Iterable[_Point]) -> _Point:
        """Try points, and return the best one so far."""
        for point in points:
            if point not in found:
                point.set(prior, events)
                found[point] = trial.values()
        return max(found, key=lambda point: float(found[point].mean()))

    factor = next((one for one in spec.popularities if one), 0.0)  # 0 tells no half-lives apart
    begin = first._replace(popularity=factor)
    best = best_of(begin._replace(half_life=one) for one in spec.half_lives or (spec.half_life,))
    best = best_of(best._replace(popularity=one) for one in spec.popularities)
    best = best_of(best._replace(strength=one) for one in spec.strengths)
    best = best_of(best._replace(popularity=one) for one in spec.popularities)
    (best if is_above(found[best], before) else first).set(prior, events)
    return [
        {**point._asdict(), trial.monitor: float(values.mean())} for point, values in found.items()
    ]


def _told(prior: Prior) -> str:
    if not prior.popularity:
        return ""
    return f", popularity {prior.popularity:g} with half-life {prior.half_life:g}"


class _Trial(NamedTuple):
    """An encoder, judged case by case."""

    encoder: WithPrior
    valid: Evaluator
    monitor: str

    def values(self) -> np.ndarray:
        """Return the metric of each case, (C,), with the prior that the encoder has now."""
        return self.valid.per_user(self.encoder, [self.monitor])[self.monitor].to_numpy()


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
