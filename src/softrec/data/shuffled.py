"""A random order of many examples, of which a part is in memory at a time."""

from __future__ import annotations

import numpy as np

BLOCK = 2**14
"""Consecutive examples that stay together until they are in memory."""
BLOCKS = 2**8
"""Blocks that are in memory at once, 4 million examples; they are shuffled as a whole."""


class Shuffled:
    """A random order of 0 .. n-1: blocks in random order, and some of them at a time shuffled.

    It depends on the seed alone, so that it can be entered anywhere. Blocks are read one after the
    other from a file, where single examples would be read one page for each.

    Args:
        n: how many examples.
        seed: of the order.
        block: consecutive examples that stay together until they are in memory.
        blocks: how many blocks are in memory at once.

    Example:
        >>> order = Shuffled(10, (0, 0), block=2, blocks=2)
        >>> sorted(order.at(0, 10).tolist()) == list(range(10))
        True
        >>> order.at(3, 6).tolist() == order.at(0, 10)[3:6].tolist()
        True
    """

    def __init__(
        self, n: int, seed: tuple[int, ...], *, block: int = BLOCK, blocks: int = BLOCKS
    ) -> None:
        self.n, self.seed, self.block = n, seed, block
        order = np.random.default_rng(seed).permutation(-(-n // block))
        self.groups = [order[begin : begin + blocks] for begin in range(0, len(order), blocks)]
        sizes = [sum(self._range(one)[1] for one in group) for group in self.groups]
        self.ends = np.cumsum(sizes)
        self._held: tuple[int, np.ndarray] | None = None

    def at(self, begin: int, stop: int) -> np.ndarray:
        """Return the examples at some places of the order, int64."""
        stop = min(stop, self.n)
        found = []
        while begin < stop:
            number = int(np.searchsorted(self.ends, begin, side="right"))
            members = self._group(number)
            first = int(self.ends[number]) - len(members)
            upto = min(stop, int(self.ends[number]))
            found.append(members[begin - first : upto - first])
            begin = upto
        return np.concatenate([*found, np.empty(0, dtype=np.int64)])

    def _range(self, block: int) -> tuple[int, int]:
        """Return where a block begins, and how many examples it has."""
        begin = int(block) * self.block
        return begin, min(self.block, self.n - begin)

    def _group(self, number: int) -> np.ndarray:
        """Return the examples of some blocks, shuffled; those of the last call are kept."""
        if self._held is None or self._held[0] != number:
            ranges = [self._range(one) for one in self.groups[number]]
            members = np.concatenate([np.arange(begin, begin + size) for begin, size in ranges])
            np.random.default_rng((*self.seed, 1 + number)).shuffle(members)
            self._held = number, members
        return self._held[1]
