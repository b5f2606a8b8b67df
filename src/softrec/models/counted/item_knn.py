"""Item-kNN: items that are similar to the items of the history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from softrec.extras import optional
from softrec.models.counted.sparse import TableScorer, interactions
from softrec.models.registry import MODELS
from softrec.products import owners, strongest
from softrec.types import Events

if TYPE_CHECKING:
    from scipy import sparse
else:
    sparse = optional("scipy.sparse", "counting items that occur together")


@MODELS.named("item-knn")
class ItemKNN(TableScorer):
    r"""The similarity of items by the users that they have in common, summed over the history.

    $$S_{ij} = \frac{n_{ij}}{n_i^a \, n_j^p + s}, \qquad score_j = \sum_t r^{n - t} S_{h_t j}$$

    n_i users have item i and n_ij users have both, each user counted once. a = 1 - p gives the
    cosine (with p = 1/2) and variants of it; a = 1 gives a conditional probability, P(j | i) with
    p = 0. The k largest numbers of a row are kept, without the item itself.

    Args:
        n_items: size N of the catalogue.
        k: the number of neighbours of an item.
        similarity: "cosine" (a = 1 - p) or "conditional" (a = 1).
        power: p; a larger p lowers the scores of popular items more.
        shrinkage: s; a larger s lowers the similarity of pairs with few users more.
        recency: r, weight of an item of the history relative to the item after it.

    Example:
        >>> import torch
        >>> model = ItemKNN(3)
        >>> model.fit(Events(torch.tensor([0, 2, 4]), torch.tensor([0, 1, 1, 2])))
        >>> model.offsets.tolist(), model.values.tolist()
        ([0, 1, 3, 4], [0.7071..., 0.7071..., 0.7071..., 0.7071...])

    Source: Sarwar et al., "Item-Based Collaborative Filtering Recommendation Algorithms", WWW 2001;
    Deshpande and Karypis, "Item-Based Top-N Recommendation Algorithms", TOIS 2004.
    """

    GRID: ClassVar[dict[str, tuple[Any, ...]]] = {
        "similarity": ("cosine", "conditional"),
        "shrinkage": (0.0, 10.0),
        "recency": (0.5, 0.8, 1.0),
    }
    SCORING: ClassVar[tuple[str, ...]] = ("recency",)

    def __init__(
        self,
        n_items: int,
        *,
        k: int = 200,
        similarity: Literal["cosine", "conditional"] = "cosine",
        power: float = 0.5,
        shrinkage: float = 0.0,
        recency: float = 0.8,
    ) -> None:
        super().__init__(n_items, recency)
        self.k, self.similarity, self.power, self.shrinkage = k, similarity, power, shrinkage

    def fit(self, events: Events) -> None:
        """Count pairs of items, and keep the most similar ones."""
        users = interactions(events, self.n_items)
        counts = np.maximum(np.asarray(users.sum(0)).ravel(), 1)
        own = counts ** (1 - self.power if self.similarity == "cosine" else 1)
        other = counts**self.power

        def similar(rows: slice, block: sparse.csr_matrix) -> np.ndarray:
            scale = own[rows][owners(block)] * other[block.indices]
            return block.data / (scale + self.shrinkage)

        self.keep(strongest(users.T.tocsr(), users, self.k, similar), events)
