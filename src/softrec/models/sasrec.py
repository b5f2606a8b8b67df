"""SASRec: a causal transformer over the history."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softrec.models.histories import Histories, aligned, asked
from softrec.models.output import ItemTable, OutputLayer
from softrec.types import Batch, ItemVectors

Norm = Literal["post", "pre", "query"]


class SASRec(nn.Module):
    """Item and position embeddings -> causal self-attention blocks; the last state is the user.

    Positions count back from the end of the history (the last item has position 0), so that they
    do not depend on the side or the amount of padding.

    Args:
        n_items: size N of the catalogue.
        dim: width D.
        length: longest history; older items are not looked at.
        layers: number of blocks.
        heads: attention heads in a block.
        inner: width of the feed-forward layer; `dim` if None.
        dropout: on the attention weights and on the output of each sub-layer.
        embedding_dropout: on the sum of item and position embeddings.
        norm: "post" (x <- LN(x + f(x))), "pre" (x <- x + f(LN(x)), and one LN at the end) or
            "query" (as the original: only the queries of the attention are normalised, and the
            attention adds to the normalised queries).
        activation: "relu" or "gelu" in the feed-forward layer.
        rezero: multiply each sub-layer's output by a learned scalar that starts at 1e-8.
        scale: multiply item embeddings by sqrt(D).
        projection: a linear layer over the joined heads.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "uniform" (embeddings in +-1/sqrt(N), linear layers Xavier normal with bias 0.1),
            "normal" (all from N(0, 0.01)) or "xavier" (all matrices Xavier normal).

    Source: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. Presets:
    "original", "desorec" (Zhang et al., DASFAA 2024), "timirec" (Wang et al., CIKM 2022).
    """

    PRESETS: dict[str, dict[str, Any]] = {
        "original": {"dim": 50, "length": 200, "layers": 2, "heads": 1, "dropout": 0.2,
                     "embedding_dropout": 0.2, "norm": "query", "scale": True, "tied": True,
                     "output_bias": False, "init": "xavier"},
        "desorec": {"dim": 128, "length": 20, "layers": 2, "heads": 4, "inner": 512,
                    "dropout": 0.1, "norm": "post", "activation": "gelu", "rezero": True,
                    "tied": False, "output_bias": True, "init": "uniform"},
        "timirec": {"dim": 64, "length": 20, "layers": 1, "heads": 4, "dropout": 0.0,
                    "norm": "post", "projection": False, "tied": True, "output_bias": False,
                    "init": "normal"},
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
        dropout: float = 0.2,
        embedding_dropout: float = 0.0,
        norm: Norm = "pre",
        activation: Literal["relu", "gelu"] = "relu",
        rezero: bool = False,
        scale: bool = False,
        projection: bool = True,
        tied: bool = True,
        output_bias: bool = False,
        init: str = "xavier",
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads})")
        self.n_items = n_items
        self.length = length
        self.scale = math.sqrt(dim) if scale else 1.0
        self.table = ItemTable(n_items, dim)
        self.positions = nn.Embedding(length, dim)
        self.dropout = nn.Dropout(embedding_dropout)
        self.blocks = nn.ModuleList(
            Block(dim, heads, inner or dim, dropout, norm, activation, rezero, projection)
            for _ in range(layers)
        )
        self.norm = nn.Identity() if norm == "post" else nn.LayerNorm(dim)
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        self._initialise(init)

    def _initialise(self, init: str) -> None:
        linear = [module for module in self.blocks.modules() if isinstance(module, nn.Linear)]
        tables = [self.table.weight, self.positions.weight]
        if self.output.vectors is not None:
            tables.append(self.output.vectors)
        if init == "uniform":
            bound = 1 / math.sqrt(self.n_items)
            for table in tables:
                nn.init.uniform_(table, -bound, bound)
            for layer in linear:
                nn.init.xavier_normal_(layer.weight)
                nn.init.constant_(layer.bias, 0.1)
        elif init == "normal":
            for parameter in tables + [p for layer in linear for p in layer.parameters()]:
                nn.init.normal_(parameter, std=0.01)
        elif init == "xavier":
            for parameter in tables + [layer.weight for layer in linear]:
                nn.init.xavier_normal_(parameter)
            for layer in linear:
                nn.init.zeros_(layer.bias)
        else:
            raise ValueError(f"init must be uniform, normal or xavier, got {init!r}")
        self.table.zero_padding()

    def users(self, batch: Batch) -> Tensor:
        """Return the user vectors, (P, D).

        Raises:
            ValueError: if a history is longer than the model's `length`.
        """
        histories = aligned(batch.history, self.n_items)
        width = histories.items.shape[1]
        if width > self.length:
            raise ValueError(
                f"histories of up to {self.length} items fit this SASRec, got one of "
                f"{width}; cut them, or make the model with length={width}"
            )
        return asked(self._states(histories), histories, batch)

    def items(self) -> ItemVectors:
        """Return the output vectors and bias."""
        return self.output(self.table)

    def _states(self, histories: Histories) -> Tensor:
        """Return the state after each item, (B, L', D); those after the last mean nothing.

        Padding stands only at the right, where a causal model cannot see it: no mask is needed.
        """
        columns = torch.arange(histories.items.shape[1], device=histories.items.device)
        from_end = (histories.lengths[:, None] - 1 - columns).clamp(min=0)
        x = self.table(histories.items) * self.scale + self.positions(from_end)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each around a residual."""

    def __init__(
        self,
        dim: int,
        heads: int,
        inner: int,
        dropout: float,
        norm: Norm,
        activation: Literal["relu", "gelu"],
        rezero: bool,
        projection: bool,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.style: Norm = norm
        self.rate = dropout
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.joined = nn.Linear(dim, dim) if projection else nn.Identity()
        self.widen = nn.Linear(dim, inner)
        self.narrow = nn.Linear(inner, dim)
        self.activation = F.gelu if activation == "gelu" else F.relu
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.amounts = nn.Parameter(torch.full((2,), 1e-8)) if rezero else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        first, second = self.norms
        if self.style == "post":
            x = first(x + self._amount(0, self._attention(x, x)))
            return second(x + self._amount(1, self._feed_forward(x)))
        if self.style == "pre":
            normed = first(x)
            x = x + self._amount(0, self._attention(normed, normed))
            return x + self._amount(1, self._feed_forward(second(x)))
        normed = first(x)
        x = second(normed + self._amount(0, self._attention(normed, x)))
        return x + self._amount(1, self._feed_forward(x))

    def _amount(self, which: int, y: Tensor) -> Tensor:
        y = self.dropout(y)
        return y if self.amounts is None else self.amounts[which] * y

    def _attention(self, asking: Tensor, asked_of: Tensor) -> Tensor:
        rows, length, dim = asking.shape
        shape = (rows, length, self.heads, dim // self.heads)
        q, k, v = (
            layer(x).view(shape).transpose(1, 2)
            for layer, x in ((self.query, asking), (self.key, asked_of), (self.value, asked_of))
        )
        rate = self.rate if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=rate)
        return self.joined(y.transpose(1, 2).reshape(rows, length, dim))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.dropout(self.activation(self.widen(x))))
