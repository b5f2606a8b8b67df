"""Confidence: an event weighs as much as a number of the log says, such as a rating."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch

from softrec.errors import RecipeError
from softrec.settings import Weight, setting
from softrec.training_data import TrainingData
from softrec.weights.base import WeightsSettings
from softrec.weights.stored import OfContexts

Scale = Literal["linear", "log"]


def of_numbers(numbers: np.ndarray, scale: Scale = "linear", least: float = 0.0) -> np.ndarray:
    r"""Return the weights of events by the numbers that a log has of them, (C,) float64, mean 1.

    $$w_e = \frac{c_e}{\bar c}, \qquad c_e = l + r_e \quad \text{or} \quad l + \log(1 + r_e)$$

    Args:
        numbers: r, (C,), finite and not negative, of the events that are labels.
        scale: "linear", or "log" for numbers of which a few are very large, such as dwell times.
        least: l, what an event with the number 0 weighs, in the same unit.

    Raises:
        ValueError: if a number is negative, NaN or infinite, or nothing has a weight.

    Example:
        >>> of_numbers(np.array([1.0, 5.0])).round(2).tolist()
        [0.33, 1.67]

    Source: Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM
    2008, section 4: c = 1 + alpha r and c = 1 + alpha log(1 + r / epsilon); here up to a factor,
    with l = 1 / alpha.
    """
    numbers = np.asarray(numbers, dtype=np.float64)
    wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers >= 0)))
    if len(wrong):
        raise ValueError(
            f"{len(wrong):,} of {len(numbers):,} events "
            f"{'has' if len(wrong) == 1 else 'have'} a number that is negative or not finite, "
            f"such as {numbers[wrong[0]]:g}"
        )
    weights = least + (np.log1p(numbers) if scale == "log" else numbers)
    mean = weights.mean()
    if not mean > 0:
        raise ValueError("all events have the number 0, so that nothing has a weight")
    return weights / mean


class ConfidenceSettings(WeightsSettings, name="confidence"):
    """Events weigh by the weight column of the log: ratings, dwell times, kinds of events."""

    reads_column: ClassVar[bool] = True

    scale: Scale = setting(
        "linear",
        "of the numbers in the column data.weight: as they are, or log(1 + number)",
    )
    least: Weight = setting(0.0, "added to each number: what an event with the number 0 weighs")

    def build(self, training: TrainingData) -> OfContexts:
        """Return the weights of the labels, divided by their mean.

        Raises:
            RecipeError: if the log has no such column, or a number is no weight.
        """
        data, events = training.data, training.split.train.ordered
        if "weight" not in events.columns:
            raise RecipeError(
                "weights: confidence reads a number of each event, and the log has no column of "
                "weights; name it with --weight (in Python: weight=), or choose other weights"
            )
        _, _, label = data.stretches(np.arange(data.n_contexts))
        try:
            weights = of_numbers(events["weight"].to_numpy()[label], self.scale, self.least)
        except ValueError as error:
            raise RecipeError(
                f"weights: confidence: {error}; drop these events or give numbers from 0 up, such "
                "as 1 to 5, or name another column with --weight (in Python: weight=)"
            ) from error
        return OfContexts(torch.from_numpy(weights), data)
