"""NFM: a neural factorization machine over the items of the history."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from softrec.models.dropout import Dropout
from softrec.models.histories import HistoryEncoder, ItemTable, OutputLayer, aligned, pooled
from softrec.models.layers import Activation, Init, embedded, initialise, tower
from softrec.models.registry import MODELS
from softrec.types import Batch, ItemVectors, Vectors


@MODELS.named("nfm")
class NFM(HistoryEncoder):
    r"""Bi-interaction pooling of the history -> batch norm -> dropout -> network.

    $$f = \sum_{i<j} v_i \odot v_j
        = \tfrac12 \Big[\big(\sum_i v_i\big)^2 - \sum_i v_i^2\Big], \qquad
      h = \mathrm{MLP}(\mathrm{dropout}(\mathrm{BN}(f))) + \sum_i w_i$$

    over the real items, with squares by element. The original computes one number for one
    candidate. Here the last layer of the network gives the user vector h, and the linear terms of
    the original are vectors w_i from a separate table, as wide as h. A history with one item has
    f = 0, so that only w distinguishes such histories. The order of the items does not matter.

    Batch norm uses one vector f for each prediction, and no padding. A training batch with one
    prediction has no variance and is normalised by the running statistics. If every step is
    predicted, the sums are cumulative sums: memory is B x L x D, as for the embeddings themselves.

    Args:
        n_items: size N of the catalogue.
        dim: width D of item and user vectors.
        layers: widths of the hidden layers, each followed by the activation; a linear layer to D
            comes last. One hidden layer of width D if None.
        activation: "relu", "gelu" or "tanh", after each hidden layer.
        batch_norm: normalise f, as in the original.
        dropout: on f.
        mlp_dropout: after each hidden layer.
        first_order: add the sum of the w_i.
        tied: score with the input embeddings v instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "xavier" (all matrices Xavier normal, biases 0), "normal" (all matrices and linear
            biases from N(0, 0.01)) or "gaussian" (all matrices from N(0, 0.01), biases 0).

    Raises:
        ValueError: if a width is not positive, or `activation` or `init` is unknown.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = NFM(5, dim=4)
        >>> vectors = model(padded([[0, 3], [1]], 5))
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 4]), torch.Size([5, 4]))

    Defaults: those of the preset "desorec", but without batch norm, which was better on three small
    data sets (docs/log.md).

    Source: He and Chua, "Neural Factorization Machines for Sparse Predictive Analytics", SIGIR
    2017. Presets: "softrec" (Cheng et al., SIGIR 2021) and "desorec" (Zhang et al., DASFAA 2024).
    SoftRec gives no layers and no dropout; the preset takes those of DesoRec.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "softrec": {"dim": 128, "layers": (128,), "activation": "relu", "batch_norm": True,
                    "dropout": 0.1, "mlp_dropout": 0.1, "first_order": True, "tied": False,
                    "output_bias": True, "init": "gaussian"},
        "desorec": {"dim": 128, "layers": (128,), "activation": "relu", "batch_norm": True,
                    "dropout": 0.1, "mlp_dropout": 0.1, "first_order": True, "tied": False,
                    "output_bias": True, "init": "xavier"},
    }  # fmt: skip

    def __init__(
        self,
        n_items: int,
        *,
        dim: int = 128,
        layers: tuple[int, ...] | None = None,
        activation: Activation = "relu",
        batch_norm: bool = False,
        dropout: float = 0.1,
        mlp_dropout: float = 0.1,
        first_order: bool = True,
        tied: bool = False,
        output_bias: bool = True,
        init: Init = "xavier",
    ) -> None:
        super().__init__()
        self.n_items = n_items
        self.table = ItemTable(n_items, dim)
        self.first_order = ItemTable(n_items, dim) if first_order else None
        self.norm = PooledNorm(dim) if batch_norm else nn.Identity()
        self.dropout = Dropout(dropout)
        hidden = (dim,) if layers is None else layers
        self.tower = tower(dim, hidden, dim, activation=activation, dropout=mlp_dropout)
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        initialise(self, init)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D) and the items."""
        histories = aligned(batch.history, self.n_items)
        vectors = embedded(self.table, histories.items)
        total = pooled(vectors, histories, batch)
        squares = pooled(vectors.square(), histories, batch)
        users = self.tower(self.dropout(self.norm(bi_interaction(total, squares))))
        if self.first_order is not None:
            first_order = embedded(self.first_order, histories.items)
            users = users + pooled(first_order, histories, batch)
        return Vectors(users, items or self.items())


def bi_interaction(total: Tensor, squares: Tensor) -> Tensor:
    """Return the sum over pairs i < j of v_i * v_j, from the sums of v and of v^2.

    Example:
        >>> from torch import tensor
        >>> v = tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
        >>> bi_interaction(v.sum(0), v.square().sum(0)).tolist()  # 1*3 + 1*5 + 3*5, ...
        [23.0, 44.0]
    """
    return 0.5 * (total.square() - squares)


class PooledNorm(nn.BatchNorm1d):
    """Batch norm of vectors (P, D) that also accepts a training batch with P = 1."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised vectors, (P, D)."""
        if not self.training or len(input) > 1:
            return super().forward(input)
        return F.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )
