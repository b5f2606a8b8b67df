"""A weighted sum of targets is a target: both of its answers are linear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import BeforeValidator, SerializeAsAny, field_validator, model_validator
from torch import Tensor

from softrec.settings import Alpha, Settings, setting
from softrec.targets.settings import TargetSettings
from softrec.training_data import TrainingData
from softrec.types import Batch, Others, Target, TargetSource, add_mean_gradient, without


@dataclass(frozen=True)
class MixtureTarget:
    """The sum of several targets, each with its share; the shares sum to 1.

    Formula: s = sum_r share_r s^(r).

    Example:
        >>> from softrec.targets.smoothing import PopularityTarget, UniformTarget
        >>> both = MixtureTarget(
        ...     (UniformTarget(2), PopularityTarget(torch.tensor([1.0, 0.0]))), (0.5, 0.5)
        ... )
        >>> both.prob_of(torch.tensor([0, 1]))
        tensor([0.7500, 0.2500])
    """

    targets: tuple[Target, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        check_shares(self.shares, len(self.targets))

    def prob_of(self, items: Tensor) -> Tensor:
        """Return the weighted sum of the answers, (P,) or (P, M)."""
        answers = [t.prob_of(items) for t in self.targets]
        return torch.stack([s * a for s, a in zip(self.shares, answers, strict=True)]).sum(0)

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the weighted sum of the mean items, (P, D), or (1, D) if all are shared."""
        means = [t.mean_item(vectors) for t in self.targets]
        weighted = [s * m for s, m in zip(self.shares, means, strict=True)]
        return sum(weighted[1:], start=weighted[0])

    def spread(self, rows: Tensor, out: Tensor) -> None:
        """Add the ways back of all, each with its share."""
        for share, target in zip(self.shares, self.targets, strict=True):
            shared = len(target.mean_item(out[:, :1])) == 1
            add_mean_gradient(target, share * (rows.sum(0, keepdim=True) if shared else rows), out)

    def without(self, place: Tensor) -> Others:
        """Return the mixture of what each leaves."""
        parts = [without(target, place) for target in self.targets]
        surplus, mass = (
            torch.stack([s * number for s, number in zip(self.shares, numbers, strict=True)]).sum(0)
            for numbers in ([part.surplus for part in parts], [part.mass for part in parts])
        )
        others = MixtureTarget(tuple(part.target for part in parts), self.shares)
        return Others(others, surplus, mass)


@dataclass(frozen=True)
class MixtureSource:
    """Makes the mixture of what several sources say of a batch."""

    sources: tuple[TargetSource, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        check_shares(self.shares, len(self.sources))

    def __call__(self, batch: Batch) -> MixtureTarget:
        """Return the mixture for `batch`."""
        return MixtureTarget(tuple(source(batch) for source in self.sources), self.shares)


def check_shares(shares: Sequence[float], count: int) -> None:
    """Refuse shares that are not a distribution over `count` targets."""
    fits = len(shares) == count and all(share >= 0 for share in shares)
    if not (fits and abs(sum(shares) - 1) <= 1e-6):
        raise ValueError(f"expected {count} shares of at least 0 that sum to 1, got {shares}")


# --- in a recipe ---


class PartSettings(Settings):
    """One part of a mixture."""

    share: float = setting(text="of the mass of the whole", gt=0, le=1)
    target: Annotated[SerializeAsAny[TargetSettings], BeforeValidator(TargetSettings.read)] = (
        setting(text="any target but one-hot and mixture; its alpha has no meaning")
    )

    @field_validator("target")
    @classmethod
    def _no_other_mixture(cls, target: TargetSettings) -> TargetSettings:
        if target.alone:
            raise ValueError(f"{target.name} cannot be a part of a mixture; choose a soft target")
        return target


class MixtureSettings(TargetSettings, name="mixture"):
    """Several soft targets in one; alpha is the weight of all together."""

    alone: ClassVar[bool] = True

    alpha: Alpha = setting(0.2, "weight of the soft target", common=True)
    of: tuple[PartSettings, ...] = setting(
        text="parts, each with a share and a target; the shares sum to 1", min_length=1,
        max_length=100,
    )  # fmt: skip

    @model_validator(mode="after")
    def _sums_to_one(self) -> MixtureSettings:
        total = sum(part.share for part in self.of)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of a mixture sum to 1, these to {total:g}")
        return self

    @property
    def shared(self) -> bool:
        """Return whether all parts are the same for all rows."""
        return all(part.target.shared for part in self.of)

    def build(self, training: TrainingData) -> MixtureSource:
        """Return the mixture of the sources of its parts."""
        return MixtureSource(
            tuple(part.target.build(training) for part in self.of),
            tuple(part.share for part in self.of),
        )
