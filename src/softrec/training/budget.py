"""How long a training may take, for a log of which nobody knows how long an epoch is."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from softrec.training.lines import in_words

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """Ends a training of whole epochs, at least one, before its minutes are over.

    Args:
        minutes: of all epochs with their validation, and of a refit.
        refit: how many times as long an epoch is when the model is trained once more, for as many
            epochs as the best one took; so the next epoch, were it the best one, would cost its
            number of epochs again. 0: there is no refit.

    Example:
        >>> hour = [{"seconds/train": 3500.0, "seconds/validate": 100.0}]
        >>> Budget(150).is_over(hour), Budget(150, refit=1.1).is_over(hour)
        (False, True)
    """

    minutes: float
    refit: float = 0.0

    @property
    def seconds(self) -> float:
        """Return the budget in seconds."""
        return 60 * self.minutes

    def is_over(self, curve: Sequence[Mapping[str, float]]) -> bool:
        """Return whether one more epoch, and the refit it may ask for, would take too long.

        Args:
            curve: a row for each epoch so far.
        """
        spent = sum(row["seconds/train"] + row["seconds/validate"] for row in curve)
        train, validate = (_median(curve, name) for name in ("seconds/train", "seconds/validate"))
        again = self.refit * (len(curve) + 1) * train
        over = spent + train + validate + again > self.seconds
        if over:
            ahead = "one more and the refit" if self.refit else "one more"
            LOGGER.info(
                "the training ends after epoch %d: %s would take longer than %s",
                len(curve), ahead, in_words(self.seconds),
            )  # fmt: skip
        return over


def _median(curve: Sequence[Mapping[str, float]], name: str) -> float:
    return sorted(row[name] for row in curve)[len(curve) // 2]
