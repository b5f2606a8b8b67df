"""What early stopping loses by its patience: `python -m benchmarks.stopping`.

Validation rises as 1 - exp(-t / tau) over the epochs t, with noise between epochs; a training stops
when no epoch was better for `patience` epochs, and its best epoch is kept. The loss is how far the
true value of that epoch is below the highest one, in per cent of it.
"""

from __future__ import annotations

import numpy as np
from rich.console import Console
from rich.table import Table

EPOCHS = 300
TRIALS = 2_000


def kept(noisy: np.ndarray, patience: int) -> tuple[int, int]:
    """Return the epoch that is kept, and how many are trained; from 0 and 1."""
    best = 0
    for epoch, value in enumerate(noisy):
        if value > noisy[best]:
            best = epoch
        if epoch - best >= patience:
            return best, epoch + 1
    return best, len(noisy)


def losses(tau: float, noise: float, patience: int) -> tuple[float, float, float]:
    """Return mean and spread of the loss in per cent, and the mean number of epochs."""
    rng = np.random.default_rng(0)
    true = 1 - np.exp(-np.arange(1, EPOCHS + 1) / tau)
    found = [kept(true + noise * rng.standard_normal(EPOCHS), patience) for _ in range(TRIALS)]
    epochs, trained = np.array(found).T
    lost = 100 * (1 - true[epochs] / true.max())
    return float(lost.mean()), float(lost.std()), float(trained.mean())


def main() -> None:
    """Print a table."""
    table = Table(title="loss in per cent ± over trainings (epochs trained)")
    table.add_column("noise, patience")
    for tau in (5, 10, 20):
        table.add_column(f"tau {tau}", justify="right")
    for noise in (0.003, 0.005, 0.01):
        for patience in (2, 3, 4, 5, 10, 20):
            row = (losses(tau, noise, patience) for tau in (5, 10, 20))
            cells = (f"{lost:.2f} ± {spread:.2f} ({n:.0f})" for lost, spread, n in row)
            table.add_row(f"{noise:.1%}, {patience}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
