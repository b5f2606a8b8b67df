"""eSASRec: SASRec with blocks whose residual connections are gated, and SwiGLU layers."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from softrec.models.histories import each_row
from softrec.models.registry import MODELS
from softrec.models.transformer import Attend, Block, Transformer


@MODELS.named("esasrec")
class ESASRec(Transformer):
    r"""SASRec with LiGR blocks.

    $$X \leftarrow X + \sigma(X G_1) \odot \mathrm{attention}(\mathrm{LN}(X)), \qquad
    X \leftarrow X + \sigma(X G_2) \odot \mathrm{ffn}(\mathrm{LN}(X))$$

    with ffn(x) = (silu(x A) * (x B)) C. The gates G read what is not normalised, and say for each
    dimension how much of a sub-layer is added.

    Args:
        n_items: size N of the catalogue.
        dim: width D.
        length: longest history; longer ones are refused.
        layers: number of blocks.
        heads: attention heads in a block.
        inner: width of the feed-forward layer; 4 D if None.
        dropout: on the attention weights, in the feed-forward layer, and on the output of each.
        embedding_dropout: on the sum of item and position embeddings.
        scale: multiply item embeddings by sqrt(D). Without it the initial position embeddings,
            which are larger because their table is smaller, dominate, and learning starts late.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "uniform", "normal" or "xavier", as in SASRec.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> ESASRec(5, dim=4, length=3)(padded([[0, 3, 2], [1]], 5)).users.shape
        torch.Size([2, 4])

    Defaults: the blocks of the original, with the width, heads and dropout of sasrec. It is
    published with a sampled softmax, which is `candidates: sampled` or, on a small catalogue, full.

    Source: "eSASRec: Enhancing Transformer-based Recommendations in a Modular Fashion", RecSys
    2025; the blocks: "From Features to Transformers: Redefining Ranking for Scalable Impact",
    arXiv 2502.03417.
    """

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
        embedding_dropout: float = 0.2,
        scale: bool = True,
        tied: bool = True,
        output_bias: bool = False,
        init: str = "xavier",
    ) -> None:
        super().__init__(
            n_items,
            lambda: GatedBlock(dim, heads, inner or 4 * dim, dropout),
            dim=dim, length=length, layers=layers, embedding_dropout=embedding_dropout,
            scale=scale, tied=tied, output_bias=output_bias, init=init,
        )  # fmt: skip


class GatedBlock(Block):
    """Causal self-attention and a SwiGLU layer, each after a norm and behind a gate.

    Args:
        dim: width D.
        heads: attention heads; D is a multiple of them.
        inner: width of the feed-forward layer.
        dropout: on the attention weights, in the feed-forward layer, and on the output of each.
    """

    def __init__(self, dim: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__(dim, heads, inner, dropout, "pre", "gelu", False, True)
        self.widen = nn.Linear(dim, inner, bias=False)
        self.beside = nn.Linear(dim, inner, bias=False)
        self.narrow = nn.Linear(inner, dim, bias=False)
        self.gates = nn.ModuleList(nn.Linear(dim, dim) for _ in range(2))

    def forward(self, x: Tensor, attend: Attend = None, step: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D), or (B, 1, D) for one step (B,) of each row."""
        first, second = self.norms
        attention_gate, forward_gate = self.gates
        normal = first(x)
        own, asking = x, normal
        if step is not None:
            own, asking = (part[each_row(x), step][:, None] for part in (x, normal))
        attended = self.dropout(self._attention(asking, normal, attend, step))
        own = own + attention_gate(own).sigmoid() * attended
        return own + forward_gate(own).sigmoid() * self.dropout(self._feed_forward(second(own)))

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.narrow(self.dropout(F.silu(self.widen(x)) * self.beside(x)))
