"""BSARec: causal attention beside a filter that keeps the low frequencies of a history."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from softrec.models.histories import each_row
from softrec.models.registry import MODELS
from softrec.models.transformer import Attend, Block, Transformer


@MODELS.named("bsarec")
class BSARec(Transformer):
    r"""A transformer whose blocks mix attention with a filter of frequencies.

    $$F = \mathrm{low}(X) + \beta^2 (X - \mathrm{low}(X)), \qquad
    Y = a \, \mathrm{LN}(X + F) + (1 - a) \, \mathrm{LN}(X + \mathrm{attention}(X))$$

    Attention alone is a low-pass filter: it averages over the history. low(X) keeps the lowest
    frequencies of the discrete Fourier transform of a history, and beta, one number a dimension,
    scales all others.

    The filter of a step reads the items up to this step: low(X)_t is the last value of the
    transform of x_1 .. x_t. So no step reads a later one, and a model can be trained at every
    position. In the published code a history is padded on the left to a fixed length, and the
    filter of each step reads all of it, paddings included. At the last step of a history without
    padding both have the same value; earlier steps, which the second block reads, differ.

    Args:
        n_items: size N of the catalogue.
        dim: width D.
        length: longest history; longer ones are refused.
        layers: number of blocks.
        heads: attention heads in a block.
        inner: width of the feed-forward layer; 4 D if None.
        mix: a, the weight of the filter; 1 - a is that of the attention.
        frequencies: how many of the lowest frequencies low(X) keeps, the mean included. The
            published c keeps c // 2 + 1.
        dropout: on the attention weights and on the output of each sub-layer.
        embedding_dropout: on the normalised sum of item and position embeddings.
        scale: multiply item embeddings by sqrt(D). Without it the initial position embeddings,
            which are larger because their table is smaller, dominate, and learning starts late.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "uniform", "normal" or "xavier", as in SASRec.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> BSARec(5, dim=4, length=3)(padded([[0, 3, 2], [1]], 5)).users.shape
        torch.Size([2, 4])

    Defaults: the mix, frequencies and form of the original for Beauty, with dropout 0.2 and two
    heads as in sasrec.

    Source: Shin et al., "An Attentive Inductive Bias for Sequential Recommendation beyond the
    Self-Attention", AAAI 2024. Preset "beauty": the settings of its code for Amazon Beauty.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "beauty": {"dim": 64, "length": 50, "layers": 2, "heads": 1, "mix": 0.7, "frequencies": 3,
                   "dropout": 0.5, "embedding_dropout": 0.5, "scale": False, "tied": True,
                   "output_bias": False, "init": "normal"},
    }  # fmt: skip

    def __init__(
        self,
        n_items: int,
        *,
        dim: int = 64,
        length: int = 50,
        layers: int = 2,
        heads: int = 2,
        inner: int | None = None,
        mix: float = 0.7,
        frequencies: int = 3,
        dropout: float = 0.2,
        embedding_dropout: float = 0.2,
        scale: bool = True,
        tied: bool = True,
        output_bias: bool = False,
        init: str = "xavier",
    ) -> None:
        kept = low_pass(length, frequencies)
        super().__init__(
            n_items,
            lambda: FilteredBlock(dim, heads, inner or 4 * dim, dropout, mix, kept),
            dim=dim, length=length, layers=layers, embedding_dropout=embedding_dropout,
            scale=scale, tied=tied, output_bias=output_bias, init=init, before=nn.LayerNorm(dim),
        )  # fmt: skip


def low_pass(length: int, frequencies: int) -> Tensor:
    r"""Return the filter W (length, length): low(X)_t = sum_s W_ts x_s over the items s <= t.

    $$W_{ts} = \frac1n \sum_{f < k} w_f \cos(2 \pi f (t - s) / n), \qquad n = t + 1$$

    w is 1 for f = 0 and f = n / 2, and 2 for the frequencies between; there are none above n / 2.

    Example:
        >>> low_pass(2, 1)  # the mean
        tensor([[1.0000, 0.0000],
                [0.5000, 0.5000]])
    """
    steps = torch.arange(length, dtype=torch.float64)
    n = (steps + 1)[:, None, None]
    f = torch.arange(frequencies, dtype=torch.float64)
    weight = torch.where((f == 0) | (2 * f == n), 1.0, 2.0).masked_fill(2 * f > n, 0)
    apart = (steps[:, None] - steps)[:, :, None]
    table = (weight * torch.cos(2 * math.pi * f * apart / n)).sum(2) / n[:, :, 0]
    return table.tril().float()


class FilteredBlock(Block):
    """Attention and a filter side by side, and a feed-forward layer, with norms after each.

    Args:
        dim: width D.
        heads: attention heads; D is a multiple of them.
        inner: width of the feed-forward layer.
        dropout: on the attention weights and on the output of each sub-layer.
        mix: the weight of the filter.
        kept: the filter, (length, length).
    """

    kept: Tensor

    def __init__(
        self, dim: int, heads: int, inner: int, dropout: float, mix: float, kept: Tensor
    ) -> None:
        super().__init__(dim, heads, inner, dropout, "post", "gelu", False, True)
        self.mix = mix
        self.root = nn.Parameter(torch.empty(dim))  # beta^2 is its square
        nn.init.normal_(self.root)
        self.filtered = nn.LayerNorm(dim)
        self.register_buffer("kept", kept, persistent=False)

    def forward(self, x: Tensor, attend: Attend = None, step: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D), or (B, 1, D) for one step (B,) of each row."""
        first, second = self.norms
        columns = torch.arange(x.shape[1], device=x.device)  # an export follows no slice of them
        own, kept = x, self.kept[columns[:, None], columns]
        if step is not None:
            own, kept = x[each_row(x), step][:, None], self.kept[step[:, None], columns][:, None]
        low = kept @ x
        high = own - low
        filtered = self.filtered(own + self.dropout(low + self.root**2 * high))
        attended = first(own + self.dropout(self._attention(own, x, attend, step)))
        mixed = self.mix * filtered + (1 - self.mix) * attended
        return second(mixed + self.dropout(self._feed_forward(mixed)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.activation(self.widen(x)))
