"""SASRec: a causal transformer over the history."""

from __future__ import annotations

import math
from typing import Any, Literal

from torch import Tensor, nn

from softrec.models.attention import Block, Norm, from_end, initialise_blocks, states_of
from softrec.models.histories import fitting
from softrec.models.output import ItemTable, OutputLayer
from softrec.types import Batch, ItemVectors


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
        scale: multiply item embeddings by sqrt(D). Without it the positions, of a smaller table
            and so drawn larger, drown the items, and training starts late.
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
                     "embedding_dropout": 0.2, "norm": "query", "scale": True,
                     "projection": False, "tied": True, "output_bias": False, "init": "xavier"},
        "desorec": {"dim": 128, "length": 20, "layers": 2, "heads": 4, "inner": 512,
                    "dropout": 0.1, "norm": "post", "activation": "gelu", "rezero": True,
                    "scale": False, "tied": False, "output_bias": True, "init": "uniform"},
        "timirec": {"dim": 64, "length": 20, "layers": 1, "heads": 4, "dropout": 0.0,
                    "norm": "post", "scale": False, "projection": False, "tied": True,
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
        dropout: float = 0.2,
        embedding_dropout: float = 0.0,
        norm: Norm = "query",
        activation: Literal["relu", "gelu"] = "relu",
        rezero: bool = False,
        scale: bool = True,
        projection: bool = True,
        tied: bool = True,
        output_bias: bool = False,
        init: str = "xavier",
    ) -> None:
        super().__init__()
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
        tables = [self.table.weight, self.positions.weight]
        if self.output.vectors is not None:
            tables.append(self.output.vectors)
        initialise_blocks(self.blocks, tables, init, n_items)
        self.table.zero_padding()

    def users(self, batch: Batch) -> Tensor:
        """Return the user vectors, (P, D).

        Raises:
            ValueError: if a history is longer than the model's `length`.
        """
        histories = fitting(batch.history, self.n_items, self.length)
        x = self.table(histories.items) * self.scale + self.positions(from_end(histories))
        return self.norm(states_of(self.blocks, self.dropout(x), histories, batch))

    def items(self) -> ItemVectors:
        """Return the output vectors and bias."""
        return self.output(self.table)
