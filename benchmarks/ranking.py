"""Full ranking of all users with masked seen items, as a share of the machine's product rate.

Beside the k best of implicit, if it is installed: `pip install implicit`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from benchmarks import dense
from benchmarks.implicit import IMPLICIT, without
from benchmarks.rate import best_rate
from benchmarks.timing import Bar, Row, Side, agree, milliseconds, paired
from softrec.retrieval import Seen, rank_of, top_k
from softrec.types import ItemVectors, Products


@dataclass(frozen=True)
class Shapes:
    """B users, N items, widths D of the vectors, seen items per user, and k."""

    users: int = 62_502
    n_items: int = 43_229
    dims: tuple[int, ...] = (64, 128)
    seen: int = 8
    k: int = 20
    repeats: int = 5


QUICK = Shapes(users=400, n_items=12_000, dims=(8,), k=3, repeats=2)


def ranking(shapes: Shapes) -> list[Row]:
    """Time `rank_of` and `top_k`."""
    return [row for dim in shapes.dims for row in _rows(shapes, dim)]


def _rows(s: Shapes, dim: int) -> list[Row]:
    draw = torch.Generator().manual_seed(0)
    users = torch.randn(s.users, dim, generator=draw)
    items = ItemVectors(torch.randn(s.n_items, dim, generator=draw))
    label = torch.randint(s.n_items, (s.users,), generator=draw)
    seen = Seen(
        torch.arange(s.users + 1) * s.seen,
        torch.randint(s.n_items, (s.users * s.seen,), generator=draw),
    )
    _check(users, items, label, seen, s)
    work = f"{s.users:,} users, N {s.n_items:,}, D {dim}, {s.seen} seen"
    best = f"top_k({s.k})"
    sides = {
        "rank_of": lambda: rank_of(Products(users, items), label, seen),
        best: lambda: top_k(Products(users, items), s.k, seen),
    }
    operations = 2.0 * s.users * s.n_items * dim
    rows = [_share(work, name, ours, operations, s.repeats) for name, ours in sides.items()]
    if IMPLICIT is None:
        return [without(rows[0]), *rows[1:]]
    theirs = _of_implicit(users, items, seen, s)
    bar = Bar(1.5, "at least", "speedup")
    pair = paired(sides[best], theirs, s.repeats, warm=False)
    return [*rows, pair.speedup(work, best, "implicit.cpu.topk", bar)]


def _share(
    work: str, name: str, ours: Callable[[], object], operations: float, repeats: int
) -> Row:
    """Return the rate of the products in a ranking beside the machine's best, found in turn."""
    threads = torch.get_num_threads()
    pairs = [
        (operations / milliseconds(ours) / 1e6, best_rate(threads)) for _ in range(max(repeats, 1))
    ]
    reached, possible = (list(side) for side in zip(*pairs, strict=True))
    return Row(
        work,
        Side.of(name, reached),
        Side.of(f"best product, {threads} threads", possible),
        max(reached) / max(possible),  # both are what the machine does when it is left alone
        Bar(0.7, "at least", "share"),
        unit="GFLOP/s",
        notes=(f"{name} reached at most {max(reached):.0f} of {max(possible):.0f} GFLOP/s",),
    )


def _of_implicit(users: Tensor, items: ItemVectors, seen: Seen, s: Shapes) -> Callable[[], object]:
    """Return the same ranking by implicit, after a comparison of the first users."""
    assert IMPLICIT is not None
    ones = np.ones(len(seen.items), dtype=np.float32)
    masked = csr_matrix((ones, seen.items.numpy(), seen.offsets.numpy()), (s.users, s.n_items))
    vectors, queries = items.vectors.numpy(), users.numpy()
    rank, threads = IMPLICIT.cpu.topk.topk, torch.get_num_threads()
    few = slice(0, min(64, s.users))
    _, scores = rank(vectors, queries[few], s.k, filter_query_items=masked[few])
    ours = top_k(Products(users[few], items), s.k, Seen(seen.offsets[: few.stop + 1], seen.items))
    agree(ours.scores, torch.from_numpy(scores))
    return lambda: rank(vectors, queries, s.k, filter_query_items=masked, num_threads=threads)


def _check(users: Tensor, items: ItemVectors, label: Tensor, seen: Seen, s: Shapes) -> None:
    """Compare the first users of all with sorted rows; this also warms up."""
    few = min(64, s.users)
    lists = seen.items[: few * s.seen].view(few, s.seen)
    scores = users[:few] @ items.vectors.T
    plain = dense.ranks(scores.clone(), label[:few], lists.tolist())
    agree(rank_of(Products(users, items), label, seen)[:few].float(), plain.float())
    masked = scores.scatter(1, lists, -torch.inf)
    agree(top_k(Products(users, items), s.k, seen).scores[:few], masked.topk(s.k).values)
