"""The base classes of the settings of losses: their fields, checks, and `build`."""

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
    """The inputs on which a loss may depend, in addition to its settings."""

    source: TargetSource | None
    """Makes the soft target of a batch; None without a soft target."""
    weight: float | Callable[[Batch], Tensor]
    """The weight a of the soft target: a number, or those of the examples of a batch, (P,)."""
    fraction: float
    """The fraction of the items, without the label, that are candidates; 1 for all items."""
    negatives: float
    """How many negatives the sum of a denominator has, or estimates with log Q correction."""
    first_batches: Callable[[], Iterable[Batch]]
    """Returns the first batches of an epoch, without changing the position in it."""


class Border(NamedTuple):
    """The score at a rank, which is subtracted from the scores of a user in training."""

    rank: int  # K
    renew: int  # epochs after which it is computed again


class Term(NamedTuple):
    """A loss, and perhaps a further loss on all labels of a batch, or a border."""

    loss: Mapping[str, tuple[Callable[..., Tensor], float]] | Pairs
    label_part: tuple[Callable[[Tensor, Tensor], Tensor], float] | None = None
    border: Border | None = None


class LossSettings(Chosen):
    """The settings of a softmax loss in a recipe; those of a pairwise loss are `PairwiseSettings`.

    A subclass has its own settings as fields, and a method `build`. With a name it can be chosen:

        class MySettings(LossSettings, name="mine"):
            def build(self, given):
                return Term({"mine": (my_loss, 1.0)})
    """

    registry: ClassVar[Registry[Any]] = LOSSES
    softmax: ClassVar[bool] = True
    """Whether it has a denominator: a softmax over the candidates."""
    needs_fraction: ClassVar[bool] = False
    """Whether it needs to know the fraction of the items that is sampled."""

    score: Kind = setting("inner", SCORE, common=True)
    score_temperature: Temperature = setting(1.0, SCORE_TEMPERATURE, common=True)
    l2: Weight = setting(
        0.0,
        "L2 penalty on the vectors that a batch uses (in graph models, before propagation); "
        "training.weight_decay is on all parameters except biases",
    )

    @property
    def of_batch(self) -> bool:
        """Return whether a part of it is on all labels of a batch together (`Term.label_part`)."""
        return False

    def check(self, *, soft: bool) -> None:
        """Refuse a soft target that the loss cannot use, or a missing one that it needs.

        Raises:
            ValueError: if it does not fit; the message says how to fix it.
        """

    @property
    def changes_logits(self) -> str:
        """Return the setting by which the logits of training are no scores of rankings; or ""."""
        return ""

    @property
    def learns_temperature(self) -> bool:
        """Return whether the temperature is a parameter that begins with score_temperature."""
        return False

    def adjustment(self, counts: Callable[[], Tensor]) -> Tensor | None:
        """Return what is added to the logits in training, (N,), of label counts; or None."""
        return None

    def for_label_alone(self) -> LossSettings:
        """Return the loss that is used without a soft target; by default this one."""
        return self

    def build(self, given: LossInputs) -> Term:
        """Return the loss."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build(given)")


class PairwiseSettings(LossSettings):
    """The settings of a pairwise loss, which accepts no soft target.

    A subclass without settings of its own only names its function: `pairs = staticmethod(my_loss)`.
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
