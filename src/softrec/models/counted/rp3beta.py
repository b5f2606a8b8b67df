"""RP3beta: random walks from an item to a user and to another item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from softrec.extras import optional
from softrec.models.counted.sparse import TableScorer, interactions
from softrec.models.registry import MODELS
from softrec.products import strongest
from softrec.types import Events

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "counting items that occur together")


@MODELS.named("rp3beta")
class RP3Beta(TableScorer):
    r"""The probability of a random walk from an item to a user and to another item.

    The scores of popular items are lowered:

    $$S_{ij} = n_j^{-\beta} \sum_u (x_{ui} / n_i)^\alpha (x_{uj} / m_u)^\alpha$$

    n_i users have item i, and user u has m_u items, each counted once. The k largest numbers of a
    row are kept, without the item itself.

    Args:
        n_items: size N of the catalogue.
        k: the number of neighbours of an item.
        alpha: power of the probabilities of a step.
        beta: a larger beta lowers the scores of popular items more.
        recency: r, weight of an item of the history relative to the item after it.

    Source: Paudel et al., "Updatable, Accurate, Diverse, and Scalable Recommendations for
    Interactive Applications", TiiS 2017.
    """

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {
        "alpha": (0.5, 1.0),
        "beta": (0.1, 0.25, 0.5),
        "recency": (0.5, 0.8, 1.0),
    }
    SCORING: ClassVar[tuple[str, ...]] = ("recency",)

    def __init__(
        self,
        n_items: int,
        *,
        k: int = 200,
        alpha: float = 1.0,
        beta: float = 0.6,
        recency: float = 0.8,
    ) -> None:
        super().__init__(n_items, recency)
        self.k, self.alpha, self.beta = k, alpha, beta

    def fit(self, events: Events) -> None:
        """Compute the walks from every item, and keep the k most probable ends."""
        users = interactions(events, self.n_items)
        counts = np.maximum(np.asarray(users.sum(0)).ravel(), 1)
        sizes = np.maximum(np.asarray(users.sum(1)).ravel(), 1)
        there = sparse.csr_matrix(sparse.diags(counts**-self.alpha) @ users.T)
        back = sparse.csr_matrix(sparse.diags(sizes**-self.alpha) @ users)
        held = counts**-self.beta

        def reached(_: slice, block: sparse.csr_matrix) -> np.ndarray:
            return block.data * held[block.indices]

        self.keep(strongest(there, back, self.k, reached), events)
