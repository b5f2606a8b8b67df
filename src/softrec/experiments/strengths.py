"""The strength of a prior that is chosen on validation, once the model is trained."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from softrec.experiments.evaluator import Evaluator
from softrec.models.prior import WithPrior
from softrec.recipe.specs.prior import PriorSettings
from softrec.types import Encoder

LOGGER = logging.getLogger(__name__)
TRIED_ON = 5_000  # validation cases, at most


class ChosenStrength(NamedTuple):
    """The best strength, what was tried, and the validation metrics of the model with it."""

    facts: dict[str, Any]
    metrics: dict[str, float]


def choose_strength(
    encoder: Encoder, spec: PriorSettings, valid: Evaluator, monitor: str
) -> ChosenStrength:
    """Set the strength of a prior to the best of `spec.strengths`.

    Of equal ones the first is kept. At most 5,000 validation cases choose, the same for all.
    """
    assert isinstance(encoder, WithPrior)
    encoder.eval()
    trial, tried = valid.some(TRIED_ON), dict[float, float]()
    for strength in spec.strengths:
        encoder.prior.strength = strength
        tried[strength] = trial.means(encoder)[monitor]
    best = max(tried, key=lambda strength: tried[strength])
    encoder.prior.strength = best
    metrics = valid.means(encoder)
    told = ", ".join(f"{strength:g}" for strength in tried)
    LOGGER.info(
        "prior, best strength of %s: %g; %s %.4f on validation",
        told, best, monitor, metrics[monitor],
    )  # fmt: skip
    table = [{"strength": strength, monitor: value} for strength, value in tried.items()]
    return ChosenStrength({"strength": best, "tried": table}, metrics)
