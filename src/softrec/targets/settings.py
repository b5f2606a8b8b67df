"""The base class of the settings of targets: the weight of the soft target, and `build`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import field_validator

from softrec.registry import Chosen, Registry
from softrec.settings import setting
from softrec.targets.mass import Mass, MassSettings
from softrec.training_data import TrainingData
from softrec.types import TargetSource

TARGETS: Registry[type[TargetSettings]] = Registry("target", "softrec.targets")

# The descriptions of settings that several targets have.
WEIGHT = "weight of the soft target, 0 to 1"
HALF = "weight of the soft target, 0 to 1; half of it goes to the label"
FLATTER = "temperature of the distribution; larger is flatter"
# What a search tries of them.
ALPHAS = "0.02..0.95"
TEMPERATURES = "0.5..4:log"
TEACHER = "a trained run, or its recipe (.yaml), which is trained first unless it is in the cache"


class TargetSettings(Chosen):
    """The settings of a target in a recipe.

    A subclass has settings as fields, and a method `build`. With a name it can be chosen:

        class MySettings(TargetSettings, name="mine"):
            alpha: Alpha = 0.2

            def build(self, training): ...
    """

    registry: ClassVar[Registry[Any]] = TARGETS
    alone: ClassVar[bool] = False
    """Whether it cannot be a component of a mixture."""

    mass: MassSettings | None = setting(
        None,
        "how the weight of the soft target differs between examples and epochs, by its `by` or "
        "with its settings; by default it is the same",
    )

    @field_validator("mass", mode="before")
    @classmethod
    def _mass_by_name(cls, mass: Any) -> Any:
        """Accept what it depends on alone."""
        return {"by": mass} if isinstance(mass, str) else mass

    def weight_on(self, training: TrainingData) -> float | Mass:
        """Return the weight of the soft target: one number, or a function of a batch."""
        return (
            self.soft_weight if self.mass is None else self.mass.build(self.soft_weight, training)
        )

    @property
    def soft_weight(self) -> float:
        """Return a, the weight of the soft target of `build` in q = (1 - a) e_y + a s: alpha."""
        return getattr(self, "alpha")  # noqa: B009 - a field of most

    @property
    def shared(self) -> bool:
        """Return whether all rows have the same soft target."""
        return False

    @property
    def in_parts(self) -> bool:
        """Return whether its targets answer for a part of the items, as shards of them need."""
        return False

    @property
    def with_prior(self) -> bool:
        """Return whether the model may be trained with a prior on its logits."""
        return True

    @property
    def tables(self) -> tuple[Mapping[str, Any], ...]:
        """Return the settings of the counted models whose tables of items it reads."""
        return ()

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files that it reads."""
        return ()

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the packages that `build` needs and that only an extra installs."""
        return ()

    def check_teacher(self, teacher: str, model: str) -> None:
        """Refuse a teacher whose model does not fit.

        Raises:
            ValueError: if it does not fit; the message says how to fix it.
        """

    def build(self, training: TrainingData) -> TargetSource:
        """Return the source of the soft target, fitted on the training part.

        Raises:
            SoftrecError: if it cannot be fitted on these data.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method build(training)")


class HalfSettings(TargetSettings):
    """A target (s + e_y) / 2 with weight alpha, as in SoftRec; so the weight of s is alpha / 2."""

    @property
    def soft_weight(self) -> float:
        """Return a = alpha / 2, the weight of the soft target s."""
        return super().soft_weight / 2
