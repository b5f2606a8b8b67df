"""The settings of label propagation inside a cluster, and how many rounds have an effect."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from softrec.blocks import blocks
from softrec.limits import LIMITS

ROUNDING = 2.0**-24  # a^T below which a further round changes nothing in float32


class Diffusion(NamedTuple):
    """The settings of label propagation inside a cluster."""

    tau: float = 2.0  # the unit of the distances
    damping: float = 0.5  # a, the weight of the other examples in each round
    rounds: int | None = 20  # None: the fixed point
    keep: int = 300  # labels kept for each example
    neighbours: int | None = None  # None: all examples, if the tables are not too large

    def check(self) -> None:
        """Refuse settings that are out of range.

        Raises:
            ValueError: with the setting, its range and its value.
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
    """Return how many rounds have an effect in float32."""
    enough = math.ceil(math.log(ROUNDING) / math.log(damping))
    return enough if rounds is None else min(rounds, enough)


def row_blocks(n: int, width: int) -> Iterator[slice]:
    """Yield slices of n rows with about `limits.spread` numbers; a row has `width` numbers."""
    return blocks(n, LIMITS.spread // width)
