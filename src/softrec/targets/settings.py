"""What every target says of itself in a recipe: its settings, its mass, and how it is built."""

from __future__ import annotations

from typing import Any, ClassVar

from softrec.registry import Chosen, Registry
from softrec.training_data import TrainingData
from softrec.types import TargetSource

TARGETS: Registry[type[TargetSettings]] = Registry("target", "softrec.targets")

# What settings mean that several targets have.
WEIGHT = "weight of the soft target, 0 to 1"
HALF = "weight of the soft target, 0 to 1; half of it goes to the label"
FLATTER = "temperature of the distribution; larger is flatter"
TEACHER = "a trained run or its recipe (.yaml), whose run is found or trained first"


class TargetSettings(Chosen):
    """A target as a recipe names it.

    A subclass has the settings as fields, and `build`. With a name it can be chosen:

        class MySettings(TargetSettings, name="mine"):
            alpha: Alpha = 0.2

            def build(self, training): ...
    """

    registry: ClassVar[Registry[Any]] = TARGETS
    alone: ClassVar[bool] = False
    """Whether it cannot be a part of a mixture."""

    @property
    def soft_mass(self) -> float:
        """Return the weight of what `build` gives in the target that is trained towards: alpha."""
        return getattr(self, "alpha")  # noqa: B009 - a field of most

    @property
    def shared(self) -> bool:
        """Return whether all rows have the same soft target."""
        return False

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the packages that `build` needs and that only an extra installs."""
        return ()

    def check_teacher(self, teacher: str, model: str) -> None:
        """Refuse a teacher whose model does not fit.

        Raises:
            ValueError: with the remedy.
        """

    def build(self, training: TrainingData) -> TargetSource:
        """Return the source of the soft target, fitted on the training part.

        Raises:
            SoftrecError: if it cannot be fitted on these data.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method build(training)")


class HalfSettings(TargetSettings):
    """A target that is (s + label) / 2 with weight alpha, as in SoftRec."""

    @property
    def soft_mass(self) -> float:
        """Return alpha / 2."""
        return super().soft_mass / 2
