"""The graph of users and items, products with it, and a base class of encoders on it.

Every product here is symmetric, so that its gradient is the same product: nothing is transposed,
and only the graph is stored for backward.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softrec.models.users import UserEncoder
from softrec.types import Batch, ItemVectors, StoredVectors, Vectors

# --- the graph and its products ---


class Graph(nn.Module):
    """Interactions as an undirected graph of V = n_users + n_items nodes, users before items.

    Only the places of ones are stored, 12 bytes per edge; degrees are lengths of rows. A graph is
    data and not a weight: it moves with `to`, and is not in `state_dict`.

    Args:
        edges: (2, E) integers, users in the first row, items in the second; repeats count once.
        n_users: number of users.
        n_items: number of items.

    Raises:
        ValueError: if the edges are not such pairs.

    Example:
        >>> graph = Graph(torch.tensor([[0, 1, 1, 1], [0, 0, 2, 2]]), n_users=2, n_items=3)
        >>> graph.degrees().tolist()
        [1, 2, 2, 0, 1]
    """

    neighbours: Tensor  # (2 E,) the neighbours of node 0, of node 1, ...
    offsets: Tensor  # (V + 1,) where the neighbours of each node start
    order: Tensor  # (E,) the edges, sorted by user and item, in the order of the items' rows

    def __init__(self, edges: Tensor, n_users: int, n_items: int) -> None:
        super().__init__()
        user, item = _distinct(edges, n_users, n_items)
        counts = (user.bincount(minlength=n_users), item.bincount(minlength=n_items))
        offsets = F.pad(torch.cat(counts).cumsum(0), (1, 0))
        order = item.argsort(stable=True)
        neighbours = torch.cat([item + n_users, user[order]])
        small = torch.int32 if len(neighbours) < 2**31 else torch.int64
        for name, part in {"neighbours": neighbours, "offsets": offsets, "order": order}.items():
            self.register_buffer(name, part.to(small), persistent=False)

    def degrees(self) -> Tensor:
        """Return how many neighbours each node has, (V,)."""
        return self.offsets.diff()

    def drawn(self, kept: float) -> Tensor:
        """Return weights (2 E,): 1 / kept for a random fraction `kept` of the edges, else 0.

        An edge is kept or left out in both directions, so that products are symmetric. Degrees are
        those of the whole graph.
        """
        once = torch.empty(len(self.order), device=self.order.device).bernoulli_(kept) / kept
        return torch.cat([once, once[self.order]])


def _distinct(edges: Tensor, n_users: int, n_items: int) -> tuple[Tensor, Tensor]:
    """Return users and items of the edges, sorted, each edge once."""
    if edges.dim() != 2 or len(edges) != 2 or edges.is_floating_point():
        raise ValueError(
            "edges must be integers of shape (2, E), with users in the first row and items in "
            f"the second, got {edges.dtype} of shape {tuple(edges.shape)}"
        )
    for name, row, size in (("user", edges[0], n_users), ("item", edges[1], n_items)):
        wrong = row[(row < 0) | (row >= size)]
        if len(wrong):
            raise ValueError(f"{name}s of edges must be in 0 .. {size - 1}, got {int(wrong[0])}")
    key = (edges[0].long() * n_items + edges[1]).unique()
    return key // n_items, key % n_items


class _Symmetric(torch.autograd.Function):
    """y = P x for a symmetric linear operator P; gradients of any order are products with P."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.operator = operator
        return operator(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Symmetric.apply(gradients[0], ctx.operator), None  # pyright: ignore[reportReturnType]


def neighbour_sum(graph: Graph, x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return A x, (V, D): for each node the sum of its neighbours' rows; 0 without neighbours.

    Args:
        graph: the adjacency A, symmetric.
        x: (V, D).
        weights: (2 E,) of the edges, from `Graph.drawn`; None for ones.
    """
    return _Symmetric.apply(x, partial(_sum, graph, weights))  # pyright: ignore[reportReturnType]


def propagate(graph: Graph, x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return D^-1/2 A D^-1/2 x, (V, D), with the degrees in D; arguments as in `neighbour_sum`.

    Example:
        >>> graph = Graph(torch.tensor([[0, 0], [0, 1]]), n_users=1, n_items=2)
        >>> propagate(graph, torch.tensor([[1.0], [2.0], [4.0]]))[:, 0]
        tensor([4.2426, 0.7071, 0.7071])
    """
    return _Symmetric.apply(x, partial(_normalised, graph, weights))  # pyright: ignore[reportReturnType]


def mean_of_layers(graph: Graph, x: Tensor, layers: int, weights: Tensor | None = None) -> Tensor:
    """Return (x + P x + ... + P^K x) / (K + 1), (V, D), with P = D^-1/2 A D^-1/2.

    A polynomial of a symmetric matrix is symmetric, so forward and backward are K products each,
    and no layer is stored for backward.

    Args:
        graph: as in `neighbour_sum`.
        x: (V, D).
        layers: K, 1 or more.
        weights: as in `neighbour_sum`, the same in all layers.
    """
    return _Symmetric.apply(x, partial(_mean_of_layers, graph, weights, layers))  # pyright: ignore[reportReturnType]


def _sum(graph: Graph, weights: Tensor | None, x: Tensor) -> Tensor:
    # A sum over lists of rows; on a CPU it takes 2/3 of the time of a product with a sparse tensor.
    # It is fast only for contiguous rows, which the gradient of a sum does not have.
    weights = None if weights is None else weights.to(x.dtype)
    return F.embedding_bag(
        graph.neighbours, x.contiguous(), graph.offsets, mode="sum",
        per_sample_weights=weights, include_last_offset=True,
    )  # fmt: skip


def _root(graph: Graph, x: Tensor) -> Tensor:
    """Return the diagonal of D^-1/2, (V, 1), 0 for nodes without neighbours."""
    degrees = graph.degrees()
    return degrees.to(x.dtype).rsqrt().masked_fill(degrees == 0, 0)[:, None]


def _normalised(graph: Graph, weights: Tensor | None, x: Tensor) -> Tensor:
    root = _root(graph, x)
    return _sum(graph, weights, x * root).mul_(root)


def _mean_of_layers(graph: Graph, weights: Tensor | None, layers: int, x: Tensor) -> Tensor:
    """Horner's rule x + P (x + P (x + ...)), on rows scaled by D^-1/2 until the last product."""
    root = _root(graph, x)
    inverse = root.square()
    first = scaled = x * root
    for _ in range(layers - 1):
        found = _sum(graph, weights, scaled)
        scaled = torch.addcmul(first, found, inverse, out=found)
    found = _sum(graph, weights, scaled)
    return torch.addcmul(x, found, root, out=found).div_(layers + 1)


# --- encoders on a graph ---


class GraphEncoder(UserEncoder):
    """Tables of users and items whose rows are propagated along the edges of the graph.

    A subclass defines the propagation in `propagated`. `items` propagates once, and its result has
    the vectors of all users for the batches that follow.

    Args:
        n_items: size N of the catalogue.
        n_users: users of the training log, numbered 0 .. n_users-1.
        edges: (2, E) integers, users in the first row, items in the second: the training events.
        dim: width of both tables.
        output_bias: add one number per item to its logit.
        init: "xavier" (uniform, each table by its own size) or "normal" (N(0, 0.1)).

    Raises:
        ValueError: if the sizes, `init` or the edges are wrong.
    """

    def __init__(
        self, n_items: int, n_users: int, edges: Tensor, dim: int, output_bias: bool, init: str
    ) -> None:
        super().__init__(n_items, n_users, dim, output_bias, init, std=0.1)
        self.graph = Graph(edges, n_users, n_items)

    @abstractmethod
    def propagated(self, nodes: Tensor) -> Tensor:
        """Return the vectors of all nodes, (V, D), from their rows in the tables."""

    def items(self) -> ItemVectors:
        """Return the item vectors and bias, and with them the vectors of all users."""
        nodes = torch.cat([self.user_table.weight, self.item_table.weight])
        users, items = self.propagated(nodes).split([self.n_users, self.n_items])
        return ItemVectors(items, self.bias, carried=users)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the user vectors (P, D), the items, and the rows of layer 0 for the L2 penalty."""
        user = self.known_users(batch)
        items = items or self.items()
        stored = StoredVectors(F.embedding(user, self.user_table.weight), self.item_table.weight)
        return Vectors(F.embedding(user, items.carried), items, stored=stored)


def check_dropout(name: str, rate: float) -> None:
    """Check a fraction of edges to leave out.

    Raises:
        ValueError: if it is not in [0, 1).
    """
    if not 0 <= rate < 1:
        raise ValueError(f"{name} must be in [0, 1), got {rate}")
