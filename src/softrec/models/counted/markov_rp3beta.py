"""A Markov chain and RP3beta: what follows the items of a history, and what goes with them."""

from __future__ import annotations

from typing import Any, ClassVar

from softrec.models.counted.logarithms import Logarithms
from softrec.models.counted.markov import Markov
from softrec.models.counted.rp3beta import RP3Beta
from softrec.models.counted.sparse import TableScores
from softrec.models.registry import MODELS
from softrec.types import Batch, Events


@MODELS.named("markov-rp3beta")
class MarkovRP3Beta(RP3Beta):
    r"""The logarithms of the shares of a Markov chain and of RP3beta, added.

    $$score_j = \log(1 + q_j / \epsilon) + g \log(1 + q'_j / \epsilon), \qquad
      q_j = \frac{c_j}{\sum_i c_i}$$

    with the scores c of `markov`, the shares q' of `rp3beta`, and epsilon = 1e-5. It is what a
    prior with both is without a trained model.

    Args:
        n_items: size N of the catalogue.
        steps: the largest distance of two items of a pair of the chain.
        k: the number of neighbours of an item in RP3beta.
        alpha: power of the probabilities of a step of RP3beta.
        beta: a larger beta lowers the scores of popular items more.
        recency: r of RP3beta, weight of an item of the history relative to the item after it.
        chain_recency: the same of the chain.
        walk_weight: g, the factor of RP3beta.

    Source: a product of experts (Hinton, "Training Products of Experts by Minimizing Contrastive
    Divergence", 2002) of the two.
    """

    sums = False
    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {
        "beta": (0.25, 0.5),
        "recency": (0.5, 0.8, 1.0),
        "walk_weight": (0.5, 1.0, 2.0),
    }
    SCORING: ClassVar[tuple[str, ...]] = ("recency", "chain_recency", "walk_weight")

    def __init__(
        self,
        n_items: int,
        *,
        steps: int = 10,
        k: int = 200,
        alpha: float = 0.5,
        beta: float = 0.25,
        recency: float = 0.8,
        chain_recency: float = 0.5,
        walk_weight: float = 1.0,
    ) -> None:
        super().__init__(n_items, k=k, alpha=alpha, beta=beta, recency=recency)
        self.walk_weight = walk_weight
        self.chain = Markov(n_items, steps=steps, recency=chain_recency)

    def fit(self, events: Events) -> None:
        """Count pairs of items that follow each other, and compute the walks from every item."""
        self.chain.fit(events)
        super().fit(events)

    def forward(self, batch: Batch) -> Logarithms:
        """Return the sums of both logarithms."""
        terms = (self.chain, 1.0), (self, self.walk_weight)
        return Logarithms([(TableScores(one, *one.read(batch)), factor) for one, factor in terms])
