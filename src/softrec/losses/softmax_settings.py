"""The settings of the softmax losses mixed and decoupled."""

from __future__ import annotations

from typing import Literal

import torch

from softrec.losses.adjustment import AdjustedSettings
from softrec.losses.settings import LossInputs, Term
from softrec.losses.softmax import decoupled, hard, mixed
from softrec.settings import Alpha, setting


class LearntSettings(AdjustedSettings):
    """A loss with a lower bound, whose temperature may be a parameter.

    Losses without a bound, such as sl, could fall without end by a temperature near 0.
    """

    learn_temperature: bool = setting(
        False, "whether score_temperature is only the first value of a parameter"
    )

    @property
    def learns_temperature(self) -> bool:
        """Return whether the temperature is a parameter."""
        return self.learn_temperature

    @property
    def changes_logits(self) -> str:
        """Return the setting by which the logits of training are no scores of rankings."""
        return "learn_temperature" if self.learn_temperature else super().changes_logits


class MixedSettings(LearntSettings, name="mixed"):
    """Cross-entropy with a mixture of label and soft target (SoftRec); for one-hot labels, SSM."""

    def build(self, given: LossInputs) -> Term:
        """Return the mixed loss; with the label alone it is cross-entropy (SSM)."""
        return Term(hard() if given.source is None else mixed())


class DecoupledSettings(LearntSettings, name="decoupled"):
    """DesoRec: "the label or not" and "which of the others" as two terms with separate weights."""

    balance: Alpha | Literal["red-line"] = setting(
        0.5,
        "weight of 'label or not' (lambda2), 0 to 1, or red-line: with it, the gradient has on "
        "average the direction of the mixed loss",
        common=True,
        search="0.05..0.95",
    )

    def check(self, *, soft: bool) -> None:
        """Refuse a missing soft target."""
        if not soft:
            raise ValueError(
                "loss: decoupled separates the label from the rest of a soft target, but there "
                "is no soft target (target: one-hot, or alpha 0); choose a target with alpha "
                "above 0, or loss: mixed"
            )

    def for_label_alone(self) -> MixedSettings:
        """Return the mixed loss, which has nothing to decouple."""
        return MixedSettings(**self.model_dump(exclude={"name", "balance"}))

    def build(self, given: LossInputs) -> Term:
        """Return the decoupled loss."""
        self.check(soft=given.source is not None)
        balance = _red_line(given) if isinstance(self.balance, str) else self.balance
        return Term(decoupled(balance))


def _red_line(given: LossInputs) -> float:
    """Return lambda2* = 1 / (1 + lambda1 (1 - q_y)) at the mean q_y of the first batches.

    With this balance, the gradient of the decoupled loss has, on average, the direction of the
    mixed one.
    """
    assert given.source is not None
    found = [(batch, given.source(batch).prob_of(batch.label)) for batch in given.first_batches()]
    if callable(given.weight):
        others = [(given.weight(batch) * (1 - prob)).double().mean() for batch, prob in found]
        return 1 / (1 + float(torch.stack(others).mean()))
    probs = [prob.double().mean() for _, prob in found]
    return 1 / (1 + given.weight * (1 - float(torch.stack(probs).mean())))
