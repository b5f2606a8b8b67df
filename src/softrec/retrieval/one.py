"""The best items of one user, on a CPU: a few calls of NumPy, which cost less than those of torch.

With one user, the calls take as long as the product.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from softrec.retrieval.results import Seen, TopK
from softrec.types import Scores

GROUP = 64  # items in a group; first the maxima of the groups are compared


def is_for_numpy(scores: Tensor) -> bool:
    """Return whether NumPy can read the scores."""
    return scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64)


def top_k_of_one(scores: Scores, k: int, seen: Seen | None, allowed: Tensor | None) -> TopK:
    """Return the result of `softrec.retrieval.top_k` for scores of one row."""
    row = scores.fill(slice(0, 1), scores.like.new_empty(1, scores.n_items))
    if seen is not None:
        row.numpy()[0, seen.items.numpy()] = -np.inf
    if allowed is not None:
        np.copyto(row.numpy()[0], -np.inf, where=~allowed.numpy())
    return TopK(*best_of_one(row, k))


def best_of_one(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of the scores (1, N), and their columns; NaN counts as -inf.

    Of equal scores the first columns are kept, and come first.
    """
    values = scores.numpy()[0]
    some = _candidates(values, k)
    if np.isnan(some).any():  # it hides the other items of its group
        values = np.where(np.isnan(values), -np.inf, values)
        some = _candidates(values, k)
    last = np.partition(some, len(some) - k)[len(some) - k]
    reached = values >= last
    if np.count_nonzero(reached) == k:
        items = np.flatnonzero(reached)
    else:
        above = np.flatnonzero(values > last)
        items = np.concatenate([above, np.flatnonzero(values == last)[: k - len(above)]])
    items = items[np.argsort(-values[items], kind="stable")]
    return torch.from_numpy(values[items])[None], torch.from_numpy(items)[None]


def _candidates(values: np.ndarray, k: int) -> np.ndarray:
    """Return scores (m,) among which are the k best: those of the k groups with the best maxima.

    A group has the items with the same remainder, because maxima of neighbours take longer.
    """
    n_groups = len(values) // GROUP
    if n_groups < 4 * k:
        return values
    groups = values[: n_groups * GROUP].reshape(GROUP, n_groups)
    chosen = np.argpartition(groups.max(0), n_groups - k)[n_groups - k :]
    return np.concatenate([groups[:, chosen].ravel(), values[n_groups * GROUP :]])
