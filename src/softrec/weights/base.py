"""The base class of the settings of weights, and equal weights."""

from __future__ import annotations

from typing import Any, ClassVar

from softrec.registry import Chosen, Registry
from softrec.training_data import TrainingData
from softrec.types import WeightSource

WEIGHTS: Registry[type[WeightsSettings]] = Registry("weights", "softrec.weights")


class WeightsSettings(Chosen):
    """The settings of weights in a recipe: a subclass has settings as fields, and `build`."""

    registry: ClassVar[Registry[Any]] = WEIGHTS
    reads_scores: ClassVar[bool] = False
    """Whether the weights depend on rankings of the model while it is trained."""
    reads_column: ClassVar[bool] = False
    """Whether the weights are made of the weight column of the log."""

    def check(self, changes: str) -> None:
        """Refuse logits of training that are no scores of rankings, if both are compared.

        Args:
            changes: the setting that makes them differ; "" if they are the same.

        Raises:
            ValueError: if there is one.
        """
        if changes and self.reads_scores:
            raise ValueError(
                f"weights: {self.name} compares scores in training with scores of rankings, and "
                f"only one of them has {changes}; choose other weights, or no {changes}"
            )

    def build(self, training: TrainingData) -> WeightSource | None:
        """Return the source of the weights; None if they are all 1.

        Raises:
            RecipeError: if the training part lacks what they are made of.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method build(training)")


class EqualSettings(WeightsSettings, name="equal"):
    """All examples weigh 1."""

    def build(self, training: TrainingData) -> None:
        """Return None, because nothing is weighed."""
