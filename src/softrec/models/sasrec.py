"""SASRec: a causal transformer over the history."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from softrec.models.registry import MODELS
from softrec.models.transformer import Block, Norm, Transformer
from softrec.parallel import Catalogue


@MODELS.named("sasrec")
class SASRec(Transformer):
    """Item and position embeddings -> causal self-attention blocks; the last state is the user.

    Positions are counted from the end of the history (the last item has position 0), so that they
    do not depend on the side or the amount of padding.

    Args:
        n_items: size N of the catalogue.
        dim: width D.
        length: longest history; older items are not read.
        layers: number of blocks.
        heads: attention heads in a block.
        inner: width of the feed-forward layer; `dim` if None.
        dropout: on the attention weights and on the output of each sub-layer.
        embedding_dropout: on the sum of item and position embeddings.
        norm: "post" (x <- LN(x + f(x))), "pre" (x <- x + f(LN(x)), and one LN at the end) or
            "query" (as in the original: only the queries of the attention are normalised, and the
            output of the attention is added to the normalised queries).
        activation: "relu" or "gelu" in the feed-forward layer.
        rezero: multiply each sub-layer's output by a learned scalar that starts at 1e-8.
        scale: multiply item embeddings by sqrt(D). Without it the initial position embeddings,
            which are larger because their table is smaller, dominate, and learning starts late.
        projection: a linear layer over the concatenated heads.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "uniform" (embeddings in +-1/sqrt(N), linear layers Xavier normal with bias 0.1),
            "normal" (all from N(0, 0.01)) or "xavier" (all matrices Xavier normal).
        catalogue: the shards of the items, if this process has some of them.

    Defaults: the original's form, scaled, with norms of the queries, but dim 64, two heads and an
    output projection. RecTools has dim 256 and four heads, RePlay dim 50 and one head, both two
    blocks, dropout 0.2; RecBole 1.2 dim 64, two heads, norms after, GELU, dropout 0.5. Scaling was
    measured (docs/log.md).

    Source: Kang and McAuley, "Self-Attentive Sequential Recommendation", ICDM 2018. Presets:
    "original", "desorec" (Zhang et al., DASFAA 2024), "timirec" (Wang et al., CIKM 2022).
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
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
        catalogue: Catalogue | None = None,
    ) -> None:
        super().__init__(
            n_items,
            lambda: Block(dim, heads, inner or dim, dropout, norm, activation, rezero, projection),
            dim=dim, length=length, layers=layers, embedding_dropout=embedding_dropout,
            scale=scale, tied=tied, output_bias=output_bias, init=init,
            after=None if norm == "post" else nn.LayerNorm(dim), catalogue=catalogue,
        )  # fmt: skip
