"""YoutubeDNN: the mean of the history, and a network over it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn

from softrec.models.histories import Histories, aligned, asked
from softrec.models.output import ItemTable, OutputLayer
from softrec.types import Batch, ItemVectors

Activation = Literal["relu", "gelu", "tanh"]
Init = Literal["xavier", "normal", "gaussian"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class YoutubeDNN(nn.Module):
    r"""The user vector is a network over the mean of the history's item embeddings.

    $$h = \mathrm{MLP}\Big(\frac{1}{n} \sum_{i=1}^{n} v_i\Big)$$

    with the embeddings v_i of the n real items; padding counts neither in the sum nor in n, and an
    empty history has the mean 0. The order of the items does not matter. Asked at every step, the
    means are running sums: memory B x L x D, as for the embeddings themselves.

    Args:
        n_items: size N of the catalogue.
        dim: width D of item and user vectors.
        layers: widths of the hidden layers, each followed by the activation; a linear layer to D
            comes last. One hidden layer of width D if None; `()` leaves the linear layer alone.
        activation: "relu", "gelu" or "tanh", after each hidden layer.
        dropout: after each hidden layer.
        tied: score with the input embeddings instead of an output table of its own.
        output_bias: add one number per item to its logit.
        init: "xavier" (all matrices Xavier normal, biases 0), "normal" (all matrices and linear
            biases from N(0, 0.01)) or "gaussian" (all matrices from N(0, 0.01), biases 0).

    Raises:
        ValueError: if a width is not positive, or `activation` or `init` is not known.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> model = YoutubeDNN(5, dim=4)
        >>> model.users(padded([[0, 3], [1]], 5)).shape, model.items().vectors.shape
        (torch.Size([2, 4]), torch.Size([5, 4]))

    Source: Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016; there
    a ReLU tower 1024-512-256. Presets: "softrec" (Cheng et al., SIGIR 2021), "desorec" (Zhang et
    al., DASFAA 2024) and "timirec" (Wang et al., CIKM 2022). The published TiMiRec code lets the
    padding into the sum; here it is masked.
    """

    PRESETS: dict[str, dict[str, Any]] = {
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

    def users(self, batch: Batch) -> Tensor:
        """Return the user vectors, (P, D)."""
        histories = aligned(batch.history, self.n_items)
        total = pooled(embedded(self.table, histories.items), histories, batch)
        return self.tower(total / pooled_lengths(histories, batch)[:, None])

    def items(self) -> ItemVectors:
        """Return the output vectors and bias."""
        return self.output(self.table)


def embedded(table: ItemTable, items: Tensor) -> Tensor:
    """Return the vectors of items, (..., D), exactly 0 for padding whatever its row holds."""
    real = items != table.num_embeddings - 1
    return table(items) * real[..., None]


def pooled(values: Tensor, histories: Histories, batch: Batch) -> Tensor:
    """Sum values (B, L', D), 0 at padding, over the items up to each place asked for: (P, D)."""
    if batch.row is None:
        return values.sum(1)
    return asked(values.cumsum(1), histories, batch)


def pooled_lengths(histories: Histories, batch: Batch) -> Tensor:
    """Return how many items are read at each place asked for, (P,), at least 1."""
    return histories.lengths if batch.step is None else batch.step + 1


def tower(
    width: int, layers: Iterable[int], out: int, *, activation: Activation, dropout: float
) -> nn.Sequential:
    """Return Linear -> activation -> dropout for each hidden width, and a linear layer at last.

    Raises:
        ValueError: if a width is not positive or the activation is not known.
    """
    widths = [width, *layers]
    if min(widths) < 1:
        raise ValueError(f"layers must have positive widths, got {widths[1:]}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be {' or '.join(ACTIVATIONS)}, got {activation!r}")
    modules: list[nn.Module] = []
    for before, after in pairwise(widths):
        modules += [nn.Linear(before, after), ACTIVATIONS[activation](), nn.Dropout(dropout)]
    return nn.Sequential(*modules, nn.Linear(widths[-1], out))


def initialise(model: nn.Module, init: Init) -> None:
    """Draw every matrix of a model anew: tables, linear layers, filters, output vectors.

    One-dimensional parameters are biases and batch norms. Of these only the biases of linear layers
    and filters are touched: drawn by "normal", else set to 0. Drawn biases outweigh the products
    of small matrices, so that at the start about half of the rectified units answer nothing.

    Raises:
        ValueError: if `init` is not known.
    """
    if init not in ("xavier", "normal", "gaussian"):
        raise ValueError(f"init must be xavier, normal or gaussian, got {init!r}")
    draw = nn.init.xavier_normal_ if init == "xavier" else partial(nn.init.normal_, std=0.01)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            draw(parameter)
    for module in model.modules():
        if isinstance(module, ItemTable):
            module.zero_padding()
        if isinstance(module, (nn.Linear, nn.Conv1d)) and module.bias is not None:
            nn.init.normal_(module.bias, std=0.01 if init == "normal" else 0.0)
