"""SL@K: labels near or above the border of a list of K items weigh more."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from softrec.settings import Rounds, Temperature, setting
from softrec.training_data import TrainingData
from softrec.types import Batch, Encoder
from softrec.weights.base import WeightsSettings
from softrec.weights.thresholds import Thresholds


class AtRank(NamedTuple):
    """Weights by the distance of the label's score to a threshold.

    Formula: sigmoid((z_y - b) / tau), in (0, 1).

    Example:
        >>> from torch import tensor
        >>> AtRank(tensor([1.0]), 2.0)(tensor([1.0]), slice(0, 1))
        tensor([0.5000])
    """

    threshold: Tensor  # (P,) b
    temperature: float  # tau
    gradient: bool = True  # whether the weight has a gradient in z_y

    def __call__(self, label_logit: Tensor, rows: slice) -> Tensor:
        """Return the weights of some rows."""
        logit = label_logit if self.gradient else label_logit.detach()
        return ((logit - self.threshold[rows]) / self.temperature).sigmoid()


class SlatkWeights(nn.Module):
    """The weights of SL@K: sigmoid((f_y - b_u) / tau), with b_u the score at rank K.

    Args:
        thresholds: b, of the logits, which are scores divided by a temperature.
        temperature: tau, of the logits.
        gradient: whether the weights have a gradient in the label's score.
    """

    def __init__(self, thresholds: Thresholds, temperature: float, *, gradient: bool) -> None:
        super().__init__()
        self.thresholds, self.temperature, self.gradient = thresholds, temperature, gradient

    def begin_epoch(self, encoder: Encoder, epoch: int) -> None:
        """Compute the thresholds if it is time to."""
        self.thresholds.begin_epoch(encoder, epoch)

    def forward(self, batch: Batch) -> AtRank:
        """Return the weights of the examples of `batch`, as a function of the labels' logits."""
        return AtRank(self.thresholds(batch), self.temperature, self.gradient)


class SlatkSettings(WeightsSettings, name="slatk"):
    """SL@K, with loss sl: labels at or above the border of the user's best K items weigh more."""

    reads_scores: ClassVar[bool] = True

    rank: Rounds = setting(20, "K, the length of the lists that matter", common=True)
    weight_temperature: Temperature = setting(
        4.0,
        "how far around the score at rank K the weight rises from 0 to 1, in units of the score "
        "before it is divided by score_temperature",
        common=True,
        search="2..16:log",
    )
    renew: Rounds = setting(5, "epochs after which the scores at rank K are computed again")
    gradient: bool = setting(
        True, "whether the weight has a gradient in the label's score, as in the authors' code"
    )

    def build(self, training: TrainingData) -> SlatkWeights:
        """Return the source of the weights.

        Raises:
            RecipeError: if there are fewer than K items.
        """
        thresholds = Thresholds.of(training, self.rank, self.renew, "weights.rank")
        temperature = self.weight_temperature / training.scoring.temperature
        return SlatkWeights(thresholds, temperature, gradient=self.gradient)
