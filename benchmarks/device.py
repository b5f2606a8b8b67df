"""The loss and ranking on a GPU: `python -m benchmarks.device [--json FILE]`.

Each row is the least of a few repetitions, by the clock of the device, with the share of the best
rate of its matrix product at this width (found by trial), and of its memory (a copy). A step of the
loss is counted as three products of P x N x D, a ranking as one. The memory is what a step needs
besides vectors and their gradients.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from softrec.losses import softmax_loss
from softrec.retrieval import rank_of, top_k
from softrec.targets.smoothing import UniformTarget
from softrec.types import ItemVectors, Products

SHAPES = ((256, 43_229, 64), (1024, 43_229, 64), (1024, 262_000, 64), (1024, 262_000, 128),
          (12_800, 12_101, 64), (256, 1_000_000, 64))  # fmt: skip
RANKED = (62_502, 43_229, 64)
REPEATS = 5


def seconds(work: Callable[[], Any]) -> float:
    """Return the least time of a few repetitions, by the device's clock."""
    work()
    times: list[float] = []
    for _ in range(REPEATS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / 1e3)
    return min(times)


def best_rate(dim: int, dtype: torch.dtype) -> float:
    """Return the best rate of a product of vectors of width `dim`, in operations a second."""
    rates: list[float] = []
    for rows, columns in ((1024, 8192), (4096, 16_384), (4096, 65_536), (16_384, 16_384)):
        a = torch.randn(rows, dim, device="cuda", dtype=dtype)
        b = torch.randn(columns, dim, device="cuda", dtype=dtype)
        out = torch.empty(rows, columns, device="cuda", dtype=dtype)
        works: tuple[Callable[[], Any], ...] = (
            partial(torch.mm, a, b.T, out=out), partial(torch.mm, out, b),
            partial(torch.mm, out.T, a),
        )  # fmt: skip
        rates += (2 * rows * columns * dim / seconds(work) for work in works)
    return max(rates)


def memory_rate() -> float:
    """Return bytes a second, read and written, of a copy of 2 GiB."""
    a = torch.empty(2**29, device="cuda")
    b = torch.empty_like(a)
    return 2 * 4 * a.numel() / seconds(lambda: b.copy_(a))


def step(
    users: Tensor, items: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> Callable[[], Any]:
    """Return a step: the value and both gradients."""
    return lambda: torch.autograd.grad(loss(users, items), [users, items])


def losses(dtype: torch.dtype) -> list[dict[str, Any]]:
    """Time steps of the streamed pass and of cross-entropy with a table of logits."""
    found: list[dict[str, Any]] = []
    for rows, n_items, dim in SHAPES:
        draw = torch.Generator("cuda").manual_seed(0)
        users = torch.randn(rows, dim, device="cuda", generator=draw).to(dtype).requires_grad_()
        items = torch.randn(n_items, dim, device="cuda", generator=draw) * dim**-0.5
        items = items.to(dtype).requires_grad_()
        label = torch.randint(n_items, (rows,), device="cuda", generator=draw)
        uniform = UniformTarget(n_items)
        rate = best_rate(dim, dtype)
        works = {
            "streamed": lambda h, w, y=label: softmax_loss(h, w, y),
            "streamed, uniform": lambda h, w, y=label, s=uniform: softmax_loss(
                h, w, y, target=s, weight=0.3
            ),
            "cross_entropy": lambda h, w, y=label: F.cross_entropy((h @ w.T).float(), y),
        }
        for name, loss in works.items():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            took = seconds(step(users, items, loss))
            extra = torch.cuda.max_memory_allocated() - before
            share = 6 * rows * n_items * dim / took / rate
            found.append(
                {"work": name, "dtype": str(dtype), "shape": f"P {rows:,} N {n_items:,} D {dim}",
                 "ms": 1e3 * took, "share": share, "MiB": extra / 2**20}
            )  # fmt: skip
    return found


def rankings() -> list[dict[str, Any]]:
    """Time the ranks of labels, and the 20 best items, of many users."""
    rows, n_items, dim = RANKED
    users, items = (torch.randn(n, dim, device="cuda") for n in (rows, n_items))
    label = torch.randint(n_items, (rows,), device="cuda")
    scores = Products(users, ItemVectors(items))
    rate = best_rate(dim, torch.float32)
    works = {"rank_of": lambda: rank_of(scores, label), "top_k(20)": lambda: top_k(scores, 20)}
    return [
        {"work": name, "dtype": "torch.float32", "shape": f"P {rows:,} N {n_items:,} D {dim}",
         "ms": 1e3 * took, "share": 2 * rows * n_items * dim / took / rate, "MiB": float("nan")}
        for name, work in works.items()
        for took in [seconds(work)]
    ]  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.device", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers, too")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no CUDA device is visible to torch")
    facts = {
        "device": torch.cuda.get_device_name(), "torch": torch.__version__,
        "memory, GB/s": memory_rate() / 1e9,
        **{f"product, {dtype}, D {dim}, TFLOP/s": best_rate(dim, dtype) / 1e12
           for dtype in (torch.float32, torch.bfloat16) for dim in (64, 128)},
    }  # fmt: skip
    found = [*losses(torch.float32), *losses(torch.bfloat16), *rankings()]
    console = Console(width=120)
    console.print(facts)
    table = Table("work", "type", "shape", "ms", "share of the product rate", "extra MiB")
    for row in found:
        numbers = f"{row['ms']:.2f}", f"{row['share']:.0%}", f"{row['MiB']:,.0f}"
        table.add_row(row["work"], row["dtype"].removeprefix("torch."), row["shape"], *numbers)
    console.print(table)
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": facts, "rows": found}), encoding="utf-8")


if __name__ == "__main__":
    main()
