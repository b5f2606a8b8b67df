"""Training of a transformer on a processor: dropout beside torch's, and padding left out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import Bar, Row, Work, agree, paired
from softrec.limits import limited
from softrec.models import dropout, transformer
from softrec.models.sasrec import SASRec
from softrec.types import Batch


@dataclass(frozen=True)
class Sizes:
    """Rows, columns, and the mean length of a history before it is cut."""

    rows: int
    longest: int
    mean: float

    def __str__(self) -> str:
        return f"{self.rows} x {self.longest} items, {self.mean:g} on average"


@dataclass(frozen=True)
class Shapes:
    """What is timed, and how often."""

    sizes: tuple[Sizes, ...] = (
        Sizes(128, 10, 4),  # like sessions of a shop
        Sizes(512, 20, 6),
        Sizes(512, 50, 7),  # like Beauty
        Sizes(128, 200, 130),  # like MovieLens-1M
    )
    n_items: int = 12_000
    dim: int = 64
    rate: float = 0.5
    repeats: int = 9


QUICK = Shapes((Sizes(8, 5, 3),), 20, 4, repeats=1)
DROPOUT = Bar(3.0, "at least", "time of torch / ours")
TOGETHER = Bar(1.0, "at least", "time of all rows together / of similar lengths")
BOTH = Bar(1.4, "at least", "time without both / with both")


def padding(shapes: Shapes) -> list[Row]:
    """Time dropout, and the users of SASRec and their gradients, with and without both."""
    return [_dropout(shapes), *(row for sizes in shapes.sizes for row in _users(sizes, shapes))]


def _dropout(shapes: Shapes) -> Row:
    sizes = shapes.sizes[0]
    x = torch.randn(sizes.rows * sizes.longest, shapes.dim)
    pair = paired(
        lambda: dropout.dropout(x, shapes.rate), lambda: F.dropout(x, shapes.rate), shapes.repeats
    )
    rows, columns = x.shape
    return pair.speedup(f"dropout, {rows:,} x {columns}", "softrec", "torch", DROPOUT)


def _users(sizes: Sizes, shapes: Shapes) -> list[Row]:
    torch.manual_seed(0)
    batch = _batch(sizes, shapes.n_items)
    model = SASRec(shapes.n_items, dim=shapes.dim, length=sizes.longest, dropout=shapes.rate)

    def gradients() -> Tensor:
        parameters = [p for p in model.parameters() if p is not model.table.weight]
        users = model(batch).users
        found = torch.autograd.grad(users.square().sum(), parameters, allow_unused=True)
        return torch.cat([part.flatten() for part in found if part is not None])

    def together() -> Tensor:
        with limited(padding=2**60):
            return gradients()

    def before() -> Tensor:
        with limited(padding=2**60), _dropout_of_torch():
            return gradients()

    def times(work: str, beside: Work, name: str, bar: Bar) -> Row:
        return paired(gradients, beside, shapes.repeats).speedup(work, "softrec", name, bar)

    model.eval()
    agree(gradients(), together())
    rows = [times(f"SASRec without dropout, {sizes}", together, "together", TOGETHER)]
    model.train()
    rows.append(times(f"SASRec, {sizes}", together, "together", TOGETHER))
    rows.append(times(f"SASRec, {sizes}", before, "together, dropout of torch", BOTH))
    return rows


def _batch(sizes: Sizes, n_items: int) -> Batch:
    """Return histories of which each step is asked for, as in `windows: positions`."""
    drawn = torch.empty(sizes.rows).exponential_(1 / max(sizes.mean - 2, 1))
    length = (2 + drawn.round().long()).clamp(max=sizes.longest)
    length[0] = sizes.longest
    columns = torch.arange(sizes.longest)
    real = columns < length[:, None]
    history = torch.randint(n_items, real.shape).masked_fill(~real, n_items)
    row, step = real.nonzero().T
    zeros = torch.zeros_like(row)
    return Batch(history, zeros, zeros, zeros, row=row, step=step)


@contextmanager
def _dropout_of_torch() -> Iterator[None]:
    """A context in which dropout, and attention with it, are those of torch."""

    def attention(queries: Tensor, keys: Tensor, values: Tensor, rate: float) -> Tensor:
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True, dropout_p=rate)

    with (
        patch.object(dropout, "dropout", F.dropout),
        patch.object(transformer, "causal_attention", attention),
    ):
        yield
