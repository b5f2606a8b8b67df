"""Inverse propensity: rare labels weigh more than frequent ones."""

from __future__ import annotations

from torch import Tensor

from softrec.settings import Alpha, setting
from softrec.training_data import TrainingData
from softrec.weights.base import WeightsSettings
from softrec.weights.stored import OfLabels, averaging_one


def of_labels(counts: Tensor, power: float, clip: float) -> Tensor:
    """Return the weight of each item as a label, (N,), 1 on average over an epoch's labels.

    Formula: w_i = n_i^-power, divided by its mean over the labels; larger ones are set to `clip`,
    and the result is divided by its mean once more. With power 1 and without clipping each item
    weighs the same in total, as if all were equally often shown (a propensity p_i in proportion to
    n_i). An item that is never a label counts as if it were one once.

    Args:
        counts: n, (N,), how often each item is a label.
        power: from 0 (equal weights) to 1.
        clip: the largest weight, as a multiple of the mean; it limits the variance.

    Example:
        >>> import torch
        >>> of_labels(torch.tensor([1.0, 4.0]), power=1.0, clip=9.0)
        tensor([2.5000, 0.6250])

    Source: Schnabel et al., "Recommendations as Treatments: Debiasing Learning and Evaluation",
    ICML 2016; the power as in Yang et al., "Unbiased Offline Recommender Evaluation for
    Missing-Not-At-Random Implicit Feedback", RecSys 2018; clipping as in Saito et al., "Unbiased
    Recommender Learning from Missing-Not-At-Random Implicit Feedback", WSDM 2020.
    """
    raw = averaging_one(counts.clamp(min=1) ** -power, counts)
    return averaging_one(raw.clamp(max=clip), counts)


class InversePropensitySettings(WeightsSettings, name="inverse-propensity"):
    """Rare labels weigh more: by a negative power of how often an item is a label."""

    power: Alpha = setting(
        0.5, "0: equal weights; 1: all items weigh the same in total", search="0..1"
    )
    clip: float = setting(
        10.0, "the largest weight, as a multiple of the mean", ge=1, le=1e9, search="2..50:log"
    )

    def build(self, training: TrainingData) -> OfLabels:
        """Return the weights of the labels."""
        return OfLabels(of_labels(training.label_counts, self.power, self.clip))
