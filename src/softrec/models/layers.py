"""Layers that several backbones use."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from softrec.models.dropout import Dropout
from softrec.models.histories import ItemTable

Activation = Literal["relu", "gelu", "tanh"]
Init = Literal["xavier", "normal", "gaussian"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


def embedded(table: ItemTable, items: Tensor) -> Tensor:
    """Return the vectors of items, (..., D), exactly 0 for padding."""
    real = items != table.num_embeddings - 1
    return table(items) * real[..., None]


def tower(
    width: int, layers: Iterable[int], out: int, *, activation: Activation, dropout: float
) -> nn.Sequential:
    """Return Linear -> activation -> dropout for each hidden width, and a linear layer at the end.

    Raises:
        ValueError: if a width is not positive or the activation is unknown.
    """
    widths = [width, *layers]
    if min(widths) < 1:
        raise ValueError(f"layers must have positive widths, got {widths[1:]}")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be {' or '.join(ACTIVATIONS)}, got {activation!r}")
    modules: list[nn.Module] = []
    for before, after in pairwise(widths):
        modules += [nn.Linear(before, after), ACTIVATIONS[activation](), Dropout(dropout)]
    return nn.Sequential(*modules, nn.Linear(widths[-1], out))


def initialise(model: nn.Module, init: Init) -> None:
    """Initialise every matrix of a model: tables, linear layers, filters, output vectors.

    One-dimensional parameters are biases and batch norms. Of these, only the biases of linear
    layers and filters are initialised: at random with "normal", else with 0. Random biases are
    larger than the products of small matrices, so that at first about half of the rectified units
    are always 0.

    Raises:
        ValueError: if `init` is unknown.
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
