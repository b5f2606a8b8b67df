"""ComiRec-SA: several interests of a user, each a separate attention over the history."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softrec.models.histories import (
    Histories,
    HistoryEncoder,
    ItemTable,
    OutputLayer,
    exporting,
    prefixes,
)
from softrec.models.layers import Init, initialise
from softrec.models.lengths import by_length
from softrec.models.registry import MODELS
from softrec.types import Batch, ItemVectors, Vectors

Positions = Literal["values", "scores", "none"]


@MODELS.named("comirec-sa")
class ComiRecSA(HistoryEncoder):
    r"""Item vectors -> K self-attentive averages; the score is the highest over the K interests.

    $$A = \mathrm{softmax}\big(W_2 \tanh(W_1 (H + P))\big) \qquad V = A^\top H$$

    with the item vectors H (L x D), position vectors P, the softmax over the L positions, and the
    interests V (K x D). Padding has weight 0, and all interests of an empty history are 0. A
    position is the distance to the end, 1 for the most recent item, so that it does not depend on
    the padding. With `transformer`, H is first the input of a transformer layer: ComiRec+.

    Args:
        n_items: size N of the catalogue.
        dim: width D of item and interest vectors.
        length: longest history.
        interests: number K of interests.
        attention: width of the output of W_1; 4 D if None.
        transformer: use one transformer layer (one head, feed-forward width D, ReLU, normalised
            after each part, no dropout), in which every item attends to the whole history.
        positions: where position vectors are added: "scores" (as in the formula), "values" (to H
            itself, before the transformer) or "none"; by default "scores", and "values" with a
            transformer, which needs one of the last two because it reads H.
        bias: whether W_1 and W_2 have biases. The bias of W_2 cancels in the softmax.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "xavier" (all matrices Xavier normal, biases 0), "normal" (all matrices and linear
            biases from N(0, 0.01)) or "gaussian" (all matrices from N(0, 0.01), biases 0).

    Raises:
        ValueError: if a size is not positive, or an option is unknown or does not fit.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = ComiRecSA(5, dim=4, interests=3)
        >>> vectors = model(padded([[0, 3], [1]], 5))
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 3, 4]), torch.Size([5, 4]))

    Defaults: sizes of the original's code, with positions counted from the end and biases. Not
    measured against others.

    Source: Cen et al., "Controllable Multi-Interest Framework for Recommendation", KDD 2020.
    Presets: "original", and the extractors of Wang et al., CIKM 2022: "timirec" without and
    "timirec+" with the transformer layer. The latest version of their code adds positions to the
    values; here this is done only with the layer, and without it as in ComiRec.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "original": {"dim": 64, "length": 20, "interests": 4, "attention": None,
                     "positions": "scores", "bias": False, "tied": True, "output_bias": False,
                     "init": "xavier"},
        "timirec": {"dim": 64, "length": 20, "interests": 2, "attention": 8,
                    "positions": "scores", "bias": True, "tied": True, "output_bias": False,
                    "init": "normal"},
        "timirec+": {"dim": 64, "length": 20, "interests": 2, "attention": 8,
                     "transformer": True, "positions": "values", "bias": True, "tied": True,
                     "output_bias": False, "init": "normal"},
    }  # fmt: skip

    def __init__(
        self,
        n_items: int,
        *,
        dim: int = 64,
        length: int = 50,
        interests: int = 4,
        attention: int | None = None,
        transformer: bool = False,
        positions: Positions | None = None,
        bias: bool = True,
        tied: bool = True,
        output_bias: bool = False,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        attention = 4 * dim if attention is None else attention
        positions = positions or ("values" if transformer else "scores")
        if min(length, interests, attention) < 1:
            raise ValueError(
                f"length, interests and attention must be positive, got {length}, {interests} and "
                f"{attention}"
            )
        if positions not in ("values", "scores", "none"):
            raise ValueError(f"positions must be values, scores or none, got {positions!r}")
        if transformer and positions == "scores":
            raise ValueError('a transformer reads the values: set positions="values" or "none"')
        self.n_items = n_items
        self.length = length
        self.n_interests = interests
        self.where: Positions = positions
        self.settings: dict[str, Any] = {
            "n_items": n_items, "dim": dim, "length": length, "interests": interests,
            "attention": attention, "transformer": transformer, "positions": positions,
            "bias": bias, "tied": tied, "output_bias": output_bias,
        }  # fmt: skip
        self.table = ItemTable(n_items, dim)
        self.positions = None
        if positions != "none":
            self.positions = nn.Embedding(length + 1, dim, padding_idx=0)
        self.transformer = Transformer(dim) if transformer else None
        self.hidden = nn.Linear(dim, attention, bias=bias)
        self.weights = nn.Linear(attention, interests, bias=bias)
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        initialise(self, init)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the interests of the users (P, K, D) and the items.

        Raises:
            ValueError: if a history is longer than the model's `length`.
        """
        interests = self.interests_in(prefixes(batch, self.n_items, self.length), batch)
        return Vectors(interests, items or self.items())

    def interests_in(self, histories: Histories, batch: Batch) -> Tensor:
        """Return the interests (P, K, D) in histories (P, L'), one for each prediction."""
        at_ends = batch._replace(row=None, step=None)
        return by_length(self._interests, self.table, histories, at_ends)

    def _interests(self, values: Tensor, histories: Histories, _: Batch) -> Tensor:
        real = histories.items != self.n_items
        filled = real[:, :1]  # padding is at the right only
        # A row with only padding would have a softmax over nothing: it attends to itself.
        visible = None if not exporting() and bool(real.all()) else real | ~filled
        seen = values if self.positions is None else values + self._positions(histories)
        if self.where == "values":
            values = seen
        if self.transformer is not None:
            values = seen = self.transformer(values, visible)
        scores = self.weights(self.hidden(seen).tanh())
        if visible is not None:
            scores = scores.masked_fill(~visible[..., None], -torch.inf)
        interests = scores.softmax(1).transpose(1, 2) @ values
        return interests if visible is None else interests * filled[..., None]

    def _positions(self, histories: Histories) -> Tensor:
        """Return the vectors of the distances to the end, (P, L', D)."""
        assert self.positions is not None
        columns = torch.arange(histories.items.shape[1], device=histories.items.device)
        return self.positions((histories.lengths[:, None] - columns).clamp(min=0))


class Transformer(nn.Module):
    """One bidirectional transformer layer: x <- LN(x + f(x)) for attention and for FFN.

    The output of the single head is not multiplied by another matrix. The output at padding is not
    defined.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query_key_value = nn.Linear(dim, 3 * dim)  # three matrices in one product
        self.widen = nn.Linear(dim, dim)
        self.narrow = nn.Linear(dim, dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """(B, L, D), and (B, L) bool or None if all is visible -> (B, L, D)."""
        first, second = self.norms
        q, k, v = (part[:, None] for part in self.query_key_value(x).chunk(3, -1))
        mask = None if visible is None else visible[:, None, None]
        x = first(x + F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[:, 0])
        return second(x + self.narrow(self.widen(x).relu()))
