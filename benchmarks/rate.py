"""The best rate of this machine's matrix product, found by trial over shapes of tiles.

A product runs at the machine's rate only if its tile stays in the cache while it is worked on. So
the rate with which other work is compared is the best that any of a few tiles reaches, and not the
rate of a product of the shape of the work.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import torch

ROWS, COLUMNS, DIMS = (128, 256, 512), (512, 1024, 2048), (64, 128)
ROUNDS = 6  # over all shapes, so that a disturbance does not meet one shape alone
SECONDS = 0.01  # for a shape in a round


def best_rate(
    threads: int, dtype: torch.dtype = torch.float32, dims: tuple[int, ...] = DIMS
) -> float:
    """Return the best rate of `users @ items.T` on a CPU, in GFLOP/s, in about a second.

    Args:
        threads: of torch in the products.
        dtype: of both vectors and of the result.
        dims: the widths D of the vectors that are tried.
    """
    shapes = list(product(ROWS, COLUMNS, dims))
    with _threads(threads):
        return max(_rate(*shape, dtype) for _ in range(ROUNDS) for shape in shapes)


def _rate(rows: int, columns: int, dim: int, dtype: torch.dtype) -> float:
    users, items = torch.randn(rows, dim).to(dtype), torch.randn(columns, dim).to(dtype)
    logits = torch.empty(rows, columns, dtype=dtype)
    operations = 2 * rows * columns * dim
    least, end = float("inf"), time.perf_counter() + SECONDS
    while True:
        begin = time.perf_counter()
        torch.mm(users, items.T, out=logits)
        now = time.perf_counter()
        least = min(least, now - begin)
        if now > end:
            return operations / least / 1e9


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


if __name__ == "__main__":
    for threads in sorted({1, torch.multiprocessing.cpu_count()}):
        print(f"{threads} threads: {best_rate(threads):,.0f} GFLOP/s")
