"""What stands behind a recommendation: the interests of a user, and which of them spoke."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from softrec.errors import DataError
from softrec.types import Batch, Encoder, InterestEncoder, ItemVectors

BLOCK = 2**21  # numbers of a block of chosen item vectors: 8 MiB in single precision


class Voices(NamedTuple):
    """The interests of some users, and how much each counts where a score is their sum."""

    vectors: Tensor  # (B, K, D)
    weights: Tensor | None  # (B, K), 1 in sum; None where the best interest alone gives the score


class Reasons(NamedTuple):
    """For each chosen item the interest that did most for it, and its part of the score."""

    interest: Tensor  # (B, k) int64
    share: Tensor | None  # (B, k); None where a score is no sum


def voices(encoder: Encoder, batch: Batch, users: Tensor) -> Voices:
    """Return the interests behind the vectors of some users.

    Args:
        encoder: the model, with its scoring.
        batch: the B users, each asked once.
        users: `encoder.users(batch)`.

    Raises:
        DataError: if the model has one vector for a user.
    """
    if isinstance(encoder, InterestEncoder):
        vectors, logits = encoder.interests(batch)
        return Voices(vectors, logits.softmax(-1))
    if users.dim() == 3:
        return Voices(users, None)
    raise DataError(
        f"{name_of(encoder)} has one vector for a user, no interests to tell apart; train a model "
        "that has them: comirec-sa, comirec-dr, mind or timirec"
    )


def reasons(voices: Voices, items: ItemVectors, chosen: Tensor) -> Reasons:
    r"""Return which interest did most for each chosen item.

    $$k^* = \mathrm{argmax}_k \; a_k \, v_k \cdot w_i \qquad share = a_{k^*} v_{k^*} \cdot w_i$$

    with the weights a, all 1 and no share where the best interest alone gives the score. The parts
    of all interests and the item's bias add up to the score. Of equal parts the first counts.

    Args:
        voices: of B users.
        items: vectors (N, D); their bias moves all interests alike.
        chosen: (B, k) int64 items.

    Example:
        >>> vectors = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> items = ItemVectors(torch.tensor([[2.0, 3.0], [4.0, 1.0]]))
        >>> reasons(Voices(vectors, torch.tensor([[0.5, 0.5]])), items, torch.tensor([[0, 1]]))
        Reasons(interest=tensor([[1, 0]]), share=tensor([[1.5000, 2.0000]]))
    """
    vectors, weights = voices
    if weights is not None:
        vectors = weights[..., None] * vectors
    interest = torch.empty_like(chosen)
    share = vectors.new_empty(chosen.shape)
    size = max(1, BLOCK // (chosen.shape[1] * vectors.shape[-1]))
    for begin in range(0, len(chosen), size):
        rows = slice(begin, begin + size)
        parts = vectors[rows] @ items.vectors[chosen[rows]].transpose(1, 2)  # (b, K, k)
        share[rows], interest[rows] = parts.max(1)
    return Reasons(interest, None if weights is None else share)


def name_of(encoder: Encoder) -> str:
    """Return the name of a model for messages; one that wraps another tells the other's."""
    return getattr(encoder, "name", type(encoder).__name__)
