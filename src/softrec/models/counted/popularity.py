"""Popularity: the same scores for all users."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from softrec.errors import DataError
from softrec.models.registry import MODELS
from softrec.types import Batch, Events, ItemVectors, Products, Scorer


def recent_shares(events: Events, n_items: int, half_life: float) -> Tensor:
    """Return the scores of `recent-popularity`, divided by their sum, (N,) float32.

    Raises:
        DataError: if the events have no times.
    """
    found = RecentPopularity(n_items, half_life=half_life)
    found.fit(events)
    return found.weights / found.weights.sum()


class _Popular(Scorer):
    """Every user has the same scores, stored as one number per item."""

    weights: Tensor  # (N,) float32

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.n_items = n_items
        self.register_buffer("weights", torch.empty(0))

    def forward(self, batch: Batch) -> Products:
        """Return the same scores for each prediction."""
        rows = self.weights.new_ones(len(batch.label), 1)
        return Products(rows, ItemVectors(self.weights[:, None]))


@MODELS.named("popularity")
class Popularity(_Popular):
    """The items with the most events come first: score_i = n_i, the events of the training part.

    Args:
        n_items: size N of the catalogue.

    Example:
        >>> model = Popularity(3)
        >>> model.fit(Events(torch.tensor([0, 1, 3]), torch.tensor([2, 2, 1])))
        >>> model.weights
        tensor([0., 1., 2.])
    """

    def fit(self, events: Events) -> None:
        """Count the events of each item."""
        self.weights = events.items.bincount(minlength=self.n_items).float()


@MODELS.named("recent-popularity")
class RecentPopularity(_Popular):
    r"""The events of each item, where older events count less; data without times are refused.

    $$score_i = \sum_{e: item_e = i} 2^{-(t_{last} - t_e) / (h (t_{last} - t_{first}))}$$

    with the times of the training part and the half-life h as a fraction of the whole period.

    Args:
        n_items: size N of the catalogue.
        half_life: h, the fraction of the training period after which an event counts half.

    Raises:
        DataError: from `fit`, if the log has no times.

    Example:
        >>> model = RecentPopularity(2, half_life=0.5)
        >>> times = torch.tensor([0, 10, 20])
        >>> model.fit(Events(torch.tensor([0, 3]), torch.tensor([0, 1, 1]), times))
        >>> model.weights
        tensor([0.2500, 1.5000])
    """

    fits_times = True
    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {"half_life": (0.3, 0.1, 0.03, 0.01, 0.003, 0.001)}

    def __init__(self, n_items: int, *, half_life: float = 0.1) -> None:
        super().__init__(n_items)
        self.half_life = half_life

    def fit(self, events: Events) -> None:
        """Count the events of each item, weighted by their age."""
        if events.times is None:
            raise DataError(
                "recent-popularity counts events by their times, and the log has none; name their "
                "column with --time, or use popularity"
            )
        times = events.times.double()
        span = max(float(times.max() - times.min()), 1.0)
        ages = (times.max() - times) / (self.half_life * span)
        self.weights = events.items.bincount(torch.exp2(-ages), self.n_items).float()
