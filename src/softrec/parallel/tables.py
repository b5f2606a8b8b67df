"""Tables of which a process has some rows; their first weights are those of the whole table."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn

from softrec.parallel.catalogue import Catalogue

DRAWN = 2**20  # numbers that are drawn at a time
ALIGNED = 16  # torch draws normal numbers in groups of so many, from the beginning of a tensor


class Part(NamedTuple):
    """Which rows of a table this process has."""

    start: int
    stop: int
    rows: int  # of the whole table


def some_rows(rows: int, *width: int, catalogue: Catalogue | None) -> nn.Parameter:
    """Return a new table, or the own rows of one; rows beyond the items, for padding, are left out.

    Args:
        rows: of the whole table.
        *width: the other dimensions.
        catalogue: the shards; None for the whole table.
    """
    if catalogue is None:
        return nn.Parameter(torch.empty(rows, *width))
    table = nn.Parameter(torch.empty(len(catalogue), *width))
    setattr(table, "part", Part(catalogue.start, catalogue.stop, rows))  # noqa: B010
    return table


def part_of(table: Tensor) -> Part | None:
    """Return which rows of a table this process has; None if it has all of them."""
    return getattr(table, "part", None)


def parts_of(model: nn.Module) -> dict[str, Part]:
    """Return the parameters of a model of which this process has some rows."""
    found = ((name, part_of(table)) for name, table in model.named_parameters())
    return {name: part for name, part in found if part is not None}


# --- first weights: `torch.nn.init` for whole tables and for parts of them ---


def normal_(table: Tensor, std: float = 1.0) -> None:
    """Fill a table with normal numbers, in place."""
    _fill(table, lambda rows: nn.init.normal_(rows, std=std))


def uniform_(table: Tensor, low: float, high: float) -> None:
    """Fill a table with uniform numbers, in place."""
    _fill(table, lambda rows: nn.init.uniform_(rows, low, high))


def xavier_normal_(table: Tensor) -> None:
    """Fill a table with normal numbers whose variance is 2 / (rows + width), in place."""
    part = part_of(table)
    rows = len(table) if part is None else part.rows
    normal_(table, sqrt(2.0 / float(rows + table.shape[1])))


@torch.no_grad()
def _fill(table: Tensor, fill: Callable[[Tensor], object]) -> None:
    """Fill a table, or its own rows; all rows are drawn, in blocks, and the others are dropped.

    So the numbers are those of the whole table, and the random state is the same afterwards.
    """
    part = part_of(table)
    if part is None:
        fill(table)
        return
    width = table[0].numel()
    size = max(ALIGNED, DRAWN // width // ALIGNED * ALIGNED)
    starts = list(range(0, part.rows, size))
    if len(starts) > 1 and (part.rows - starts[-1]) * width < ALIGNED:
        starts.pop()  # a group is drawn at once
    for begin, stop in pairwise([*starts, part.rows]):
        drawn = table.new_empty(stop - begin, *table.shape[1:])
        fill(drawn)
        first, last = max(begin, part.start), min(stop, part.stop)
        if first < last:
            own = drawn[first - begin : last - begin]
            table[first - part.start : last - part.start] = own
