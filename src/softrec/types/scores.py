"""The scores of a batch: all that ranking, evaluation and serving need of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from softrec.types.batch import Interests, ItemVectors
from softrec.types.offset import Offset

FEWEST = 4
"""Rows of a product: with fewer, sums of equal columns differ on AMD processors.

With 5 to 11 items they do there with any number of rows.
"""


class Scores(ABC):
    """The scores of a batch over all items, computed one block of rows at a time.

    Ranking, evaluation and serving use nothing else of a model. The scores of an encoder are
    `Products` of its vectors; a model that scores directly has a subclass of its own.

    Attributes:
        n_items: size N of the catalogue.
        like: a tensor of the type and on the device of the scores.
        tables: how many tables (b, N) `fill` uses at a time, including the table of the scores.
    """

    n_items: int
    like: Tensor
    tables: int = 1

    @abstractmethod
    def __len__(self) -> int:
        """Return the number P of rows."""

    @abstractmethod
    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Overwrite `out` (b, N) with the scores of some rows, and return it."""

    def at(self, rows: slice, items: Tensor) -> Tensor:
        """Return the scores (b, m) of items (b, m) of some rows; equal items have equal scores."""
        whole = self.fill(rows, self.like.new_empty(len(items), self.n_items))
        return whole.gather(1, items.long())

    def held(self, m: int) -> int:
        """Return how many numbers `at` needs in memory per row, for m items per row."""
        return self.n_items * self.tables


class Products(Scores):
    """Scores that are inner products: users @ vectors.T + bias.

    Args:
        users: (P, D), or (P, K, D) for several interests; the highest score counts.
        items: vectors (N, D) and bias (N,) or None.
        interests: only of models that predict them.

    Example:
        >>> scores = Products(torch.tensor([[1.0, 2.0]]), ItemVectors(torch.eye(2)))
        >>> scores.fill(slice(0, 1), torch.empty(1, 2))
        tensor([[1., 2.]])
    """

    def __init__(
        self, users: Tensor, items: ItemVectors, interests: Interests | None = None
    ) -> None:
        self.users, self.items, self.interests = users, items, interests
        self.n_items = len(items.vectors)
        self.like = users
        self.tables = users.shape[1] if users.dim() == 3 else 1
        self._transposed = items.vectors.T
        self._products = users.new_empty(0, self.n_items)  # by interest; used again for each block

    def __len__(self) -> int:
        return len(self.users)

    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the products of some rows to `out` (b, N)."""
        flat = self.users[rows].reshape(-1, self.users.shape[-1])
        if self.tables > 1:
            if len(self._products) < max(len(flat), FEWEST):
                self._products = out.new_empty(max(len(flat), FEWEST), self.n_items)
            scores = self._multiplied(flat, self._products)
            torch.amax(scores.view(-1, self.tables, self.n_items), 1, out=out)
        elif len(flat) >= FEWEST:
            torch.mm(flat, self._transposed, out=out)
        else:
            out.copy_(self._multiplied(flat, out.new_empty(FEWEST, self.n_items)))
        if self.items.bias is not None:
            out += self.items.bias
        return out

    def _multiplied(self, flat: Tensor, out: Tensor) -> Tensor:
        """Return the products of rows (F, D); of a few the first ones are multiplied again.

        For a few rows the library uses other algorithms, with which equal item vectors may have
        different scores.
        """
        more = FEWEST - len(flat)
        factor = flat if more <= 0 else torch.cat([flat, flat[:1].expand(more, -1)])
        return torch.mm(factor, self._transposed, out=out[: len(factor)])[: len(flat)]

    def at(self, rows: slice, items: Tensor) -> Tensor:
        """Return the scores (b, m) of items (b, m), each computed as a separate sum.

        In a batched matrix product the rounding depends on the place of an item in the block, so
        that equal items would have different scores.
        """
        users = self.users[rows]
        interests = users if users.dim() == 3 else users[:, None]
        vectors = self.items.vectors.index_select(0, items.flatten()).unflatten(0, items.shape)
        scores = (vectors * interests[:, :1]).sum(-1)
        for interest in interests[:, 1:].unbind(1):
            scores = torch.maximum(scores, (vectors * interest[:, None]).sum(-1))
        bias = self.items.bias
        return scores if bias is None else scores + bias[items.long()]

    def held(self, m: int) -> int:
        """Return how many numbers the gathered vectors and their products have."""
        return 2 * m * self.users.shape[-1]


def products_of(scores: Scores) -> Products | None:
    """Return the products that scores are, or to which an offset is added; None for others."""
    plain = scores.plain if isinstance(scores, OffsetScores) else scores
    return plain if isinstance(plain, Products) else None


class OffsetScores(Scores):
    """Scores with an offset added for a few items of each row.

    Args:
        plain: the scores without it.
        offset: (P, N).

    Example:
        >>> plain = Products(torch.tensor([[1.0, 2.0]]), ItemVectors(torch.eye(2)))
        >>> offset = Offset(torch.tensor([0, 1]), torch.tensor([0]), torch.tensor([3.0]))
        >>> OffsetScores(plain, offset).fill(slice(0, 1), torch.empty(1, 2))
        tensor([[4., 2.]])
    """

    def __init__(self, plain: Scores, offset: Offset) -> None:
        self.plain, self.offset = plain, offset
        self.n_items, self.like, self.tables = plain.n_items, plain.like, plain.tables

    def __len__(self) -> int:
        return len(self.plain)

    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the scores of some rows to `out` (b, N)."""
        return self.offset.add(rows, self.plain.fill(rows, out))

    def at(self, rows: slice, items: Tensor) -> Tensor:
        """Return the scores (b, m) of items (b, m) of some rows."""
        scores = self.plain.at(rows, items)
        return scores + self.offset.at(rows, items.long()).to(scores)

    def held(self, m: int) -> int:
        """Return how many numbers `at` needs in memory per row, for m items per row."""
        return self.plain.held(m) + 3 * m
