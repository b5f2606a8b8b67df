"""A line of text for each epoch, for the terminal or a log file."""

from __future__ import annotations

import logging
from dataclasses import dataclass

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lines:
    """Logs a line for each epoch of a training.

    Args:
        monitor: the validation metric that chooses the best epoch.
        epochs: the maximum number of epochs.

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
        left = self.epochs - len(curve)
        took = _time(curve[-1]["seconds/train"] + curve[-1]["seconds/validate"])
        ahead = f", at most {_time(left * seconds[len(seconds) // 2])} to go" if left else ""
        LOGGER.info(
            "%s",
            f"epoch {len(curve)} of {self.epochs}: {self.monitor} {values[-1]:.4f}, {standing}; "
            f"loss {curve[-1]['train/loss']:.5g}; {took}{ahead}",
        )


def _time(seconds: float) -> str:
    """Return a time as text, in seconds, minutes or hours."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
