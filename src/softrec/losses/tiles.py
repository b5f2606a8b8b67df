"""The logits of some rows in tiles that stay in the processor's cache while they are worked on.

A tile has the logits of a few items for a block of rows, transposed: (items, rows). So a tile is
one piece of memory, the tiles of a block of rows follow each other, and a position in a tile is a
number. Each tile is visited twice, because the gradient needs the logsumexp over all items:

    first     fill, add the entries, exp(z - o), sum        R = o + log of the sum, for each row
    then      exp(z - R) times a factor of its row          its products with users and items

The offset o is 0 as long as this is safe, which the sum tells afterwards; then neither the largest
logit of a row nor a difference is computed. Otherwise o is the largest logit of the row, and the
first visit is repeated. Between both visits a tile is kept in memory, or its logits are computed
again: which of them is faster depends on the memory for the rows, see `sizes`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from softrec.limits import LIMITS

MIB = 2**20
LARGEST_ON_CUDA = 1024 * MIB  # with at least 64 GiB of memory
FEWEST_ROWS = 128  # with fewer rows, reading and writing all item vectors costs more than logits
MOST_ROWS = 1024
TOGETHER = 8  # times as large is a tile that torch's threads share, because they wait at its end
NARROW = 30.0  # e^30 = 1e13: the smallest number of single precision is 1e-38


class Sizes(NamedTuple):
    """How many rows a block and how many items a tile has, and whether the block is kept."""

    rows: int
    items: int
    kept: bool

    def tiles(self, n_items: int) -> list[slice]:
        """Return the items of each tile, in order.

        Example:
            >>> Sizes(8, 2, True).tiles(5)
            [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
        """
        return _cut(n_items, self.items)

    def blocks(self, n_rows: int) -> list[slice]:
        """Return the rows of each block, in order."""
        return _cut(n_rows, self.rows)


def _cut(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def sizes(
    n_rows: int,
    n_items: int,
    itemsize: int,
    device: torch.device,
    *,
    blocks: int = 1,
    rows: int | None = None,
) -> Sizes:
    """Return the sizes for `n_rows` rows of logits over `n_items` items.

    On a CPU a tile takes `limits.tile` bytes, more if torch's threads share it, and a block is kept
    if `limits.kept` bytes have room for enough rows. Other devices hide the time of their memory:
    there a block is one tile of up to 1 GiB.

    Args:
        n_rows: P.
        n_items: N.
        itemsize: bytes of a number.
        device: of the logits.
        blocks: how many blocks are kept at the same time.
        rows: the most rows of a block; None: by the memory.
    """
    row = itemsize * n_items * blocks
    fitting = _room(device) // row
    on_cpu = device.type == "cpu"
    kept = not on_cpu or fitting >= min(n_rows, rows or n_rows, FEWEST_ROWS)
    most = rows or (max(1, min(fitting, MOST_ROWS) if on_cpu else fitting) if kept else MOST_ROWS)
    used = math.ceil(n_rows / math.ceil(n_rows / most))  # equal: a short last block would be slow
    if not on_cpu:
        return Sizes(used, n_items, kept)
    tile = LIMITS.tile * (TOGETHER if torch.get_num_threads() > 1 else 1)
    items = max(1, tile // (itemsize * used))
    return Sizes(used, min(n_items, items // 64 * 64 or items), kept)


def _room(device: torch.device) -> int:
    """Return the bytes of a kept block; of the whole memory, so that each run has the same."""
    if device.type == "cpu":
        return LIMITS.kept
    if device.type == "cuda":
        return min(torch.cuda.get_device_properties(device).total_memory // 64, LARGEST_ON_CUDA)
    return LARGEST_ON_CUDA // 8


def is_narrow(lse: Tensor) -> bool:
    """Return whether all rows are far from over- and underflow without an offset."""
    return bool((lse.abs() <= NARROW).all())


class Entries:
    """Values at some positions (item, row) of a block, found tile by tile."""

    def __init__(self, items: Tensor, rows: Tensor, values: Tensor, n_rows: int) -> None:
        self.items, order = items.sort()
        self.n_rows, self.rows, self.values = n_rows, rows[order], values[order]
        self.of: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def joined(self, items: Tensor, rows: Tensor, values: Tensor) -> Entries:
        """Return these and other entries together."""
        return Entries(
            torch.cat([self.items, items]),
            torch.cat([self.rows, rows]),
            torch.cat([self.values, values]),
            self.n_rows,
        )

    def cut(self, tiles: list[slice]) -> Entries:
        """Find the entries of each tile at once: their places in its memory, rows and values."""
        edges = torch.tensor([0, *(tile.stop for tile in tiles)], device=self.items.device)
        number = torch.searchsorted(self.items, edges).diff()
        first = edges[:-1].repeat_interleave(number)
        place = (self.items - first) * self.n_rows + self.rows
        parts = (part.split(number.tolist()) for part in (place, self.rows, self.values))
        found = zip(tiles, *parts, strict=True)
        self.of = {tile.start: (at, row, value) for tile, at, row, value in found if len(at)}
        return self

    def add(self, items: slice, tile: Tensor, factor: Tensor | None = None) -> None:
        """Add the values, times the factor of their row, to a tile."""
        if items.start in self.of:
            place, rows, values = self.of[items.start]
            values = values if factor is None else values * factor[rows]
            tile.view(-1).index_add_(0, place, values)

    def sums(self, items: slice, tile: Tensor, out: Tensor) -> None:
        """Add the numbers of a tile times the values to the sum of their row, (b,)."""
        if items.start in self.of:
            place, rows, values = self.of[items.start]
            out.index_add_(0, rows, tile.view(-1)[place] * values)


Read = Callable[[slice, Tensor], None]


class Tiles:
    """exp(z - o) of a block of rows, in tiles of (items, rows).

    Args:
        fill: writes the logits of some items to a tile.
        entries: what is added to the logits; -inf leaves a position out.
        cut: the items of each tile.
        kept: memory (N, b) for all tiles; None: they are computed again.
        room: memory (items, b), for one tile.
    """

    def __init__(
        self,
        fill: Callable[[slice, Tensor], None],
        entries: Entries,
        cut: list[slice],
        kept: Tensor | None,
        room: Tensor,
    ) -> None:
        self.fill, self.entries, self.cut = fill, entries.cut(cut), cut
        self.kept, self.room = kept, room
        self.offset: Tensor | None = None

    def lse(self, read: Read | None = None) -> Tensor:
        """Return the logsumexp of each row, (b,); `read` sees the logits without the entries."""
        self.offset = None
        lse = self._total(read).log()
        if is_narrow(lse):
            return lse
        self.shift()
        return self.lse_of(self._total(None))

    def shift(self) -> None:
        """Make the largest logit of each row the offset."""
        largest = torch.stack([self._logits(items).amax(0) for items in self.cut]).amax(0)
        self.offset = largest.masked_fill(largest == -math.inf, 0)

    def _total(self, read: Read | None) -> Tensor:
        return torch.stack([self.first(items, read).sum(0) for items in self.cut]).sum(0)

    def lse_of(self, total: Tensor) -> Tensor:
        """Return the logsumexp of each row, from the sum of its exp(z - o), (b,)."""
        return total.log() if self.offset is None else self.offset + total.log()

    def place(self, items: slice) -> Tensor:
        """Return the memory for one tile."""
        return self.room[: items.stop - items.start]

    def _logits(self, items: slice, read: Read | None = None) -> Tensor:
        tile = self.place(items) if self.kept is None else self.kept[items]
        self.fill(items, tile)
        if read is not None:
            read(items, tile)
        self.entries.add(items, tile)
        return tile

    def first(self, items: slice, read: Read | None = None) -> Tensor:
        """Compute exp(z - o) of a tile."""
        tile = self._logits(items, read)
        if self.offset is not None:
            tile -= self.offset
        return tile.exp_()

    def again(self, items: slice) -> Tensor:
        """Return a tile of exp(z - o) after `lse`, not to be changed."""
        return self.first(items) if self.kept is None else self.kept[items]

    def scale(self, lse: Tensor) -> Tensor:
        """Return exp(o - R), (b,), which turns exp(z - o) into exp(z - R)."""
        return (-lse if self.offset is None else self.offset - lse).exp()

    def weighted(self, items: slice, factor: Tensor) -> Tensor:
        """Return a tile of exp(z - o) times a factor of each row, which may be changed."""
        return torch.mul(self.again(items), factor, out=self.place(items))


_kept = threading.local()


def workspace(
    rows: int, columns: int, dtype: torch.dtype, device: torch.device, name: str = "logits"
) -> Tensor:
    """Return uninitialised memory (rows, columns) that this thread uses again in the next step.

    On a CPU new memory costs a page fault every 4 KiB, about 5 % of the time of a step. Other
    devices have allocators that reuse memory.
    """
    if device.type != "cpu":
        return torch.empty(rows, columns, dtype=dtype, device=device)
    numbers = rows * columns
    kept: Tensor | None = getattr(_kept, f"{name} {dtype}", None)
    if kept is None or len(kept) < numbers:
        kept = torch.empty(numbers, dtype=dtype)
        setattr(_kept, f"{name} {dtype}", kept)
    return kept[:numbers].view(rows, columns)
