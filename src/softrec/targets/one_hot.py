"""One-hot targets: the label alone, as in usual training."""

from __future__ import annotations

from typing import ClassVar

from pydantic import field_validator

from softrec.errors import RecipeError
from softrec.targets.mass import MassSettings
from softrec.targets.settings import TargetSettings
from softrec.training_data import TrainingData
from softrec.types import TargetSource


class OneHotSettings(TargetSettings, name="one-hot"):
    """The label alone."""

    alone: ClassVar[bool] = True

    @field_validator("mass")
    @classmethod
    def _no_mass(cls, mass: MassSettings | None) -> None:
        if mass is not None:
            raise ValueError("there is no soft target whose weight it could be; leave it out")

    @property
    def soft_weight(self) -> float:
        """Return 0: there is no soft target."""
        return 0.0

    def build(self, training: TrainingData) -> TargetSource:
        """Raise an error, because there is no soft target to build."""
        raise RecipeError("one-hot is the label alone; there is no soft target to build")
