"""Numbers that are added to the scores of a few items of each row."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Offset(NamedTuple):
    """A sparse table (P, N): row p adds `values` to the scores of `items`, all others are 0.

    The entries of a row are at `starts[p] .. starts[p + 1]`, with items in ascending order, each
    once.

    Example:
        >>> offset = Offset(torch.tensor([0, 2, 3]), torch.tensor([1, 3, 0]), torch.ones(3))
        >>> offset.add(slice(0, 2), torch.zeros(2, 4))
        tensor([[0., 1., 0., 1.],
                [1., 0., 0., 0.]])
        >>> offset.at(slice(1, 2), torch.tensor([[0, 3]]))
        tensor([[1., 0.]])
    """

    starts: Tensor  # (P + 1,) int64
    items: Tensor  # (E,) int64
    values: Tensor  # (E,)

    def of(self, rows: slice) -> Offset:
        """Return the entries of some rows, as a table of these rows."""
        starts = self.starts[rows.start : rows.stop + 1]
        first, last = int(starts[0]), int(starts[-1])
        return Offset(starts - first, self.items[first:last], self.values[first:last])

    @property
    def rows(self) -> Tensor:
        """Return the row of each entry, (E,) int64."""
        lengths = self.starts.diff()
        numbers = torch.arange(len(lengths), device=lengths.device)
        return torch.repeat_interleave(numbers, lengths, output_size=len(self.items))

    def add(self, rows: slice, out: Tensor) -> Tensor:
        """Add some rows of the table to `out` (b, N), and return it."""
        some = self.of(rows)
        out[some.rows, some.items] += some.values.to(out.dtype)
        return out

    def at(self, rows: slice, items: Tensor) -> Tensor:
        """Return the numbers of items (b, m) of some rows, 0 where a row has no entry."""
        some = self.of(rows)
        if not len(some.items):
            return self.values.new_zeros(items.shape)
        width = int(max(some.items.max(), items.max())) + 1
        keys = some.rows * width + some.items
        asked = torch.arange(len(items), device=items.device)[:, None] * width + items
        place = torch.searchsorted(keys, asked).clamp(max=len(keys) - 1)
        return torch.where(keys[place] == asked, some.values[place], 0)

    def among(self, places: Tensor) -> Offset:
        """Return the table over the items with a place, (P, M): `places` (N,) has -1 elsewhere.

        The places ascend with the items.
        """
        found = places[self.items]
        kept = found >= 0
        before = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])
        return Offset(before[self.starts], found[kept], self.values[kept])

    def between(self, start: int, stop: int) -> Offset:
        """Return the table over the items from `start` to `stop` - 1, numbered from 0.

        Example:
            >>> offset = Offset(torch.tensor([0, 2, 3]), torch.tensor([1, 3, 0]), torch.ones(3))
            >>> offset.between(1, 4).items
            tensor([0, 2])
        """
        kept = (self.items >= start) & (self.items < stop)
        before = torch.cat([kept.new_zeros(1, dtype=torch.int64), kept.cumsum(0)])
        return Offset(before[self.starts], self.items[kept] - start, self.values[kept])

    def to(self, device: torch.device) -> Offset:
        """Return the table on a device."""
        return Offset(*(part.to(device) for part in self))
