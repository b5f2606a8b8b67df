"""The graph of users and items, products with it, and what encoders on it have in common.

Every product here is symmetric, so that its gradient is the same product: nothing is transposed,
and nothing is kept for the way back but the graph.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from softrec.models.users import known_users
from softrec.types import Batch, ItemVectors

# --- the graph and its products ---


class Graph(nn.Module):
    """Who took what: an undirected graph of V = n_users + n_items nodes, users before items.

    Only places of ones are stored, 12 bytes an edge; degrees are lengths of rows. A graph is data,
    not weights: it moves with `to`, and is no part of `state_dict`.

    Args:
        edges: (2, E) integers, users above items; what is repeated counts once.
        n_users: number of users.
        n_items: number of items.

    Raises:
        ValueError: if the edges are no such pairs.

    Example:
        >>> graph = Graph(torch.tensor([[0, 1, 1, 1], [0, 0, 2, 2]]), n_users=2, n_items=3)
        >>> graph.degrees().tolist()
        [1, 2, 2, 0, 1]
    """

    neighbours: Tensor  # (2 E,) of node 0, of node 1, ...
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

    def drawn(self, share: float) -> Tensor:
        """Return weights (2 E,): 1 / share for a random `share` of the edges, 0 for the others.

        An edge is kept or dropped in both directions, so that products stay symmetric. Degrees
        are those of the whole graph.
        """
        once = torch.empty(len(self.order), device=self.order.device).bernoulli_(share) / share
        return torch.cat([once, once[self.order]])


def _distinct(edges: Tensor, n_users: int, n_items: int) -> tuple[Tensor, Tensor]:
    """Return users and items of the edges, sorted, each edge once."""
    if edges.dim() != 2 or len(edges) != 2 or edges.is_floating_point():
        raise ValueError(
            f"edges must be integers of shape (2, E), users above items, got {edges.dtype} of "
            f"shape {tuple(edges.shape)}"
        )
    for name, row, size in (("user", edges[0], n_users), ("item", edges[1], n_items)):
        wrong = row[(row < 0) | (row >= size)]
        if len(wrong):
            raise ValueError(f"{name}s of edges must be in 0 .. {size - 1}, got {int(wrong[0])}")
    key = (edges[0].long() * n_items + edges[1]).unique()
    return key // n_items, key % n_items


class _Symmetric(torch.autograd.Function):
    """y = P x of a symmetric linear operator P: the gradient in x is P too, of any order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, operator: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.operator = operator
        return operator(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _Symmetric.apply(gradients[0], ctx.operator), None  # pyright: ignore[reportReturnType]


def neighbour_sum(graph: Graph, x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return A x, (V, D): of each node the sum of its neighbours' rows; 0 where there are none.

    Args:
        graph: the adjacency A, symmetric.
        x: (V, D).
        weights: (2 E,) of the edges, from `Graph.drawn`; None for ones.
    """
    return _Symmetric.apply(x, partial(_sum, graph, weights))  # pyright: ignore[reportReturnType]


def propagate(graph: Graph, x: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return D^-1/2 A D^-1/2 x, (V, D), with the degrees in D; arguments as of `neighbour_sum`.

    Example:
        >>> graph = Graph(torch.tensor([[0, 0], [0, 1]]), n_users=1, n_items=2)
        >>> propagate(graph, torch.tensor([[1.0], [2.0], [4.0]]))[:, 0]
        tensor([4.2426, 0.7071, 0.7071])
    """
    return _Symmetric.apply(x, partial(_normalised, graph, weights))  # pyright: ignore[reportReturnType]


def mean_of_layers(graph: Graph, x: Tensor, layers: int, weights: Tensor | None = None) -> Tensor:
    """Return (x + P x + ... + P^K x) / (K + 1), (V, D), with P = D^-1/2 A D^-1/2.

    A polynomial of a symmetric matrix is symmetric: however many layers, forward and backward are
    K products each, and no layer is kept for the way back.

    Args:
        graph: as of `neighbour_sum`.
        x: (V, D).
        layers: K, 1 or more.
        weights: as of `neighbour_sum`, the same in all layers.
    """
    return _Symmetric.apply(x, partial(_mean_of_layers, graph, weights, layers))  # pyright: ignore[reportReturnType]


def _sum(graph: Graph, weights: Tensor | None, x: Tensor) -> Tensor:
    # A sum over lists of rows: on a CPU two thirds of the time of a product with a sparse tensor.
    # Its fast path asks for contiguous rows, which the gradient of a sum has not.
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


# --- one propagation for users and items ---


class _Kept(NamedTuple):
    parts: tuple[Tensor, ...]
    left: frozenset[int]  # which parts may still be handed out
    mode: tuple[bool, bool]  # training, with gradients
    weights: list[Tensor]  # held, so that no other weights can come to lie at their addresses
    versions: list[int]


class SharedPropagation:
    """Gives out the parts of one result, users and items, that a step asks for one by one.

    With gradients or in training, each part of a result is given out once, and whatever is left is
    dropped by the backward pass: no two steps share a graph or a random draw. In evaluation
    without gradients a result serves until its weights change, which their storage and version
    tell. Fused optimisers change weights without a new version. That stays unseen only if vectors
    are asked for without gradients between a backward pass and its step, and nobody calls `clear`,
    as encoders do whenever their mode is set. Copies and pickles start empty.
    """

    def __init__(self) -> None:
        self._kept: _Kept | None = None

    def __reduce__(self) -> tuple[type[SharedPropagation], tuple[()]]:
        return SharedPropagation, ()

    def clear(self) -> None:
        """Forget what is kept."""
        self._kept = None

    def part(
        self,
        index: int,
        weights: Iterable[Tensor],
        training: bool,
        compute: Callable[[], tuple[Tensor, tuple[Tensor, ...]]],
    ) -> Tensor:
        """Return one part of the result.

        Args:
            index: which part.
            weights: what the result depends on, beside constants.
            training: whether the result may be random.
            compute: returns the result and its parts, views of it.
        """
        weights = list(weights)
        mode = (training, torch.is_grad_enabled())
        if any(weight.is_inference() for weight in weights):
            return compute()[1][index]  # nobody counts how often such weights change
        kept = self._kept
        if kept is None or index not in kept.left or not _serves(kept, mode, weights):
            kept = self._computed(mode, weights, compute)
        left = kept.left - {index} if any(mode) else kept.left
        self._kept = kept._replace(left=left) if left else None
        return kept.parts[index]

    def _computed(
        self,
        mode: tuple[bool, bool],
        weights: list[Tensor],
        compute: Callable[[], tuple[Tensor, tuple[Tensor, ...]]],
    ) -> _Kept:
        # Made in inference mode, a result could not serve as a constant of a later training.
        with torch.inference_mode(False), torch.set_grad_enabled(mode[1]):
            whole, parts = compute()
            held = [weight.detach() for weight in weights]
        if whole.requires_grad:
            clear = weakref.WeakMethod(self.clear)

            def drop(gradient: Tensor) -> None:
                alive = clear()
                if alive is not None:
                    alive()

            whole.register_hook(drop)
        versions = [weight._version for weight in weights]
        return _Kept(parts, frozenset(range(len(parts))), mode, held, versions)


def _serves(kept: _Kept, mode: tuple[bool, bool], weights: list[Tensor]) -> bool:
    return (
        kept.mode == mode
        and kept.versions == [weight._version for weight in weights]
        and [w.data_ptr() for w in kept.weights] == [w.data_ptr() for w in weights]
    )


class GraphEncoder(nn.Module, ABC):
    """Tables of users and items whose rows are changed along the edges, then asked for.

    A class on it says how: `propagated`.

    Args:
        n_items: size N of the catalogue.
        n_users: users of the training log, numbered 0 .. n_users-1.
        edges: (2, E) integers, users above items: the training events.
        dim: width of both tables.
        output_bias: add one number per item to its logit.
        init: "xavier" (uniform, each table by its own size) or "normal" (N(0, 0.1)).

    Raises:
        ValueError: if the arguments make no tables or no graph.
    """

    reads: ClassVar[Literal["history", "user"]] = "user"

    def __init__(
        self, n_items: int, n_users: int, edges: Tensor, dim: int, output_bias: bool, init: str
    ) -> None:
        super().__init__()
        if n_items < 1 or n_users < 1:
            name = type(self).__name__
            raise ValueError(
                f"{name} needs items and users, got n_items={n_items}, n_users={n_users}"
            )
        self.n_items = n_items
        self.n_users = n_users
        self.graph = Graph(edges, n_users, n_items)
        self.user_table = nn.Embedding(n_users, dim)
        self.item_table = nn.Embedding(n_items, dim)
        self.bias = nn.Parameter(torch.zeros(n_items)) if output_bias else None
        self._shared = SharedPropagation()
        self._initialise(init)

    def _initialise(self, init: str) -> None:
        for table in (self.user_table, self.item_table):
            if init == "xavier":
                nn.init.xavier_uniform_(table.weight)
            elif init == "normal":
                nn.init.normal_(table.weight, std=0.1)
            else:
                raise ValueError(f"init must be xavier or normal, got {init!r}")

    @abstractmethod
    def propagated(self, nodes: Tensor) -> Tensor:
        """Return the vectors of all nodes, (V, D), from their rows in the tables."""

    def users(self, batch: Batch) -> Tensor:
        """Return the user vectors, (P, D)."""
        user = known_users(batch, self.n_users, type(self).__name__)
        return F.embedding(user, self._part(0))

    def items(self) -> ItemVectors:
        """Return the item vectors and bias."""
        return ItemVectors(self._part(1), self.bias)

    def stored_vectors(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return rows (P, D) and table (N, D) of layer 0: what l2 is on, in the papers."""
        user = known_users(batch, self.n_users, type(self).__name__)
        return F.embedding(user, self.user_table.weight), self.item_table.weight

    def train(self, mode: bool = True) -> GraphEncoder:
        """Set the mode, and forget the vectors of the old one."""
        self._shared.clear()
        return super().train(mode)

    def _part(self, index: int) -> Tensor:
        return self._shared.part(index, self.parameters(), self.training, self._whole)

    def _whole(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        nodes = torch.cat([self.user_table.weight, self.item_table.weight])
        whole = self.propagated(nodes)
        return whole, whole.split([self.n_users, self.n_items])


def check_dropout(name: str, share: float) -> None:
    """Check a share of edges to drop.

    Raises:
        ValueError: if it is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"{name} must be in [0, 1), got {share}")
