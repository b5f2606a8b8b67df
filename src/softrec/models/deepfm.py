"""DeepFM: the sum of a factorization machine and a network, over the same history."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F

from softrec.models.dropout import Dropout
from softrec.models.histories import HistoryEncoder, ItemTable, OutputLayer, exporting, recent
from softrec.models.layers import Activation, Init, embedded, initialise, tower
from softrec.models.nfm import bi_interaction
from softrec.models.registry import MODELS
from softrec.types import Batch, ItemVectors, Vectors


@MODELS.named("deepfm")
class DeepFM(HistoryEncoder):
    r"""The sum of a factorization machine and a network, both over the history's embeddings.

    $$h = \mathrm{dropout}\Big(\sum_{i<j} v_i \odot v_j\Big) + \sum_i w_i
        + \mathrm{MLP}([x_1; \dots; x_L])$$

    over the real items, with vectors w_i from a separate table, as wide as h. The network reads L
    concatenated vectors of width D. The most recent item is always the last one, and the vectors
    before the oldest item are zero. So a place means "this many items ago", and left and right
    padding give the same numbers. Only the network uses the order.

    Each prediction has its own window: memory is P x L x D, which is B x L x L x D if every
    position is trained (256 histories of 20 items at D = 128: 52 MB).

    Args:
        n_items: size N of the catalogue.
        length: number L of items that the network reads, the longest history.
        dim: width D of item and user vectors.
        layers: widths of the hidden layers, each followed by the activation; a linear layer to D
            comes last. One hidden layer of width 4 D if None.
        activation: "relu", "gelu" or "tanh", after each hidden layer.
        dropout: on the sum over pairs.
        mlp_dropout: after each hidden layer.
        first_order: add the sum of the w_i.
        tied: score with the input embeddings v instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "xavier" (all matrices Xavier normal, biases 0), "normal" (all matrices and linear
            biases from N(0, 0.01)) or "gaussian" (all matrices from N(0, 0.01), biases 0).

    Raises:
        ValueError: if a width is not positive, or `activation` or `init` is unknown; from
            `forward`, if a history is longer than `length`.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = DeepFM(5, length=3, dim=4)
        >>> vectors = model(padded([[0, 3], [1]], 5))
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 4]), torch.Size([5, 4]))

    Defaults: those of the preset "desorec" (RecBole's, dim 10 and three layers of 128, are for
    clicks, not for ranking a catalogue). It over-fits a
    small log after three epochs (docs/log.md).

    Source: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction",
    IJCAI 2017. Preset: "desorec" (Zhang et al., DASFAA 2024), whose code is not public: layers and
    dropout are from the paper, the formula above is our choice.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "desorec": {"dim": 128, "length": 20, "layers": (512,), "activation": "relu",
                    "dropout": 0.1, "mlp_dropout": 0.1, "first_order": True, "tied": False,
                    "output_bias": True, "init": "xavier"},
    }  # fmt: skip

    def __init__(
        self,
        n_items: int,
        *,
        length: int,
        dim: int = 128,
        layers: tuple[int, ...] | None = None,
        activation: Activation = "relu",
        dropout: float = 0.1,
        mlp_dropout: float = 0.1,
        first_order: bool = True,
        tied: bool = False,
        output_bias: bool = True,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.length = length
        self.table = ItemTable(n_items, dim)
        self.first_order = ItemTable(n_items, dim) if first_order else None
        self.dropout = Dropout(dropout)
        hidden = (4 * dim,) if layers is None else layers
        self.tower = tower(length * dim, hidden, dim, activation=activation, dropout=mlp_dropout)
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        initialise(self, init)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D) and the items.

        Raises:
            ValueError: if a history is longer than the model's `length`.
        """
        history = recent(batch, self.n_items, self.length)
        slots = embedded(self.table, history)
        pairs = bi_interaction(slots.sum(1), slots.square().sum(1))
        users = self.dropout(pairs) + self.tower(slots.flatten(1))
        if self.first_order is not None:
            users = users + self._summed(self.first_order, history)
        return Vectors(users, items or self.items())

    def _summed(self, table: ItemTable, history: Tensor) -> Tensor:
        if exporting():  # ONNX has no such operation, and takes a loop over the rows for it
            return embedded(table, history).sum(1)
        return F.embedding_bag(history, table.weight, mode="sum", padding_idx=self.n_items)
