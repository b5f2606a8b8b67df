"""What share of the machine's best product rate a streamed step reaches over three products."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch

from benchmarks.losses import Inputs, Shapes
from benchmarks.rate import best_rate
from benchmarks.timing import Bar, Row, Side, milliseconds
from softrec.losses.softmax import hard

BARS = {64: 0.70, 128: 0.80}  # by the width D of the vectors


@dataclass(frozen=True)
class Grid:
    """Batches, catalogues and widths, and how often each is timed."""

    batches: tuple[int, ...] = (256, 1024)
    n_items: tuple[int, ...] = (43_229, 262_000)
    dims: tuple[int, ...] = (64, 128)
    seconds: float = 4.0


QUICK = Grid((16,), (500,), (8,), 0.01)


def shares(grid: Grid) -> list[Row]:
    """Time hard cross-entropy, forward and backward, at each size."""
    sizes = itertools.product(grid.dims, grid.n_items, grid.batches)
    return [_share(dim, n_items, batch, grid.seconds) for dim, n_items, batch in sizes]


def _share(dim: int, n_items: int, batch: int, seconds: float) -> Row:
    shapes, threads = (
        Shapes(batch=batch, n_items=n_items, dim=dim, sparse=1),
        torch.get_num_threads(),
    )
    data = Inputs(shapes)

    def step() -> tuple[torch.Tensor, ...]:
        return data.gradients(data.streamed(hard()))

    step()
    rate, times = best_rate(threads), [milliseconds(step)]
    while len(times) < 3 or sum(times) < 1e3 * seconds:
        times.append(milliseconds(step))
    rate = max(rate, best_rate(threads))  # before and after: other work disturbs either
    products = 3 * 2 * batch * n_items * dim / rate / 1e6
    return Row(
        f"hard cross-entropy, {shapes}, {threads} threads",
        Side.of("streamed", times),
        Side(f"three products at {rate:,.0f} GFLOP/s", products, products),
        products / min(times),
        Bar(BARS.get(dim, 0.0), "at least", "share of the machine's rate (of the least time)"),
    )
