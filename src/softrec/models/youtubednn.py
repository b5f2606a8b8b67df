"""YoutubeDNN: a network over the mean of the history."""

from __future__ import annotations

from typing import Any, ClassVar

from softrec.models.histories import (
    HistoryEncoder,
    ItemTable,
    OutputLayer,
    aligned,
    pooled,
    pooled_lengths,
)
from softrec.models.layers import Activation, Init, embedded, initialise, tower
from softrec.models.registry import MODELS
from softrec.types import Batch, ItemVectors, Vectors


@MODELS.named("youtubednn")
class YoutubeDNN(HistoryEncoder):
    r"""The user vector is a network over the mean of the history's item embeddings.

    $$h = \mathrm{MLP}\Big(\frac{1}{n} \sum_{i=1}^{n} v_i\Big)$$

    with the embeddings v_i of the n real items; padding counts neither in the sum nor in n, and an
    empty history has the mean 0. The order of the items does not matter. If every step is
    predicted, the means are computed by cumulative sums: memory is B x L x D, as for the embeddings
    themselves.

    Args:
        n_items: size N of the catalogue.
        dim: width D of item and user vectors.
        layers: widths of the hidden layers, each followed by the activation; a linear layer to D
            comes last. One hidden layer of width D if None; with `()` there is only the linear
            layer.
        activation: "relu", "gelu" or "tanh", after each hidden layer.
        dropout: after each hidden layer.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "xavier" (all matrices Xavier normal, biases 0), "normal" (all matrices and linear
            biases from N(0, 0.01)) or "gaussian" (all matrices from N(0, 0.01), biases 0).

    Raises:
        ValueError: if a width is not positive, or `activation` or `init` is unknown.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = YoutubeDNN(5, dim=4)
        >>> vectors = model(padded([[0, 3], [1]], 5))
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 4]), torch.Size([5, 4]))

    Defaults: dim 128 and one hidden layer, as in the preset "desorec", without dropout. Not
    measured against others.

    Source: Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, with
    ReLU layers 1024-512-256. Presets: "softrec" (Cheng et al., SIGIR 2021), "desorec" (Zhang et
    al., DASFAA 2024) and "timirec" (Wang et al., CIKM 2022). The published code of TiMiRec includes
    padding in the sum; here it is masked.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "softrec": {"dim": 128, "layers": None, "activation": "relu", "dropout": 0.0,
                    "tied": False, "output_bias": True, "init": "gaussian"},
        "desorec": {"dim": 128, "layers": None, "activation": "relu", "dropout": 0.1,
                    "tied": False, "output_bias": True, "init": "xavier"},
        "timirec": {"dim": 64, "layers": (), "dropout": 0.0, "tied": True, "output_bias": False,
                    "init": "normal"},
    }  # fmt: skip

    def __init__(
        self,
        n_items: int,
        *,
        dim: int = 128,
        layers: tuple[int, ...] | None = None,
        activation: Activation = "relu",
        dropout: float = 0.0,
        tied: bool = False,
        output_bias: bool = True,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.table = ItemTable(n_items, dim)
        hidden = (dim,) if layers is None else layers
        self.tower = tower(dim, hidden, dim, activation=activation, dropout=dropout)
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        initialise(self, init)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D) and the items."""
        histories = aligned(batch.history, self.n_items)
        total = pooled(embedded(self.table, histories.items), histories, batch)
        users = self.tower(total / pooled_lengths(histories, batch)[:, None])
        return Vectors(users, items or self.items())
