"""A weighted sum of targets is a target: both of its answers are linear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
