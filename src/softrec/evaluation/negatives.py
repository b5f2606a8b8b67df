r"""Evaluation with sampled negatives: the item of each case is ranked among n sampled items.

It costs less than a full ranking, and some papers report it. Its metrics are not estimates of those
of a full ranking and may rank models in another order (Krichene & Rendle, "On Sampled Metrics for
Item Recommendation", KDD 2020), so compare them only with each other.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from softrec.blocks import blocks
from softrec.data.interactions import Sequences
from softrec.errors import DataError
from softrec.interacted import Interacted
from softrec.limits import LIMITS
from softrec.types import Scores


def sampled_negatives(
    n_items: int,
    known: Sequences,
    users: np.ndarray,
    number: int,
    seed: int,
    *,
    per_stream: int = 64,
) -> np.ndarray:
    """Sample items that a user never interacted with, uniformly with replacement, (C, n) int32.

    The negatives of a user depend only on `seed`, `known`, `number` and the user, and not on the
    other users, so that validation and test cases of a user have the same negatives.

    Args:
        n_items: N, the size of the catalogue.
        known: all items of each user in any part, in any order, such as `Split.known`.
        users: (C,) int64 the user of each case.
        number: n, how many to sample for each case.
        seed: of the random numbers.
        per_stream: users per stream of random numbers; with another number, other negatives.

    Raises:
        DataError: if one of the users has interacted with all items.
        ValueError: if `number` is not positive.

    Example:
        >>> sampled_negatives(4, Sequences.of([[0, 2, 3], [1, 1, 2, 3]]), np.array([1, 0]), 3, 0)
        array([[0, 0, 0],
               [1, 1, 1]], dtype=int32)

    Source: the protocol of Wang et al., "Target Interest Distillation for Multi-Interest
    Recommendation", CIKM 2022, with n = 1000.
    """
    if number < 1:
        raise ValueError(f"the number of negatives must be at least 1, got {number}")
    drawn = np.empty((len(users), number), dtype=np.int32)
    owner = np.repeat(np.arange(len(known)), known.lengths)
    pairs = torch.from_numpy(owner), torch.from_numpy(known.items)
    seen = Interacted(*pairs, len(known), n_items)
    there = seen.n_negatives(torch.arange(len(known))).numpy()
    if not there[users].all():
        raise DataError(
            f"user number {users[np.argmin(there[users])]} interacted with all {n_items} items, "
            "so no negatives can be sampled; leave such users out, or rank among all items"
        )
    order = np.argsort(users, kind="stable")
    blocks = users[order] // per_stream
    for cases in np.split(order, np.flatnonzero(np.diff(blocks)) + 1):
        if not len(cases):  # there are no users at all
            continue
        # Each block of user numbers has a stream of its own and is always sampled completely.
        block = int(users[cases[0]]) // per_stream
        first, last = block * per_stream, min((block + 1) * per_stream, len(known))
        stream = np.random.default_rng((seed, block))
        places = stream.integers(
            0, np.maximum(there[first:last], 1)[:, None], (last - first, number)
        )
        own = users[cases]
        drawn[cases] = seen.nth_negative(
            torch.from_numpy(own), torch.from_numpy(places[own - first])
        ).numpy()
    return drawn


@torch.no_grad()
def rank_among(scores: Scores, label: Tensor, negatives: Tensor) -> Tensor:
    """Return the rank of one item a row among its negatives, 1 is best, (P,) int64.

    Formula: 1 + number of negatives with a score at least as high, where a negative that was
    sampled c times counts c times. Ties count against the label. NaN scores rank last, and a label
    whose score is NaN ranks after all n negatives. `softrec.retrieval.rank_of` has the same rules.

    Args:
        scores: of P rows.
        label: (P,) int64.
        negatives: (P, n) integers.

    Example:
        >>> from softrec.types import ItemVectors, Products
        >>> items = ItemVectors(torch.tensor([[1.0], [2.0], [2.0], [3.0]]))
        >>> scores = Products(torch.ones(1, 1), items)
        >>> rank_among(scores, torch.tensor([1]), torch.tensor([[0, 2, 3, 3]]))
        tensor([4])
    """
    ranks = torch.empty_like(label)
    width = negatives.shape[1] + 1
    row_bytes = scores.held(width) * scores.like.element_size()
    for rows in blocks(len(scores), LIMITS.negatives // row_bytes):
        # The label is scored together with its negatives, so that equal vectors have equal scores.
        asked = torch.cat([label[rows, None].to(negatives.dtype), negatives[rows]], 1)
        found = scores.at(rows, asked)
        mark = found[:, :1]
        at_least = (found >= mark).sum(1)  # includes the label, unless its score is NaN
        ranks[rows] = at_least.masked_fill(mark.isnan().squeeze(1), width)
    return ranks
