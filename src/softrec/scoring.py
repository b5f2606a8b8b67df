"""The score of a user vector and an item vector: inner product, cosine, or negative distance.

All three are inner products of transformed vectors, so that losses, rankings and the streamed pass
do not depend on the kind of score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.types import (
    Batch,
    Encoder,
    Interests,
    ItemVectors,
    Products,
    Scores,
    Vectors,
    Wrapper,
    weighted,
)

Kind = Literal["inner", "cosine", "euclidean"]


@dataclass(frozen=True)
class Scoring:
    """Score z of user u and item i with vector w_i and bias b_i, at temperature t.

    Formula: inner (u.w_i + b_i) / t; cosine (u^.w^_i + b_i) / t with u^ = u / |u|; euclidean
    (b_i - |u - w_i|^2) / t, where vectors longer than 1 are shortened to length 1, as in
    collaborative metric learning (Hsieh et al., WWW 2017). A distance is the inner product of
    (2 u, -|u|^2) and (w, 1), which are one number wider, with the bias -|w|^2.

    Args:
        kind: inner, cosine or euclidean.
        temperature: t > 0; a small one makes the softmax over cosines sharp.

    Example:
        >>> scoring = Scoring("cosine", 0.5)
        >>> users = scoring.users(torch.tensor([[3.0, 4.0]]))
        >>> users @ scoring.items(ItemVectors(torch.tensor([[0.0, 2.0]]))).vectors.T
        tensor([[1.6000]])
    """

    kind: Kind = "inner"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"scores must be {', '.join(get_args(Kind))}, got {self.kind!r}")
        if not 0 < self.temperature < inf:
            raise ValueError(f"the temperature must be above 0, got {self.temperature}")

    def users(self, users: Tensor) -> Tensor:
        """Return the user vectors of the product, (P, D) or (P, K, D), divided by t."""
        if self.kind == "cosine":
            users = F.normalize(users, dim=-1)
        elif self.kind == "euclidean":
            users = _into_ball(users)
            users = torch.cat([2 * users, -users.square().sum(-1, keepdim=True)], -1)
        return users if self.temperature == 1 else users / self.temperature

    def items(self, items: ItemVectors) -> ItemVectors:
        """Return the item vectors of the product, (N, D), and the bias divided by t."""
        vectors, bias, _ = items
        if self.kind == "cosine":
            vectors = F.normalize(vectors, dim=-1)
        elif self.kind == "euclidean":
            vectors = _into_ball(vectors)
            length = -vectors.square().sum(-1)
            bias = length if bias is None else bias + length
            vectors = torch.cat([vectors, torch.ones_like(vectors[:, :1])], -1)
        if bias is not None and self.temperature != 1:
            bias = bias / self.temperature
        return ItemVectors(vectors, bias)

    def picked(self, users: Tensor, items: ItemVectors, label: Tensor) -> Tensor:
        """Return the interest, of (P, K, D), with the highest score of the label, (P, D)."""
        if users.dim() == 2:
            return users
        with torch.no_grad():
            own = ItemVectors(
                items.vectors.index_select(0, label)
            )  # the bias is the same for all K
            best = (self.users(users) @ self.items(own).vectors[:, :, None])[..., 0].argmax(1)
        return users[torch.arange(len(users), device=users.device), best]


class Logits(NamedTuple):
    """The logits of training: scores, with a number added for each item that no ranking has.

    Example:
        >>> logits = Logits(Scoring(), torch.tensor([0.0, -2.0]))
        >>> logits.items(ItemVectors(torch.eye(2))).bias
        tensor([ 0., -2.])
    """

    scoring: Scoring
    adjustment: Tensor | None = None  # (N,), without a gradient
    border: Tensor | None = None  # (P,), subtracted from all logits of a row
    log_temperature: Tensor | None = None  # (), a learnt one, in place of that of the scoring

    @property
    def _scoring(self) -> Scoring:
        """Return the scoring, without a temperature if it is learnt."""
        return self.scoring if self.log_temperature is None else Scoring(self.scoring.kind)

    def users(self, users: Tensor) -> Tensor:
        """Return the user vectors of the product, (P, D), with a border one number wider."""
        found = self._scoring.users(users)
        if self.log_temperature is not None:
            found = found * (-self.log_temperature).exp().to(found)
        if self.border is None:
            return found
        return torch.cat([found, -self.border[:, None].to(found)], 1)

    def items(self, items: ItemVectors, chosen: Tensor | slice | None = None) -> ItemVectors:
        """Return the item vectors of the product and their bias.

        Args:
            items: the vectors of all items, or of the chosen ones.
            chosen: (M,) int64 or a range, which items these are; None for all.
        """
        found = self._scoring.items(items)
        if self.log_temperature is not None and found.bias is not None:
            bias = found.bias * (-self.log_temperature).exp().to(found.bias)
            found = found._replace(bias=bias)
        if self.border is not None:
            vectors = found.vectors
            found = found._replace(vectors=torch.cat([vectors, torch.ones_like(vectors[:, :1])], 1))
        if self.adjustment is None:
            return found
        own = self.adjustment if chosen is None else self.adjustment[chosen]
        own = own.to(found.vectors.dtype)
        return found._replace(bias=own if found.bias is None else found.bias + own)


def _into_ball(vectors: Tensor) -> Tensor:
    """Return vectors of length at most 1, longer ones shortened."""
    return vectors / vectors.norm(dim=-1, keepdim=True).clamp(min=1)


class Scored(Wrapper):
    """An encoder whose inner products are the scores of a `Scoring`, for ranking and serving.

    Args:
        encoder: any encoder.
        scoring: how its vectors are scored.
    """

    def __init__(self, encoder: Encoder, scoring: Scoring) -> None:
        super().__init__(encoder)
        self.scoring = scoring

    def items(self) -> ItemVectors:
        """Return the transformed item vectors, and with them those of the encoder."""
        own = self.encoder.items()
        return self.scoring.items(own)._replace(carried=own)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the transformed vectors of a batch."""
        items = items or self.items()
        own = self.encoder(batch, items.carried)
        interests = None if own.interests is None else self._interests(own.interests)
        return Vectors(self.scoring.users(own.users), items, interests, offset=own.offset)

    def similarities(self) -> Callable[[Tensor, Tensor], Scores]:
        """Return the weighted means of negative squared distances, or of cosines."""
        if self.scoring.kind != "euclidean":
            return super().similarities()
        plain = ItemVectors(self.encoder.items().vectors)
        users, items = self.scoring.users(plain.vectors), self.scoring.items(plain)
        return lambda chosen, weights: Products(weighted(users, chosen, weights), items)

    def _interests(self, predicted: Interests) -> Interests:
        """Return interests whose mean is the transformed user vector.

        Every scoring multiplies a user vector by a factor, and its interests by the same one. The
        extra number of distances is one per user, the same for all interests.
        """
        users = predicted.mean()
        width = users.shape[-1]
        lengths = users.norm(dim=-1).clamp(min=torch.finfo(users.dtype).tiny)
        changed = self.scoring.users(users)
        factors = changed[:, :width].norm(dim=-1) / lengths
        vectors = predicted.vectors * factors[:, None, None]
        added = changed[:, None, width:].expand(-1, vectors.shape[1], -1)
        return predicted._replace(vectors=torch.cat([vectors, added], -1))
