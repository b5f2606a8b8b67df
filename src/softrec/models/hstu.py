"""HSTU: attention without a softmax, with biases for relative positions and for time."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softrec.errors import DataError
from softrec.models.dropout import Dropout
from softrec.models.histories import (
    Histories,
    HistoryEncoder,
    ItemTable,
    OutputLayer,
    asked,
    fitting,
)
from softrec.models.lengths import by_length
from softrec.models.registry import MODELS
from softrec.models.transformer import from_end
from softrec.types import Batch, ItemVectors, Vectors

BUCKETS = 128  # of logarithms of intervals of time
BASE = 0.301  # of the logarithm of one bucket: intervals that are about 1.35 times as long


@MODELS.named("hstu")
class HSTU(HistoryEncoder):
    r"""Pointwise attention: the weights of a history do not sum to 1.

    $$U, V, Q, K = \mathrm{silu}(\mathrm{LN}(X) W), \qquad
    A_{ts} = \mathrm{silu}(q_t \cdot k_s + b_{t-s}) / L, \qquad
    X \leftarrow X + (U \odot \mathrm{LN}(A V)) O$$

    for s <= t. Without a softmax the strength of a signal, such as how often an item occurs, is
    kept; the gate U stands in place of a feed-forward layer. b is one number for each distance of
    two positions, of each block.

    Args:
        n_items: size N of the catalogue.
        dim: width D.
        length: L, the longest history; longer ones are refused.
        layers: number of blocks.
        heads: attention heads in a block, each of width D / heads.
        dropout: on the gated output of the attention.
        embedding_dropout: on the sum of item and position embeddings.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.

    Raises:
        ValueError: if the width is not a multiple of the heads.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> HSTU(5, dim=4, length=3)(padded([[0, 3, 2], [1]], 5)).users.shape
        torch.Size([2, 4])

    Defaults: the form of its public code for MovieLens, where it has eight blocks and two heads of
    25; here two blocks. The published score is a cosine with temperature 0.05: `loss:
    {score: cosine, score_temperature: 0.05}`.

    Source: Zhai et al., "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers
    for Generative Recommendations", ICML 2024.
    """

    def __init__(
        self,
        n_items: int,
        *,
        dim: int = 64,
        length: int = 50,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.2,
        embedding_dropout: float = 0.2,
        tied: bool = True,
        output_bias: bool = False,
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads})")
        self.n_items, self.length = n_items, length
        self.scale = math.sqrt(dim)
        self.table = ItemTable(n_items, dim)
        self.positions = nn.Embedding(length, dim)
        self.dropout = Dropout(embedding_dropout)
        self.blocks = nn.ModuleList(
            PointwiseBlock(dim, heads, length, dropout, timed=self.needs_times)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        for table in (self.table, self.positions):
            nn.init.xavier_normal_(table.weight)
        self.table.zero_padding()

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D) and the items.

        Raises:
            DataError: if the model reads times, and the batch has none.
            ValueError: if a history is longer than the model's `length`.
        """
        histories = fitting(batch.history, self.n_items, self.length, batch.time)
        users = self.norm(by_length(self._states, self.table, histories, batch))
        return Vectors(users, items or self.items())

    def _states(self, x: Tensor, histories: Histories, batch: Batch) -> Tensor:
        gaps = self._gaps(histories.times)
        x = self.dropout(x * self.scale + self.positions(from_end(histories)))
        for block in self.blocks:
            x = block(x, gaps)
        return asked(x, histories, batch)

    def _gaps(self, times: Tensor | None) -> Tensor | None:
        """Return the bucket of each pair of times, for models that read them."""
        return None


@MODELS.named("hstu-time")
class TimedHSTU(HSTU):
    r"""HSTU with a bias for the time between two events, too.

    $$A_{ts} = \mathrm{silu}(q_t \cdot k_s + b_{t-s} + c_{g(t, s)}) / L, \qquad
    g(t, s) = \lfloor \ln \max(|\tau_t - \tau_s|, 1) / 0.301 \rfloor$$

    with the times tau and 129 numbers c of each block. The public code takes the time of the next
    event in the place of tau_t, which is not known when it is asked for; here it is that of the
    last one.

    Args:
        n_items: size N of the catalogue.
        dim: width D.
        length: L, the longest history; longer ones are refused.
        layers: number of blocks.
        heads: attention heads in a block, each of width D / heads.
        dropout: on the gated output of the attention.
        embedding_dropout: on the sum of item and position embeddings.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.

    Defaults: those of hstu.

    Source: that of hstu.
    """

    needs_times = True

    def _gaps(self, times: Tensor | None) -> Tensor | None:
        if times is None:
            raise DataError(
                "TimedHSTU reads the time of each event, but these histories have no times; use a "
                "log with a column of times and name it (--time COLUMN), or a model that needs "
                "no times (--model hstu)"
            )
        apart = (times[:, :, None] - times[:, None]).abs().clamp(min=1)
        return (apart.double().log() / BASE).long().clamp(max=BUCKETS)


class PointwiseBlock(nn.Module):
    """Pointwise causal attention with a gate, and a residual connection.

    Args:
        dim: width D.
        heads: attention heads.
        length: the longest history.
        dropout: on the gated output.
        timed: whether there is a bias for intervals of time.
    """

    def __init__(self, dim: int, heads: int, length: int, dropout: float, *, timed: bool) -> None:
        super().__init__()
        self.heads, self.length = heads, length
        self.joint = nn.Linear(dim, 4 * dim, bias=False)
        self.narrow = nn.Linear(dim, dim)
        self.distances = nn.Parameter(torch.empty(length).normal_(std=0.02))
        self.intervals = nn.Parameter(torch.empty(BUCKETS + 1).normal_(std=0.02)) if timed else None
        self.dropout = Dropout(dropout)
        for layer in (self.joint, self.narrow):
            nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(self.narrow.bias)

    def forward(self, x: Tensor, gaps: Tensor | None) -> Tensor:
        """(B, L, D), and buckets (B, L, L) of the intervals of time -> (B, L, D)."""
        width, length = x.shape[2], x.shape[1]
        gate, *parts = F.silu(self.joint(F.layer_norm(x, (width,)))).chunk(4, dim=-1)
        values, queries, keys = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts
        )
        columns = torch.arange(length, device=x.device)
        apart = columns[:, None] - columns
        scores = queries @ keys.mT + self.distances[apart.clamp(min=0)]
        if gaps is not None and self.intervals is not None:
            scores = scores + self.intervals[gaps][:, None]
        weights = F.silu(scores).masked_fill(apart < 0, 0) / self.length
        read = (weights @ values).transpose(1, 2).flatten(2)
        return x + self.narrow(self.dropout(gate * F.layer_norm(read, (width,))))
