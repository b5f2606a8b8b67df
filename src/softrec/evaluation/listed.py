"""Counts how often each item is in a top-k list, while the cases are ranked."""

from __future__ import annotations

import numpy as np
import torch

from softrec.parallel import summed_array
from softrec.retrieval import TopK
from softrec.types import Scores


class Listed:
    """Counts in how many of the top-k lists each item is.

    Args:
        k: length of the lists; if there are fewer items, the number of items.
        n_items: size N of the catalogue.

    Attributes:
        counts: (N,) int64.
    """

    def __init__(self, k: int, n_items: int) -> None:
        self.k = min(k, n_items)
        self.counts = np.zeros(n_items, dtype=np.int64)

    def add(self, best: TopK, rows: slice, scores: Scores) -> None:
        """Count the first k items of each row; those with a score of -inf are not listed.

        Args:
            best: of some cases, k items or more.
            rows: the places of these cases.
            scores: theirs.
        """
        items = best.items[:, : self.k][best.scores[:, : self.k] > -torch.inf]
        self.counts += torch.bincount(items, minlength=len(self.counts)).cpu().numpy()

    def add_others(self) -> None:
        """Add the counts of the other processes, which rank other cases."""
        self.counts = summed_array(self.counts)
