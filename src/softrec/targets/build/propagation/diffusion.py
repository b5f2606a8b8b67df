"""How labels spread inside a cluster: the settings, and how many rounds change anything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from softrec.blocks import blocks
from softrec.limits import LIMITS

ROUNDING = 2.0**-24  # a^T from which on float32 does not see a further round


class Diffusion(NamedTuple):
    """How labels spread inside a cluster."""

    tau: float = 2.0  # the unit of the distances
    damping: float = 0.5  # a, the part of each round that comes from others
    rounds: int | None = 20  # None: until nothing changes any more
    keep: int = 300  # labels kept for each example
    neighbours: int | None = None  # None: everybody, where the tables fit into memory

    def check(self) -> None:
        """Refuse settings that are out of range.

        Raises:
            ValueError: naming the setting, its range and its value.
        """
        if not 0 < self.tau < math.inf:
            raise ValueError(f"tau must be positive and finite, got {self.tau}")
        if not 0 <= self.damping < 1:
            raise ValueError(f"damping must be in [0, 1), got {self.damping}")
        if self.rounds is not None and self.rounds < 0:
            raise ValueError(f"rounds must be at least 0, or None, got {self.rounds}")
        if self.keep < 1:
            raise ValueError(f"keep must be at least 1, got {self.keep}")
        if self.neighbours is not None and self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, or None, got {self.neighbours}")


def effective_rounds(rounds: int | None, damping: float) -> int:
    """Return how many rounds change anything."""
    enough = math.ceil(math.log(ROUNDING) / math.log(damping))
    return enough if rounds is None else min(rounds, enough)


def row_blocks(n: int, width: int) -> Iterator[slice]:
    """Yield slices of n rows that hold about `limits.spread` numbers, where a row holds `width`."""
    return blocks(n, LIMITS.spread // width)
