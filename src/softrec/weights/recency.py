"""Recency: recent events weigh more than old ones."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch

from softrec.errors import RecipeError
from softrec.settings import setting
from softrec.training_data import TrainingData
from softrec.weights.base import WeightsSettings
from softrec.weights.stored import OfContexts, averaging_one


def ages_in_time(times: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return how long before the last event the labels are, as fractions of all the time, (C,).

    Args:
        times: (E,) of the events of the training part.
        label: (C,) the places of the labels among them.
    """
    last, first = int(times.max()), int(times.min())
    return (last - times[label]) / max(1, last - first)


def ages_in_events(offsets: np.ndarray, user: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return how many later events of the same user there are, (C,).

    Args:
        offsets: (U + 1,) where the events of each user begin.
        user: (C,) of the labels.
        label: (C,) the places of the labels among the events.
    """
    return offsets[user + 1] - 1 - label


class RecencySettings(WeightsSettings, name="recency"):
    """Recent labels weigh more: the weight halves with every half-life."""

    by: Literal["time", "events"] = setting(
        "time",
        "age of a label: time before the end of the training part, as a fraction of all its time, "
        "or events of the same user since then",
    )
    half_life: float = setting(
        0.25,
        "the age at which a weight is half that of the newest label",
        gt=0,
        le=1e9,
        search="0.05..2:log",
    )

    def build(self, training: TrainingData) -> OfContexts:
        """Return the weights 2^(-age / half-life), divided by their mean.

        Raises:
            RecipeError: if the log has no times, and `by` is time.
        """
        data = training.data
        example, _, label = data.stretches(np.arange(data.n_contexts))
        if self.by == "events":
            age = ages_in_events(data.sequences.offsets, data.user[example], label)
        elif data.sequences.times is None:
            raise RecipeError(
                "weights: recency by time reads the times of events, and the log has none; name "
                "their column with --time, or choose by: events"
            )
        else:
            age = ages_in_time(data.sequences.times, label)
        weights = torch.from_numpy(np.exp2(-age / self.half_life))
        return OfContexts(averaging_one(weights), data)
