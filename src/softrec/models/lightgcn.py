"""LightGCN: user and item vectors, averaged over the layers of a propagation over their graph."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from softrec.models.graph import GraphEncoder, check_dropout, mean_of_layers
from softrec.models.registry import MODELS


@MODELS.named("lightgcn")
class LightGCN(GraphEncoder):
    """All vectors are E_final = (E + P E + ... + P^K E) / (K + 1) with P = D^-1/2 A D^-1/2.

    E (V, D) has a row for each of the V = n_users + n_items nodes, A connects a user with the items
    of its training events, and D has the numbers of neighbours. A node without neighbours has the
    vector E / (K + 1). Scores are inner products. The history is never read: users without a
    training event are unknown.

    A training step propagates once. A ranking propagates once for all its batches, in `items()`.

    Args:
        n_items: size N of the catalogue.
        n_users: users of the training log, numbered 0 .. n_users-1.
        edges: (2, E) integers, users in the first row, items in the second: the training events;
            repeats count once.
        dim: width D of item and user vectors.
        layers: K, 1 or more.
        edge_dropout: fraction of edges that a training step leaves out, in all layers and both
            directions; the others have the weight 1 / (1 - edge_dropout).
        output_bias: add one number per item to its logit.
        init: "xavier" (uniform, each table by its own size) or "normal" (N(0, 0.1)).

    Raises:
        DataError: from `forward`, if a user of the batch is not in the table.
        ValueError: if the sizes, `init` or the edges are wrong.

    Example:
        >>> import torch
        >>> from softrec.testing.encoders import padded
        >>> edges = torch.tensor([[0, 0, 1], [0, 3, 1]])
        >>> model = LightGCN(5, n_users=2, edges=edges, dim=4)
        >>> batch = padded([[0, 3], [1]], 5)
        >>> vectors = model(batch)
        >>> vectors.users.shape, vectors.items.vectors.shape
        (torch.Size([2, 4]), torch.Size([5, 4]))

    Defaults: those of the original, but for the initialisation, which is BSL's; RecBole 1.2 has two
    layers. The learning rate is 0.005: with 0.001 the inner products of averaged vectors grew too
    slowly to learn more than popularity on a small log (docs/log.md).

    Source: He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for
    Recommendation", SIGIR 2020, eq. 3-8; preset "original". Presets "bsl" and "bsl-1" (Gowalla,
    MovieLens-1M): Wu et al., "BSL: Understanding and Improving Softmax Loss for Recommendation",
    ICDE 2024.
    """

    DEFAULTS: ClassVar[dict[str, dict[str, Any]]] = {"training": {"lr": 5e-3}}
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "bsl": {"dim": 64, "layers": 3, "init": "xavier"},
        "bsl-1": {"dim": 64, "layers": 1, "init": "xavier"},
        "original": {"dim": 64, "layers": 3, "init": "normal"},
    }

    def __init__(
        self,
        n_items: int,
        *,
        n_users: int,
        edges: Tensor,
        dim: int = 64,
        layers: int = 3,
        edge_dropout: float = 0.0,
        output_bias: bool = False,
        init: str = "xavier",
    ) -> None:
        super().__init__(n_items, n_users, edges, dim, output_bias, init)
        if layers < 1:
            raise ValueError(f"layers must be 1 or more, got {layers}; without layers it is MF")
        check_dropout("edge_dropout", edge_dropout)
        self.layers = layers
        self.edge_dropout = edge_dropout

    def propagated(self, nodes: Tensor) -> Tensor:
        """Return the mean of all layers, (V, D)."""
        dropping = self.training and self.edge_dropout > 0
        weights = self.graph.drawn(1 - self.edge_dropout) if dropping else None
        return mean_of_layers(self.graph, nodes, self.layers, weights)
