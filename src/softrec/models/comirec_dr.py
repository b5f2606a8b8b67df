"""ComiRec-DR: a matrix for each position and interest, and routing to a few interests."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from softrec.models.capsules import read_items, route
from softrec.models.histories import HistoryEncoder, ItemTable, OutputLayer
from softrec.models.layers import Init, initialise
from softrec.models.registry import MODELS
from softrec.types import Batch, ItemVectors, Vectors


@MODELS.named("comirec-dr")
class ComiRecDR(HistoryEncoder):
    r"""The user is K interests: capsules to which the items of the history are routed.

    $$m_{kj} = S_{kj} v_j, \quad b_{kj} = 0, \quad
      (u_1, \dots, u_K) = \mathrm{route}(m, b), \quad z_i = \max_k u_k \cdot w_i$$

    with the embeddings v_j of the real items and a matrix S_kj (D x D) for each interest k and
    position j; `softrec.models.capsules.route` is the routing. Interests differ by their matrices,
    so that all logits b can start at 0 and nothing is random. Positions are counted from the end of
    the history, so that they do not depend on the side or the amount of padding. An interest is 0
    for an empty history, and its length is below 1, or below sqrt(D) with `scale`. Memory:
    messages of P x K x L x D numbers, and as many for their gradient.

    Args:
        n_items: size N of the catalogue.
        dim: width D of item vectors and interests.
        length: longest history; there are length x K matrices.
        interests: number K of interests.
        iterations: of the routing, at least 1.
        map_std: standard deviation of the initial entries of the matrices; D ** -0.5 if None, with
            which a product keeps the length of a vector. `squash` squares the length of short
            vectors, so a model with small matrices learns slowly.
        same_maps: draw the initial matrices of an interest once for all positions. Drawn for each
            position, their products with the same item have nothing in common at first, and
            learning starts late.
        scale: multiply item embeddings where they are read, and interests, by sqrt(D). Without it
            an interest has a length below 1, so that scores can only grow with the item vectors.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: of the tables: "xavier" (Xavier normal), "normal" or "gaussian" (both N(0, 0.01)).

    Raises:
        ValueError: if `interests` or `iterations` is below 1, or `init` is unknown.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = ComiRecDR(5, dim=4, length=3, interests=2)
        >>> vectors = model(padded([[0, 3], [1]], 5))
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 2, 4]), torch.Size([5, 4]))

    Defaults: sizes of the original's code, but with maps that keep the length of a vector, the same
    ones at first for all positions, and scaled. Without the last two it hardly learnt on a small
    log (docs/log.md).

    Source: Cen et al., "Controllable Multi-Interest Framework for Recommendation", KDD 2020. The
    preset "original" has the settings of its code for Amazon Books, where positions are counted
    from the oldest item.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "original": {"dim": 64, "length": 20, "interests": 4, "iterations": 3, "map_std": 1.0,
                     "same_maps": False, "scale": False, "tied": True, "output_bias": False,
                     "init": "xavier"},
    }  # fmt: skip

    def __init__(
        self,
        n_items: int,
        *,
        dim: int = 64,
        length: int = 50,
        interests: int = 4,
        iterations: int = 3,
        map_std: float | None = None,
        same_maps: bool = True,
        scale: bool = True,
        tied: bool = True,
        output_bias: bool = False,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        if min(interests, iterations) < 1:
            raise ValueError(
                f"interests and iterations must be 1 or more, got {interests} and {iterations}"
            )
        self.n_items = n_items
        self.length = length
        self.n_interests = interests
        self.iterations = iterations
        self.scale = math.sqrt(dim) if scale else 1.0
        self.table = ItemTable(n_items, dim)
        # (length, D, K D), the most recent item last: all interests of a position in one product.
        self.maps = nn.Parameter(torch.empty(length, dim, interests * dim))
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        initialise(self, init)
        nn.init.normal_(self.maps, std=dim**-0.5 if map_std is None else map_std)
        if same_maps:
            with torch.no_grad():
                self.maps.copy_(self.maps[:1].expand_as(self.maps).clone())

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the interests (P, K, D) and the items.

        Raises:
            ValueError: if a history is longer than the model's `length`.
        """
        history = read_items(batch, self.n_items, self.length)
        messages = self._messages(self.table(history) * self.scale)  # of padding none is used
        start = messages.new_zeros(1, self.n_interests, history.shape[1])
        interests = route(messages, history != self.n_items, start, self.iterations)
        return Vectors(interests * self.scale, items or self.items())

    def _messages(self, vectors: Tensor) -> Tensor:
        """(P, L', D) -> (P, K, L', D), a view of a batched product with a matrix per position."""
        maps = self.maps[self.length - vectors.shape[1] :]
        messages = torch.bmm(vectors.transpose(0, 1), maps)
        return messages.unflatten(2, (self.n_interests, -1)).permute(1, 2, 0, 3)
