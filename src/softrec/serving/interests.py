"""What stands behind a recommendation: the interests of a user, and which of them it is due to."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from softrec.blocks import blocks
from softrec.errors import DataError
from softrec.limits import LIMITS
from softrec.types import ItemVectors, Products, Scores


class Weighted(NamedTuple):
    """The interests of some users, and how much each counts where a score is their sum."""

    vectors: Tensor  # (B, K, D)
    weights: Tensor | None  # (B, K), sums to 1; None where the best interest alone gives the score


class Attribution(NamedTuple):
    """For each chosen item the interest that contributed most, and its part of the score."""

    interest: Tensor  # (B, k) int64
    contribution: Tensor | None  # (B, k); None where a score is no sum


def weighted_interests(scores: Scores, name: str) -> tuple[Weighted, ItemVectors]:
    """Return the interests behind the scores of B users, each asked once, and the item vectors.

    Args:
        scores: of a batch.
        name: of the model, for the error.

    Raises:
        DataError: if the model has one vector for a user, or none.
    """
    if isinstance(scores, Products) and scores.interests is not None:
        interests, logits = scores.interests
        return Weighted(interests, logits.softmax(-1)), scores.items
    if isinstance(scores, Products) and scores.users.dim() == 3:
        return Weighted(scores.users, None), scores.items
    has = "one vector for a user" if isinstance(scores, Products) else "no user vectors"
    raise DataError(
        f"{name} has {has} and no separate interests; train a model that has them: comirec-sa, "
        "comirec-dr, mind or timirec"
    )


def attribution(interests: Weighted, items: ItemVectors, chosen: Tensor) -> Attribution:
    r"""Return which interest contributed most to the score of each chosen item.

    $$k^* = \mathrm{argmax}_k \; a_k \, v_k \cdot w_i \qquad
    contribution = a_{k^*} v_{k^*} \cdot w_i$$

    with the weights a, all 1 and no contribution where the best interest alone gives the
    score. The parts of all interests and the item's bias add up to the score. Of equal parts the
    first counts.

    Args:
        interests: of B users.
        items: vectors (N, D); their bias moves all interests alike.
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
