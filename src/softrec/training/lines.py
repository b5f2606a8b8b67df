"""A line of text for each epoch, for the terminal or a log file."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

LOGGER = logging.getLogger(__name__)


class Listener(Protocol):
    """Its methods are called during a training."""

    def resumed(self, epoch: int) -> None:
        """Called when an interrupted training is resumed in an epoch, counted from 1."""
        ...

    def epoch(self, curve: list[dict[str, float]]) -> None:
        """Called after each epoch with the learning curve so far; an error ends the training."""
        ...


@dataclass(frozen=True)
class Lines:
    """Logs a line for each epoch of a training.

    Args:
        monitor: the validation metric that chooses the best epoch.
        epochs: the maximum number of epochs.
        seconds: how long the training may take, if that is limited.

    Example:
        >>> from softrec.progress import telling
        >>> lines = Lines("ndcg@10", epochs=20)
        >>> times = {"seconds/train": 70.0, "seconds/validate": 5.0}
        >>> with telling(write=print):
        ...     lines.epoch([{"train/loss": 5.1, "valid/ndcg@10": 0.08} | times])
        epoch 1 of 20: ndcg@10 0.0800, the best so far; loss 5.1; 75 s, at most 24 min to go
    """

    monitor: str
    epochs: int
    seconds: float | None = None

    def resumed(self, epoch: int) -> None:
        """Log that an interrupted training is resumed in an epoch, counted from 1."""
        LOGGER.info("going on in epoch %d of %d", epoch, self.epochs)

    def epoch(self, curve: list[dict[str, float]]) -> None:
        """Log a line for the last epoch of a curve."""
        values = [row[f"valid/{self.monitor}"] for row in curve]
        seconds = sorted(row["seconds/train"] + row["seconds/validate"] for row in curve)
        best = values.index(max(values))
        standing = (
            "the best so far"
            if best + 1 == len(curve)
            else f"the best {values[best]:.4f} in epoch {best + 1}"
        )
        left = (self.epochs - len(curve)) * seconds[len(seconds) // 2]
        if self.seconds is not None:
            left = min(left, max(0.0, self.seconds - sum(seconds)))
        took = in_words(curve[-1]["seconds/train"] + curve[-1]["seconds/validate"])
        ahead = f", at most {in_words(left)} to go" if left else ""
        LOGGER.info(
            "%s",
            f"epoch {len(curve)} of {self.epochs}: {self.monitor} {values[-1]:.4f}, {standing}; "
            f"loss {curve[-1]['train/loss']:.5g}; {took}{ahead}",
        )


def in_words(seconds: float) -> str:
    """Return a time as text, in seconds, minutes or hours.

    Example:
        >>> in_words(0.25), in_words(70), in_words(7500)
        ('0.2 s', '70 s', '2 h 5 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
