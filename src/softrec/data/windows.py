"""Ranges of training examples that are computed where they are asked for.

With an example for each event, arrays of their ranges would be several times as large as the log.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from softrec.data.interactions import Sequences


class Lazy:
    """Whole numbers, one for each example, that are computed for those that are asked for.

    Args:
        n: how many there are.
        of: from numbers of examples (B,) to theirs (B,) int64.

    Example:
        >>> squares = Lazy(10, lambda chosen: chosen**2)
        >>> len(squares), squares[np.array([2, 3])].tolist(), squares[:3].tolist()
        (10, [4, 9], [0, 1, 4])
    """

    def __init__(self, n: int, of: Callable[[np.ndarray], np.ndarray]) -> None:
        self.n, self.of = n, of

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, chosen: np.ndarray | slice) -> np.ndarray:
        if isinstance(chosen, slice):
            chosen = np.arange(*chosen.indices(self.n))
        return self.of(chosen)


def ending_anywhere(sequences: Sequences, length: int, first: int) -> tuple[Lazy, Lazy, Lazy]:
    """Return (start, stop, user) of the examples that end at each item, from a place of a user on.

    Args:
        sequences: the training part.
        length: L, the longest history.
        first: the place of the first item that is a label; 1 is the second item of a user.
    """
    counts = (sequences.lengths - first).clip(min=0)
    ends = np.cumsum(counts, dtype=np.int64)
    shift = sequences.offsets[:-1] + first + 1 - (ends - counts)  # from an example to its stop

    def user(chosen: np.ndarray) -> np.ndarray:
        return np.searchsorted(ends, chosen, side="right")

    def stop(chosen: np.ndarray) -> np.ndarray:
        return chosen + shift[user(chosen)]

    def start(chosen: np.ndarray) -> np.ndarray:
        owner = user(chosen)
        return np.maximum(sequences.offsets[owner], chosen + shift[owner] - length - 1)

    n = int(ends[-1]) if len(ends) else 0
    return Lazy(n, start), Lazy(n, stop), Lazy(n, user)
