"""Paired timing: two sides alternate, so that disturbances affect both."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Work = Callable[[], Any]


@dataclass(frozen=True)
class Side:
    """One side of a pair: its name, and the median and the smallest of its measurements."""

    name: str
    median: float
    least: float

    @classmethod
    def of(cls, name: str, measured: list[float]) -> Side:
        return cls(name, statistics.median(measured), min(measured))


@dataclass(frozen=True)
class Bar:
    """The limit of a ratio."""

    limit: float
    sense: Literal["at least", "at most"]
    of: str  # what is divided by what

    def met(self, ratio: float) -> bool:
        return ratio >= self.limit if self.sense == "at least" else ratio <= self.limit


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    work: str
    ours: Side
    beside: Side | None
    ratio: float
    bar: Bar | None  # None: told, held to nothing
    unit: str = "ms"
    notes: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        return self.bar is None or self.bar.met(self.ratio)


@dataclass(frozen=True)
class Pair:
    """Milliseconds of two sides, measured in turn."""

    a: list[float]
    b: list[float]

    @property
    def ratio(self) -> float:
        """Return the median of a / b over neighbouring measurements."""
        return statistics.median(x / y for x, y in zip(self.a, self.b, strict=True))

    @property
    def swapped(self) -> Pair:
        return Pair(self.b, self.a)

    def row(self, work: str, a: str, b: str, bar: Bar | None, notes: tuple[str, ...] = ()) -> Row:
        """Return the row in which `a` is ours and the ratio is a / b."""
        return Row(work, Side.of(a, self.a), Side.of(b, self.b), self.ratio, bar, notes=notes)

    def speedup(
        self, work: str, a: str, b: str, bar: Bar | None, notes: tuple[str, ...] = ()
    ) -> Row:
        """Return the row in which `a` is ours and the ratio is b / a."""
        return Row(
            work, Side.of(a, self.a), Side.of(b, self.b), self.swapped.ratio, bar, notes=notes
        )


def milliseconds(work: Work) -> float:
    begin = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begin)


def paired(a: Work, b: Work, repeats: int, *, warm: bool = True) -> Pair:
    """Time `a` and `b` alternately, after one round that does not count."""
    if warm:
        a()
        b()
    rounds = [(milliseconds(a), milliseconds(b)) for _ in range(repeats)]
    return Pair([x for x, _ in rounds], [y for _, y in rounds])


def agree(ours: Tensor, plain: Tensor, *, tolerance: float = 1e-4) -> None:
    """Refuse to time two sides with different results.

    It compares the largest difference with the largest number.
    """
    ours, plain = ours.detach(), plain.detach()
    scale = float(plain.abs().max())
    worst = float((ours - plain).abs().max())
    if not worst <= tolerance * max(scale, 1e-30):
        raise AssertionError(f"the two sides differ by {worst:.3g} where numbers go up to "
                             f"{scale:.3g}, which is more than {tolerance:g} of it")  # fmt: skip


@dataclass
class Clock:
    """Measures the time of named parts."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        begin = time.perf_counter()
        yield
        self.add(name, time.perf_counter() - begin)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Rates:
    """The two rates of the machine with which times are compared."""

    flop: float  # floating-point operations a second, in a product of the shape of the work
    bytes: float  # bytes a second, read and written, in an addition of long vectors

    def bound(self, seconds: float, flop: float, least_bytes: float, otherwise: str) -> str:
        """Return what limits a part that needs `flop` operations and moves `least_bytes`."""
        compute = flop / self.flop / seconds
        memory = least_bytes / self.bytes / seconds
        shares = f"{compute:.0%} of the product rate, {memory:.0%} of the memory rate"
        if max(compute, memory) < 0.5:
            return f"{otherwise} ({shares})"
        return f"{'compute' if compute >= memory else 'memory'} ({shares})"


def rates(rows: int, dim: int, n_items: int, *, numbers: int = 2**24) -> Rates:
    """Measure the rates, with the product of (rows, dim) and (dim, n_items) for the first."""
    users, items = torch.randn(rows, dim), torch.randn(n_items, dim)
    logits = torch.empty(rows, n_items)
    product = min(_each(lambda: torch.mm(users, items.T, out=logits)))
    long, total = torch.randn(numbers), torch.zeros(numbers)
    addition = min(_each(lambda: total.add_(long)))
    return Rates(2e3 * rows * dim * n_items / product, 1e3 * 3 * 4 * numbers / addition)


def _each(work: Work, repeats: int = 7) -> list[float]:
    return [milliseconds(work) for _ in range(repeats)]


def machine() -> dict[str, str]:
    """Return the facts on which the numbers depend, such as the machine and versions."""
    facts = {
        "processor": _processor(),
        "cores": str(torch.multiprocessing.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    return facts | {name: version(name) for name in ("softrec", "torch", "numpy")}


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
