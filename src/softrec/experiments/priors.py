"""The prior that is chosen on validation, once the model is trained: what is counted, how strong.

Both differ from log to log: what follows the last item alone is best where sessions are short, what
goes with the whole history where they are long. A model that is good alone need not be the best
prior, so each is judged with the scores of the trained model. A second one may be added to the
first. How fast popularity changes, and how much it counts, is chosen last, with the rest of the
prior as it is then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from softrec.data.interactions import Interactions
from softrec.experiments.build.model import prior_of, table_scorer, training_events
from softrec.experiments.evaluator import Evaluator
from softrec.experiments.naming import member_name
from softrec.models.memory import Memory, Remembering
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
    do a second one and popularity; of equal numbers the first is kept. At most 5,000 validation
    cases choose, the same for all.

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
    trial = _Trial.of(encoder, valid.some(TRIED_ON), monitor)
    best, tried = _first(trial, spec, log, recipe.training.length)
    second, values = spec.second, best.values
    if spec.pairs and best.strength:
        second, values, more = _second(trial, spec, log, recipe.training.length, best)
        tried += more
    if spec.popularities and log.has_time:
        tried += _popularity(trial, spec, training_events(log), values)
    prior = encoder.prior = trial.encoder.prior
    prior.memory = None
    metrics = valid.means(encoder)
    LOGGER.info(
        "prior, the best of %d tried: %s at strength %g%s; %s %.4f on validation",
        len(tried), named(best.model), prior.strength, _told(prior, second), monitor,
        metrics[monitor],
    )  # fmt: skip
    kept = {
        "model": best.model.model_dump(mode="json"),
        "strength": prior.strength,
        "second": None if second is None else second.model_dump(mode="json"),
        "second_strength": prior.second_strength,
        "popularity": prior.popularity,
        "half_life": prior.half_life,
    }
    return ChosenPrior({**kept, "tried": tried}, metrics)


def _first(
    trial: _Trial, spec: PriorSettings, log: Interactions, length: int
) -> tuple[_Tried, list[dict[str, Any]]]:
    """Set the counted model and its strength; return the best, and what was tried."""
    tried, best = list[dict[str, Any]](), None
    for model, prior in _priors(spec, trial.encoder.prior, log, length):
        trial.set(prior)
        own = list[_Tried]()
        for strength in spec.strengths or (spec.strength,):
            if strength == 0 and model is not spec.model:
                continue  # without any prior, as before
            prior.strength = strength
            values = trial.values()
            own.append(_Tried(values, model, prior, strength))
            told = {"model": named(model), "strength": strength}
            tried.append({**told, trial.monitor: own[-1].mean})
        if own:
            strongest = max(own, key=lambda one: one.mean)
            if best is None or is_above(strongest.values, best.values):
                best = strongest
    assert best is not None
    trial.set(best.prior)
    best.prior.strength = best.strength
    return best, tried


def _second(
    trial: _Trial, spec: PriorSettings, log: Interactions, length: int, first: _Tried
) -> tuple[ModelSettings | None, np.ndarray, list[dict[str, Any]]]:
    """Set the second model, if one helps, and the strengths of both.

    The strengths of the first are tried once more with the best second one.

    Returns:
        the second model, the metric of each case with it (C,), and what was tried.
    """
    prior, tried = trial.encoder.prior, list[dict[str, Any]]()
    best, kept = None, None
    for model in (spec.model, *spec.models):
        if model == first.model:
            continue
        prior.second = table_scorer(model, log, length)
        prior.second.fit(training_events(log))
        for strength in filter(None, spec.strengths or (spec.second_strength,)):
            prior.second_strength = strength
            one = _Tried(trial.values(), model, prior, strength)
            told = {"second": named(model), "second_strength": strength}
            tried.append({**told, trial.monitor: one.mean})
            if best is None or one.mean > best.mean:
                best, kept = one, prior.second
    if best is not None:
        prior.second, prior.second_strength = kept, best.strength
        both = _Tried(best.values, first.model, prior, first.strength)
        for strength in spec.strengths:
            if strength != first.strength:
                prior.strength = strength
                one = _Tried(trial.values(), first.model, prior, strength)
                tried.append({"strength": strength, trial.monitor: one.mean})
                both = max(both, one, key=lambda each: each.mean)
        if is_above(both.values, first.values):
            prior.strength = both.strength
            return best.model, both.values, tried
    prior.second, prior.second_strength = None, spec.second_strength
    prior.strength = first.strength
    return None, first.values, tried


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


def _told(prior: Prior, second: ModelSettings | None) -> str:
    told = "" if second is None else f", {named(second)} at {prior.second_strength:g}"
    if prior.popularity:
        told += f", popularity {prior.popularity:g} with half-life {prior.half_life:g}"
    return told


class _Trial(NamedTuple):
    """An encoder, judged case by case; it encodes each case once, whatever the prior is."""

    encoder: WithPrior
    valid: Evaluator
    monitor: str
    memory: Memory

    @classmethod
    def of(cls, encoder: WithPrior, valid: Evaluator, monitor: str) -> _Trial:
        memory = Memory()
        same = WithPrior(Remembering(encoder.encoder, memory), encoder.prior)
        return cls(same, valid, monitor, memory)

    def set(self, prior: Prior) -> None:
        """Judge the encoder with another prior."""
        prior.memory = self.memory
        self.encoder.prior = prior

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
