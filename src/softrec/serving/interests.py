"""Attribution of recommendations to the interests of a user."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from softrec.blocks import blocks
from softrec.errors import DataError
from softrec.limits import LIMITS
from softrec.types import ItemVectors, Scores, products_of


class Weighted(NamedTuple):
    """The interests of some users, and their weights if a score is a weighted sum."""

    vectors: Tensor  # (B, K, D)
    weights: Tensor | None  # (B, K), sums to 1; None if a score is the highest over the interests


class Attribution(NamedTuple):
    """The interest that contributed most to the score of each item, and its contribution."""

    interest: Tensor  # (B, k) int64
    contribution: Tensor | None  # (B, k); None if a score is the highest over the interests


def weighted_interests(scores: Scores, name: str) -> tuple[Weighted, ItemVectors]:
    """Return the interests of the B users of `scores`, and the item vectors.

    Args:
        scores: of a batch with one row per user.
        name: of the model, for messages.

    Raises:
        DataError: if the model has one vector for a user, or none.
    """
    products = products_of(scores)
    if products is not None and products.interests is not None:
        interests, logits = products.interests
        return Weighted(interests, logits.softmax(-1)), products.items
    if products is not None and products.users.dim() == 3:
        return Weighted(products.users, None), products.items
    has = "no user vectors" if products is None else "one vector for a user"
    raise DataError(
        f"{name} has {has} and no separate interests; train a model that has them: comirec-sa, "
        "comirec-dr, mind or timirec"
    )


def attribution(interests: Weighted, items: ItemVectors, chosen: Tensor) -> Attribution:
    r"""Return which interest contributed most to the score of each chosen item.

    $$k^* = \mathrm{argmax}_k \; a_k \, v_k \cdot w_i \qquad
    contribution = a_{k^*} v_{k^*} \cdot w_i$$

    with the weights a. If a score is the highest over the interests, all weights are 1 and there is
    no contribution. The contributions of all interests and the bias of the item add up to the
    score. Of equal contributions, the first one counts.

    Args:
        interests: of B users.
        items: vectors (N, D); the bias is the same for all interests and is not used.
        chosen: (B, k) int64 items.

    Example:
        >>> vectors = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> items = ItemVectors(torch.tensor([[2.0, 3.0], [4.0, 1.0]]))
        >>> interests = Weighted(vectors, torch.tensor([[0.5, 0.5]]))
        >>> attribution(interests, items, torch.tensor([[0, 1]]))
        Attribution(interest=tensor([[1, 0]]), contribution=tensor([[1.5000, 2.0000]]))
    """
    vectors, weights = interests
    if weights is not None:
        vectors = weights[..., None] * vectors
    interest = torch.empty_like(chosen)
    contribution = vectors.new_empty(chosen.shape)
    for rows in blocks(len(chosen), LIMITS.gathered // (chosen.shape[1] * vectors.shape[-1])):
        parts = vectors[rows] @ items.vectors[chosen[rows]].transpose(1, 2)  # (b, K, k)
        contribution[rows], interest[rows] = parts.max(1)
    return Attribution(interest, None if weights is None else contribution)
