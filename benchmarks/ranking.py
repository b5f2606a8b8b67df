"""Full ranking of all users with masked seen items, compared with only the matrix products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import dense
from benchmarks.timing import Bar, Row, agree, paired
from softrec.limits import LIMITS
from softrec.retrieval import Seen, rank_of, top_k
from softrec.types import ItemVectors, Products


@dataclass(frozen=True)
class Shapes:
    """B users, N items, vectors of width D, seen items per user, and k."""

    users: int = 62_502
    n_items: int = 43_229
    dim: int = 128
    seen: int = 8
    k: int = 20
    repeats: int = 3


QUICK = Shapes(users=100, n_items=6000, dim=8, repeats=2)


def ranking(shapes: Shapes) -> list[Row]:
    """Time `rank_of` and `top_k`."""
    draw = torch.Generator().manual_seed(0)
    s = shapes
    users = torch.randn(s.users, s.dim, generator=draw)
    items = ItemVectors(torch.randn(s.n_items, s.dim, generator=draw))
    label = torch.randint(s.n_items, (s.users,), generator=draw)
    seen = Seen(
        torch.arange(s.users + 1) * s.seen,
        torch.randint(s.n_items, (s.users * s.seen,), generator=draw),
    )
    _check(users, items, label, seen, s)

    def products() -> None:
        size = max(1, min(len(users), LIMITS.scores // (s.n_items * users.element_size())))
        buffer = torch.empty(size, s.n_items)
        for begin in range(0, len(users), size):
            block = users[begin : begin + size]
            torch.mm(block, items.vectors.T, out=buffer[: len(block)])

    work = f"{s.users:,} users, N {s.n_items:,}, D {s.dim}, {s.seen} seen"
    bar = Bar(2.0, "at most", "cost")
    sides = {
        "rank_of": lambda: rank_of(Products(users, items), label, seen),
        f"top_k({s.k})": lambda: top_k(Products(users, items), s.k, seen),
    }
    return [
        paired(ours, products, s.repeats, warm=False).row(work, name, "bare products", bar)
        for name, ours in sides.items()
    ]


def _check(users: Tensor, items: ItemVectors, label: Tensor, seen: Seen, s: Shapes) -> None:
    """Compare the first users with sorted rows; this also warms up."""
    few = min(64, s.users)
    some = Seen(seen.offsets[: few + 1], seen.items[: few * s.seen])
    lists = some.items.view(few, s.seen).tolist()
    scores = users[:few] @ items.vectors.T
    plain = dense.ranks(scores.clone(), label[:few], lists)
    agree(rank_of(Products(users[:few], items), label[:few], some).float(), plain.float())
    masked = scores.scatter(1, some.items.view(few, s.seen), -torch.inf)
    agree(top_k(Products(users[:few], items), s.k, some).scores, masked.topk(s.k).values)
