"""Forward and backward of a GRU in training, beside PyTorch's, with the sizes of three papers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.timing import Bar, Row, agree, paired
from softrec.models import recurrence


@dataclass(frozen=True)
class Sizes:
    """Rows, columns, width and layers; and the most that a length is drawn from."""

    rows: int
    longest: int
    dim: int
    layers: int
    drawn: int  # lengths are uniform up to this, cut to `longest`

    def __str__(self) -> str:
        layers = f"{self.layers} layer" + "s" * (self.layers > 1)
        filled = "full" if self.drawn > self.longest else "half full"
        return f"{self.rows} x {self.longest} items, D {self.dim}, {layers}, {filled}"


@dataclass(frozen=True)
class Shapes:
    """What is timed, and how often."""

    sizes: tuple[Sizes, ...] = (
        Sizes(256, 20, 64, 1, 165),
        Sizes(128, 30, 128, 1, 165),
        Sizes(256, 20, 128, 4, 165),
        Sizes(256, 20, 64, 1, 20),
    )
    repeats: int = 9


QUICK = Shapes((Sizes(8, 5, 4, 2, 5),), 1)
BAR = Bar(1.0, "at least", "time of PyTorch / ours")


def recurrent(shapes: Shapes) -> list[Row]:
    """Time both; the states after the last items, and the gradients, must agree."""
    return [_row(sizes, shapes.repeats) for sizes in shapes.sizes]


def _row(sizes: Sizes, repeats: int) -> Row:
    torch.manual_seed(0)
    gru = nn.GRU(sizes.dim, sizes.dim, sizes.layers, batch_first=True)
    inputs = torch.randn(sizes.rows, sizes.longest, sizes.dim, requires_grad=True)
    lengths = (1 + torch.randint(sizes.drawn, (sizes.rows,))).clamp(max=sizes.longest)
    lengths[0] = sizes.longest
    row, given = torch.arange(sizes.rows), torch.randn(sizes.rows, sizes.dim)

    def gradients(states: Tensor) -> Tensor:
        found = torch.autograd.grad(states, [inputs, *gru.parameters()], given)
        return torch.cat([part.flatten() for part in found])

    def ours() -> Tensor:
        return gradients(recurrence.states_at(gru, inputs, lengths, row, lengths - 1))

    def plain() -> Tensor:
        return gradients(gru(inputs)[0][row, lengths - 1])

    agree(ours(), plain())
    return paired(ours, plain, repeats).speedup(f"GRU, {sizes}", "softrec", "torch", BAR)
