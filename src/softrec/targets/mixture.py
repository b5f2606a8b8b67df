"""A weighted sum of targets is a target, because its two methods are linear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BeforeValidator, SerializeAsAny, field_validator, model_validator
from torch import Tensor, nn

from softrec.settings import Alpha, Settings, setting
from softrec.targets.settings import ALPHAS, WEIGHT, TargetSettings
from softrec.training_data import TrainingData
from softrec.types import Batch, Following, Rest, Target, TargetSource


@dataclass(frozen=True)
class MixtureTarget(Target):
    """The sum of several targets, each with its weight; the weights sum to 1.

    Formula: s = sum_r weight_r s^(r).

    Example:
        >>> from softrec.targets.smoothing import PopularityTarget, UniformTarget
        >>> both = MixtureTarget(
        ...     (UniformTarget(2), PopularityTarget(torch.tensor([1.0, 0.0]))), (0.5, 0.5)
        ... )
        >>> both.prob_of(torch.tensor([0, 1]))
        tensor([0.7500, 0.2500])
    """

    targets: tuple[Target, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        check_weights(self.weights, len(self.targets))

    def prob_of(self, items: Tensor) -> Tensor:
        """Return the weighted sum of the probabilities, (P,) or (P, M)."""
        answers = [t.prob_of(items) for t in self.targets]
        return torch.stack([w * a for w, a in zip(self.weights, answers, strict=True)]).sum(0)

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the weighted sum of the mean items, (P, D), or (1, D) if all rows are the same."""
        means = [t.mean_item(vectors) for t in self.targets]
        weighted = [w * m for w, m in zip(self.weights, means, strict=True)]
        return sum(weighted[1:], start=weighted[0])

    def add_mean_gradient(self, rows: Tensor, out: Tensor) -> None:
        """Add the gradients of all components, multiplied by their weights."""
        for weight, target in zip(self.weights, self.targets, strict=True):
            shared = len(target.mean_item(out[:, :1])) == 1
            given = rows.sum(0, keepdim=True) if shared else rows
            target.add_mean_gradient(weight * given, out)

    def part(self, items: slice, n_items: int) -> MixtureTarget:
        """Return the mixture of the components' parts."""
        return MixtureTarget(tuple(t.part(items, n_items) for t in self.targets), self.weights)

    def without(self, place: Tensor) -> Rest:
        """Return the mixture of the components without the item."""
        parts = [target.without(place) for target in self.targets]
        surplus, mass = (
            torch.stack([w * n for w, n in zip(self.weights, numbers, strict=True)]).sum(0)
            for numbers in ([part.surplus for part in parts], [part.mass for part in parts])
        )
        rest = MixtureTarget(tuple(part.target for part in parts), self.weights)
        return Rest(rest, surplus, mass)


class MixtureSource(nn.Module):
    """Makes the mixture of the targets of several sources.

    Args:
        sources: of the components.
        weights: of the components; they sum to 1.
    """

    def __init__(self, sources: Sequence[TargetSource], weights: Sequence[float]) -> None:
        super().__init__()
        check_weights(weights, len(sources))
        self.sources = tuple(sources)
        self.weights = tuple(weights)
        # Sources that are modules move with this one; functions have nothing to move.
        self.moved = nn.ModuleList(source for source in sources if isinstance(source, nn.Module))

    def forward(self, batch: Batch) -> MixtureTarget:
        """Return the mixture for `batch`."""
        return MixtureTarget(tuple(source(batch) for source in self.sources), self.weights)

    def after_step(self) -> None:
        """Let those sources read the model that follow it."""
        for source in self.sources:
            if isinstance(source, Following):
                source.after_step()


def check_weights(weights: Sequence[float], count: int) -> None:
    """Refuse weights that are not a distribution over `count` targets."""
    fits = len(weights) == count and all(weight >= 0 for weight in weights)
    if not (fits and abs(sum(weights) - 1) <= 1e-6):
        raise ValueError(f"expected {count} weights of at least 0 that sum to 1, got {weights}")


# --- in a recipe ---


class PartSettings(Settings):
    """One component of a mixture."""

    weight: float = setting(text="of the target in the mixture", gt=0, le=1)
    target: Annotated[SerializeAsAny[TargetSettings], BeforeValidator(TargetSettings.read)] = (
        setting(text="any target except one-hot and mixture; its alpha is ignored")
    )

    @field_validator("target")
    @classmethod
    def _no_other_mixture(cls, target: TargetSettings) -> TargetSettings:
        if target.alone:
            raise ValueError(
                f"{target.name} cannot be a component of a mixture; choose a soft target"
            )
        if target.mass is not None:
            raise ValueError(
                f"the weight of {target.name} in a mixture is the component's; give mass to the "
                "mixture"
            )
        return target


class MixtureSettings(TargetSettings, name="mixture"):
    """A weighted mixture of several soft targets; alpha is the weight of the mixture."""

    alone: ClassVar[bool] = True

    alpha: Alpha = setting(0.2, WEIGHT, common=True, search=ALPHAS)
    of: tuple[PartSettings, ...] = setting(
        text="components, each with a weight and a target; the weights sum to 1",
        min_length=1,
        max_length=100,
    )

    @model_validator(mode="after")
    def _sums_to_one(self) -> MixtureSettings:
        total = sum(part.weight for part in self.of)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the weights of a mixture must sum to 1, got a sum of {total:g}")
        return self

    @property
    def shared(self) -> bool:
        """Return whether all components are the same for all rows."""
        return all(part.target.shared for part in self.of)

    @property
    def in_parts(self) -> bool:
        """Return whether all components answer for a part of the items."""
        return all(part.target.in_parts for part in self.of)

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files that its components read."""
        return tuple(file for part in self.of for file in part.target.files)

    @property
    def with_prior(self) -> bool:
        """Return whether all components may be trained with a prior."""
        return all(part.target.with_prior for part in self.of)

    @property
    def packages(self) -> tuple[str, ...]:
        """Return the packages that its components need."""
        return tuple(package for part in self.of for package in part.target.packages)

    @property
    def tables(self) -> tuple[Mapping[str, Any], ...]:
        """Return the counted models that its components read."""
        return tuple(table for part in self.of for table in part.target.tables)

    def build(self, training: TrainingData) -> MixtureSource:
        """Return the mixture of the sources of its components."""
        return MixtureSource(
            tuple(part.target.build(training) for part in self.of),
            tuple(part.weight for part in self.of),
        )
