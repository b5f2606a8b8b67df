"""The settings of a loss in a recipe: its fields, what it accepts, and how it is built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from softrec.registry import Chosen, Registry
from softrec.scoring import Kind
from softrec.settings import Temperature, Weight, setting
from softrec.types import Batch, TargetSource

Pairs = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(label (P,), others (P, M), count) -> one value per row."""

SCORE = "how the score is computed from a user and an item vector"
SCORE_TEMPERATURE = "scores are divided by it in training"
LOSSES: Registry[type[LossSettings]] = Registry("loss", "softrec.losses")


class LossInputs(NamedTuple):
    """What a loss may depend on, other than its own settings."""

    source: TargetSource | None
    """Makes the soft target of a batch; None where there is none."""
    weight: float
    """The weight a of the soft target."""
    fraction: float
    """Which fraction of the items but the label are scored against it; 1 for the catalogue."""
    first_batches: Callable[[], Iterable[Batch]]
    """Return the first batches of an epoch, without moving its order on."""


class Term(NamedTuple):
    """A loss, and what it asks of the labels of a whole batch."""

    loss: Mapping[str, tuple[Callable[..., Tensor], float]] | Pairs
    label_part: tuple[Callable[[Tensor, Tensor], Tensor], float] | None = None


class LossSettings(Chosen):
    """A softmax loss as a recipe names it; `PairwiseSettings` are those on pairs of scores.

    A subclass has its own settings as fields, and `build`. With a name it can be chosen:

        class MySettings(LossSettings, name="mine"):
            def build(self, given):
                return Term({"mine": (my_loss, 1.0)})
    """

    registry: ClassVar[Registry[Any]] = LOSSES
    softmax: ClassVar[bool] = True
    """Whether it has a denominator: a softmax over the candidates."""
    needs_fraction: ClassVar[bool] = False
    """Whether it must know which fraction of the items is drawn."""

    score: Kind = setting("inner", SCORE, common=True)
    score_temperature: Temperature = setting(1.0, SCORE_TEMPERATURE, common=True)
    l2: Weight = setting(
        0.0,
        "L2 penalty on the vectors that a batch uses (in graph models, before propagation); "
        "training.weight_decay is on all parameters except biases",
    )

    def check(self, *, soft: bool) -> None:
        """Refuse a soft target that the loss has no place for, or none where it needs one.

        Raises:
            ValueError: with the remedy.
        """

    def for_label_alone(self) -> LossSettings:
        """Return the loss to use instead of this one where there is no soft target."""
        return self

    def build(self, given: LossInputs) -> Term:
        """Return the loss."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build(given)")


class PairwiseSettings(LossSettings):
    """A loss on pairs of scores: the label's and another item's. It accepts no soft target.

    A subclass without settings of its own names its function: `pairs = staticmethod(my_loss)`.
    """

    softmax: ClassVar[bool] = False
    pairs: ClassVar[Pairs]

    def check(self, *, soft: bool) -> None:
        """Refuse a soft target."""
        if soft:
            softmax = ", ".join(name for name, loss in LOSSES.items() if loss.softmax)
            raise ValueError(
                f"loss: {self.name} compares the label with single items and cannot use a soft "
                f"target; choose target: one-hot, or a softmax loss ({softmax})"
            )

    def build(self, given: LossInputs) -> Term:
        """Return the loss."""
        return Term(self.pairs)
