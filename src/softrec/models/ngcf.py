"""NGCF: graph convolutions with weight matrices and with products of a node and its neighbours."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softrec.models.dropout import Dropout
from softrec.models.graph import GraphEncoder, check_dropout, neighbour_sum, propagate
from softrec.models.registry import MODELS

SLOPE = 0.2

Adjacency = Literal["row", "symmetric"]
Rectified = Literal["each", "sum"]
Pooling = Literal["concat", "mean"]
CHOICES = {
    "adjacency": ("row", "symmetric"),
    "rectified": ("each", "sum"),
    "pooling": ("concat", "mean"),
}


@MODELS.named("ngcf")
class NGCF(GraphEncoder):
    """K layers over the graph of users and items; every layer is part of the final vector.

    With near = P E, the messages of a layer are near W1 + b1 and (E * near) W2 + b2, and

        E'    = dropout(LeakyReLU(near W1 + b1) + LeakyReLU((E * near) W2 + b2))     each
        E'    = dropout(LeakyReLU(near W1 + b1 + (E * near) W2 + b2))                sum
        final = [E, E'/|E'|, E''/|E''|, ...] concatenated, or their mean

    with slope 0.2. E (V, D) has a row for each user and item, and A connects a user with the items
    of its training events. P = (D + 1)^-1 (A + 1), the mean over neighbours and the node itself
    ("row"), or D^-1/2 A D^-1/2 ("symmetric"). Vectors have width (K + 1) D with "concat". The
    history is never read: users without a training event are unknown.

    A training step propagates once. A ranking propagates once for all its batches, in `items()`.

    Args:
        n_items: size N of the catalogue.
        n_users: users of the training log, numbered 0 .. n_users-1.
        edges: (2, E) integers, users in the first row, items in the second: the training events;
            repeats count once.
        dim: width D of the tables and of each layer.
        layers: K, 1 or more.
        adjacency: the form of P: "row" or "symmetric".
        rectified: LeakyReLU of "each" message or of their "sum".
        pooling: "concat" or "mean" of layers 0 .. K.
        message_dropout: fraction of the numbers of E' that a training step sets to 0, before the
            division by the length.
        node_dropout: fraction of the entries of P that a training step leaves out, the same in all
            layers; the name is the paper's. An edge is left out in both directions, and the entry
            of a node itself separately. The others have the weight 1 / (1 - node_dropout).
        output_bias: add one number per item to its logit.

    Raises:
        DataError: from `forward`, if a user of the batch is not in the table.
        ValueError: if sizes, options or the edges are wrong.

    Example:
        >>> from softrec.testing.encoders import padded
        >>> edges = torch.tensor([[0, 0, 1], [0, 3, 1]])
        >>> model = NGCF(5, n_users=2, edges=edges, dim=4, layers=2)
        >>> batch = padded([[0, 3], [1]], 5)
        >>> vectors = model(batch)
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 12]), torch.Size([5, 12]))

    Defaults: those of the original, but without dropout; RecBole 1.2 has message_dropout 0.1. The
    learning rate is 0.003, which was the best of three on a small log (docs/log.md).

    Source: Wang et al., "Neural Graph Collaborative Filtering", SIGIR 2019, eq. 7-11; preset
    "original" has the settings of its reference code. Preset "bsl" has the form of Wu et al., "BSL:
    Understanding and Improving Softmax Loss for Recommendation", ICDE 2024, which has no published
    settings of it: the message dropout is that of the original.
    """

    DEFAULTS: ClassVar[dict[str, dict[str, Any]]] = {"training": {"lr": 3e-3}}
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "original": {
            "dim": 64,
            "layers": 3,
            "adjacency": "row",
            "rectified": "each",
            "pooling": "concat",
            "message_dropout": 0.1,
            "node_dropout": 0.1,
        },
        "bsl": {
            "dim": 64,
            "layers": 3,
            "adjacency": "symmetric",
            "rectified": "sum",
            "pooling": "mean",
            "message_dropout": 0.1,
            "node_dropout": 0.0,
        },
    }

    def __init__(
        self,
        n_items: int,
        *,
        n_users: int,
        edges: Tensor,
        dim: int = 64,
        layers: int = 3,
        adjacency: Adjacency = "row",
        rectified: Rectified = "each",
        pooling: Pooling = "concat",
        message_dropout: float = 0.0,
        node_dropout: float = 0.0,
        output_bias: bool = False,
    ) -> None:
        super().__init__(n_items, n_users, edges, dim, output_bias, "xavier")
        given = {"adjacency": adjacency, "rectified": rectified, "pooling": pooling}
        for name, choice in given.items():
            if choice not in CHOICES[name]:
                raise ValueError(f"{name} must be {' or '.join(CHOICES[name])}, got {choice!r}")
        if layers < 1:
            raise ValueError(f"layers must be 1 or more, got {layers}; without layers it is MF")
        check_dropout("node_dropout", node_dropout)
        self.adjacency = adjacency
        self.rectified = rectified
        self.pooling = pooling
        self.node_dropout = node_dropout
        self.dropout = Dropout(message_dropout)
        self.sums = nn.ModuleList(_xavier(dim) for _ in range(layers))
        self.products = nn.ModuleList(_xavier(dim) for _ in range(layers))

    def propagated(self, nodes: Tensor) -> Tensor:
        """Return layers 0 .. K of all nodes, pooled, (V, D) or (V, (K + 1) D)."""
        weights, own = self._drawn(nodes)
        vectors, layers = nodes, [nodes]
        for first, second in zip(self.sums, self.products, strict=True):
            near = self._near(vectors, weights, own)
            messages = first(near), second(vectors * near)
            if self.rectified == "each":
                vectors = F.leaky_relu(messages[0], SLOPE) + F.leaky_relu(messages[1], SLOPE)
            else:
                vectors = F.leaky_relu(messages[0] + messages[1], SLOPE)
            vectors = self.dropout(vectors)
            layers.append(F.normalize(vectors))
        if self.pooling == "concat":
            return torch.cat(layers, 1)
        return sum(layers[1:], layers[0]) / len(layers)

    def _drawn(self, nodes: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Return random weights of edges (2 E,) and of the nodes' own entries (V, 1)."""
        if not self.training or self.node_dropout == 0:
            return None, None
        kept = 1 - self.node_dropout
        own = torch.empty_like(nodes[:, :1]).bernoulli_(kept) / kept
        return self.graph.drawn(kept), own

    def _near(self, vectors: Tensor, weights: Tensor | None, own: Tensor | None) -> Tensor:
        if self.adjacency == "symmetric":
            return propagate(self.graph, vectors, weights)
        # Only the sum is symmetric; the division is left to autograd.
        themselves = vectors if own is None else vectors * own
        total = themselves + neighbour_sum(self.graph, vectors, weights)
        return total / (self.graph.degrees() + 1).to(vectors.dtype)[:, None]


def _xavier(dim: int) -> nn.Linear:
    """Return a linear layer with Xavier initialisation, of the bias as a matrix with one row."""
    layer = nn.Linear(dim, dim)
    nn.init.xavier_uniform_(layer.weight)
    bound = (6 / (1 + dim)) ** 0.5
    nn.init.uniform_(layer.bias, -bound, bound)
    return layer
