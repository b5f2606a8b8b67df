"""The objective: named softmax losses towards a soft target, over a set of candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from softrec.losses.softmax import ObjectiveValue, Parts, hard, mixed
from softrec.losses.streaming import streamed_softmax
from softrec.types import Batch, Encoder, ItemVectors, Target, TargetSource

SoftmaxPass = Callable[[Parts, Tensor, ItemVectors, Tensor, Target | None, float], ObjectiveValue]


@dataclass(frozen=True)
class Objective:
    """What a model is trained towards.

    Example:
        >>> from softrec.targets.smoothing import UniformTarget
        >>> Objective.towards(UniformTarget(100), weight=0.1).weight
        0.1

    Args:
        parts: named losses and their coefficients.
        source: makes the soft target of a batch; None where only the label counts.
        weight: the weight a of the soft target in q = (1 - a) e_y + a s, in [0, 1]: the
            effective soft mass.
        softmax: how the statistics come about; the reference has the same signature.
    """

    parts: Parts = field(default_factory=hard)
    source: TargetSource | None = None
    weight: float = 0.0
    softmax: SoftmaxPass = streamed_softmax

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"the weight of the soft target must be in [0, 1], got {self.weight}")

    @classmethod
    def towards(cls, source: TargetSource, weight: float) -> Objective:
        """Return the mixed objective: cross-entropy with (1 - weight) label + weight target."""
        return cls(parts=mixed(), source=source, weight=weight)

    def __call__(self, encoder: Encoder, batch: Batch) -> ObjectiveValue:
        """Return the mean loss of `encoder` on `batch` and its named parts, per example."""
        target = None if self.source is None else self.source(batch)
        return self.softmax(
            self.parts, encoder.users(batch), encoder.items(), batch.label, target, self.weight
        )
