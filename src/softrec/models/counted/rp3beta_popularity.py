"""RP3beta and the popularity of now: what goes with a history, and what is popular at the end."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from softrec.models.counted.logarithms import FLOOR, Logarithms
from softrec.models.counted.popularity import recent_shares
from softrec.models.counted.rp3beta import RP3Beta
from softrec.models.counted.sparse import TableScores
from softrec.models.registry import MODELS
from softrec.types import Batch, Events


@MODELS.named("rp3beta-popularity")
class RP3BetaPopularity(RP3Beta):
    r"""The logarithms of the shares of RP3beta and of recent popularity, added.

    $$score_j = \log(1 + q_j / \epsilon) + g \log(1 + p_j / \epsilon), \qquad
      q_j = \frac{c_j}{\sum_i c_i}$$

    with the scores c of `rp3beta`, the shares p of `recent-popularity`, and epsilon = 1e-5. It is
    what a prior with popularity is without a trained model. Data without times are refused.

    Args:
        n_items: size N of the catalogue.
        k: the number of neighbours of an item.
        alpha: power of the probabilities of a step.
        beta: a larger beta lowers the scores of popular items more.
        recency: r, weight of an item of the history relative to the item after it.
        popularity: g, the factor of popularity.
        half_life: the fraction of the training period after which an event counts half in p.

    Raises:
        DataError: from `fit`, if the log has no times.
    """

    fits_times, sums = True, False
    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {
        "alpha": (0.5, 1.0),
        "half_life": (0.01, 0.001),
        "popularity": (0.25, 0.5, 1.0, 2.0),
    }
    SCORING: ClassVar[tuple[str, ...]] = ("recency", "popularity")

    recent: Tensor  # (N,) float32, p

    def __init__(
        self,
        n_items: int,
        *,
        k: int = 200,
        alpha: float = 0.5,
        beta: float = 0.1,
        recency: float = 0.8,
        popularity: float = 1.0,
        half_life: float = 0.01,
    ) -> None:
        super().__init__(n_items, k=k, alpha=alpha, beta=beta, recency=recency)
        self.popularity, self.half_life = popularity, half_life
        self.register_buffer("recent", torch.empty(0))

    def fit(self, events: Events) -> None:
        """Compute the walks from every item, and count the events of each, weighted by their age.

        Raises:
            DataError: if the events have no times.
        """
        self.recent = recent_shares(events, self.n_items, self.half_life)
        super().fit(events)

    def forward(self, batch: Batch) -> Logarithms:
        """Return the sums of both logarithms."""
        popular = self.popularity * torch.log1p(self.recent / FLOOR)
        return Logarithms([(TableScores(self, *self.read(batch)), 1.0)], popular)
