"""The learning rate over the steps of a training."""

from __future__ import annotations

from math import cos, pi
from typing import Any, Literal, NamedTuple

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

ScheduleName = Literal["constant", "cosine", "plateau"]


class Schedule(NamedTuple):
    r"""How the learning rate changes.

    $$\eta_t = \eta \min(1, (t + 1) / w) \times
      \begin{cases} 1 & constant \\ (1 + \cos(\pi (t - w) / (T - w))) / 2 & cosine, t \ge w
      \end{cases}$$

    in step t of T, with w steps of warm-up. "plateau" halves it after `patience` epochs without a
    better validation, instead. T is of `epochs`, by default of all epochs of a training, which may
    end before them.

    Example:
        >>> [round(Schedule("cosine", warmup=2).factor(t, 6), 2) for t in range(6)]
        [0.5, 1.0, 1.0, 0.85, 0.5, 0.15]
    """

    name: ScheduleName = "constant"
    warmup: int = 0
    patience: int = 3
    epochs: int | None = None

    @property
    def counts(self) -> bool:
        """Return whether it depends on the number of steps."""
        return self.name == "cosine"

    def factor(self, step: int, steps: int) -> float:
        """Return what the learning rate is multiplied by in a step, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        if self.name != "cosine":
            return 1.0
        done = (step - self.warmup) / max(1, steps - self.warmup)
        return (1 + cos(pi * min(1.0, done))) / 2

    def of(self, optimizer: Optimizer, steps: int, monitor: str) -> dict[str, Any] | None:
        """Return what Lightning needs to change the rate of an optimiser; None if it never does.

        Args:
            optimizer: the optimiser.
            steps: T, of the whole training.
            monitor: the logged metric that a plateau is read from; higher is better.
        """
        if self.name == "plateau":
            plateau = ReduceLROnPlateau(optimizer, "max", factor=0.5, patience=self.patience)
            return {"scheduler": plateau, "interval": "epoch", "monitor": monitor}
        if self.name == "constant" and not self.warmup:
            return None
        scheduler = LambdaLR(optimizer, lambda step: self.factor(step, steps))
        return {"scheduler": scheduler, "interval": "step"}
