"""GRU4Rec: a recurrent network over the history."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from softrec.cuda import float32
from softrec.models import recurrence
from softrec.models.dropout import Dropout
from softrec.models.histories import (
    HistoryEncoder,
    ItemTable,
    OutputLayer,
    aligned,
    exporting,
    places,
)
from softrec.models.registry import MODELS
from softrec.parallel import Catalogue
from softrec.parallel.tables import normal_, xavier_normal_
from softrec.types import Batch, ItemVectors, Vectors

MOSTLY_FULL = 0.6  # with a larger fraction of real items, packing is slower


@MODELS.named("gru4rec")
class GRU4Rec(HistoryEncoder):
    """Embedding -> dropout -> GRU -> linear; the state after the last item is the user vector.

    Padding is never read: the GRU runs from the first to the last real item of each row. Without
    GRU biases this is the same as running over left padding with a zero vector.

    Args:
        n_items: size N of the catalogue.
        dim: width D of item and user vectors.
        hidden: width of the GRU; `dim` if None.
        layers: number of GRU layers.
        dropout: on the input embeddings.
        gru_bias: whether the GRU has biases.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "xavier" (normal embeddings, uniform first GRU layer), "normal" (all linear and
            embedding weights and biases from N(0, 0.01), the GRU as in PyTorch) or "gaussian" (as
            "normal" with biases 0).
        catalogue: the shards of the items, if this process has some of them.

    Defaults: dim 128 and one layer; RecBole 1.2 has 64, a GRU of 128, dropout 0.3 and tied vectors.
    Tied vectors were worse on three small data sets, dropout 0.3 on the one that was tried
    (docs/log.md).

    Source: Hidasi et al., "Session-based Recommendations with Recurrent Neural Networks",
    ICLR 2016. Presets: "softrec" (Cheng et al., SIGIR 2021, which gives the width and Gaussian
    weights; one layer is assumed), "desorec" (Zhang et al., DASFAA 2024) and "timirec" (Wang et
    al., CIKM 2022).
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "softrec": {"dim": 128, "layers": 1, "dropout": 0.0, "gru_bias": True, "tied": False,
                    "output_bias": True, "init": "gaussian"},
        "desorec": {"dim": 128, "layers": 4, "dropout": 0.1, "gru_bias": False, "tied": False,
                    "output_bias": True, "init": "xavier"},
        "timirec": {"dim": 64, "layers": 1, "dropout": 0.0, "gru_bias": True, "tied": True,
                    "output_bias": False, "init": "normal"},
    }  # fmt: skip

    def __init__(
        self,
        n_items: int,
        *,
        dim: int = 128,
        hidden: int | None = None,
        layers: int = 1,
        dropout: float = 0.1,
        gru_bias: bool = True,
        tied: bool = False,
        output_bias: bool = True,
        init: str = "xavier",
        catalogue: Catalogue | None = None,
    ) -> None:
        super().__init__()
        self.n_items = n_items
        hidden = hidden or dim
        self.table = ItemTable(n_items, dim, catalogue)
        self.dropout = Dropout(dropout)
        self.gru = nn.GRU(dim, hidden, layers, bias=gru_bias, batch_first=True)
        self.dense = nn.Linear(hidden, dim)
        self.output = OutputLayer(self.table, dim, tied=tied, bias=output_bias)
        self._initialise(init)

    def _initialise(self, init: str) -> None:
        if init == "xavier":
            xavier_normal_(self.table.weight)
            for weight in self.gru.all_weights[0][
                :2
            ]:  # the matrices of the first layer: input and recurrent
                nn.init.xavier_uniform_(weight)
        elif init in ("normal", "gaussian"):
            vectors = [] if self.output.vectors is None else [self.output.vectors]
            for weight in (self.table.weight, self.dense.weight, *vectors):
                normal_(weight, 0.01)
            nn.init.normal_(self.dense.bias, std=0.01 if init == "normal" else 0.0)
        else:
            raise ValueError(f"init must be xavier, normal or gaussian, got {init!r}")
        self.table.zero_padding()

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D) and the items."""
        histories = aligned(batch.history, self.n_items)
        inputs = self.dropout(self.table(histories.items))
        states = states_at(self.gru, inputs, histories.lengths, *places(histories, batch))
        users = self.dense(states)
        return Vectors(users, items or self.items())


def states_at(gru: nn.GRU, inputs: Tensor, lengths: Tensor, row: Tensor, step: Tensor) -> Tensor:
    """Return the last layer's states (P, H) of rows (P,) after steps (P,).

    Padding at the end of a row does not change the states before it. PyTorch's GRU answers where
    nothing is trained, and on other devices; in training on a processor that of
    `softrec.models.recurrence` is faster.

    Args:
        gru: with `batch_first`.
        inputs: (B, L, D), padded on the right.
        lengths: (B,) int64, at least 1.
        row: (P,) int64.
        step: (P,) int64, below the length of its row.
    """
    if exporting():
        return recurrence.scanned(gru, inputs)[row, step]
    if inputs.device.type == "cpu" and torch.is_grad_enabled():
        return recurrence.states_at(gru, inputs, lengths, row, step)
    with float32(inputs.device):
        return _states(gru, inputs, lengths)[row, step]


def _states(gru: nn.GRU, inputs: Tensor, lengths: Tensor) -> Tensor:
    """Return the states after each item, (B, L, H), which are not defined at padding.

    If most rows are full, states are computed at padding, too, which on a CPU takes 3/5 of the time
    of packing. Otherwise only those of real items are computed.
    """
    longest = inputs.shape[1]
    if float(lengths.double().mean()) >= MOSTLY_FULL * longest:
        return gru(inputs)[0]
    packed = pack_padded_sequence(inputs, lengths.cpu(), batch_first=True, enforce_sorted=False)
    states, _ = pad_packed_sequence(gru(packed)[0], batch_first=True, total_length=longest)
    return states
