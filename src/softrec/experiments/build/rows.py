"""First rows for users and items that a trained model does not know: the mean of their neighbours.

The neighbours of a new item are the known items within a few places of it in the histories of the
training part. The neighbours of a new user are the known users with the same items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from softrec.data.interactions import Interactions
from softrec.data.vocabulary import UNKNOWN
from softrec.parallel.tables import Part

Kind = Literal["items", "users"]
NEAR = 5  # places
Read = Callable[[Tensor], Tensor]


def fill_new_rows(
    state: dict[str, Tensor],
    tables: Mapping[str, Kind],
    places: Mapping[Kind, np.ndarray],
    log: Interactions,
) -> dict[Kind, int]:
    """Replace rows of unknown users and items by the mean of their neighbours' rows.

    Rows without a neighbour stay as they are.

    Args:
        state: the weights of a model, changed in place.
        tables: which of them have a row for each item, or for each user.
        places: the number of each user and item in the trained model, or `UNKNOWN`.
        log: the training part.

    Returns:
        How many users and items have got such rows.
    """
    filled: dict[Kind, int] = {}
    known: dict[Kind, Tensor] = {
        kind: torch.from_numpy(numbers != UNKNOWN) for kind, numbers in places.items()
    }
    for name, kind in tables.items():
        table = state[name]
        own = table[: len(known[kind])].double().reshape(len(known[kind]), -1)
        if kind == "items":
            mean, found = _near(own, known["items"], log)
        else:
            mean, found = _sharing(own, known["users"], log)
        chosen = torch.nonzero(found & ~known[kind]).squeeze(1)
        table[chosen] = mean[chosen].to(table.dtype).reshape(-1, *table.shape[1:])
        filled[kind] = len(chosen)
    return filled


def own_new_rows(
    table: Tensor, part: Part, places: np.ndarray, log: Interactions, read: Read
) -> int:
    """Replace the own rows of unknown items by the mean of their neighbours', in place.

    Args:
        table: the own rows of a table in shards.
        part: which they are.
        places: the number of each item in the trained model, or `UNKNOWN`.
        log: the training part.
        read: returns rows of the trained table by these numbers.

    Returns:
        How many own items have got such rows.
    """
    pairs = list(_near_pairs(torch.from_numpy(places != UNKNOWN), log))
    one, other = (torch.cat(each) for each in zip(*pairs, strict=True))
    inside = (one >= part.start) & (one < part.stop)
    one, (asked, place) = one[inside] - part.start, other[inside].unique(return_inverse=True)
    rows = read(torch.from_numpy(places)[asked]).double()[:, None].flatten(1)
    sums = rows.new_zeros(len(table), rows.shape[1]), rows.new_zeros(len(table))
    mean, found = _mean_over(sums, one, rows, place)
    table[found] = mean[found].to(table.dtype).reshape(-1, *table.shape[1:])
    return int(found.sum())


def _near_pairs(known: Tensor, log: Interactions) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield unknown items, and a known item near each of them."""
    items = torch.from_numpy(log.sequences.items)
    user = torch.from_numpy(log.ordered["user"].to_numpy().astype(np.int64))
    for apart in range(1, NEAR + 1):
        together = user[apart:] == user[:-apart]
        before, after = items[:-apart][together], items[apart:][together]
        for one, other in ((before, after), (after, before)):
            pair = known[other] & ~known[one]
            yield one[pair], other[pair]


def _near(rows: Tensor, known: Tensor, log: Interactions) -> tuple[Tensor, Tensor]:
    """Return the mean row of the known items near each item, and which items have some."""
    total, count = torch.zeros_like(rows), rows.new_zeros(len(rows))
    for one, other in _near_pairs(known, log):
        total.index_add_(0, one, rows[other])
        count.index_add_(0, one, count.new_ones(len(one)))
    return total / count.clamp(min=1)[:, None], count > 0


def _sharing(rows: Tensor, known: Tensor, log: Interactions) -> tuple[Tensor, Tensor]:
    """Return the mean over the items of each user of the mean row of their known users."""
    user, item = (
        torch.from_numpy(log.frame[kind].to_numpy().astype(np.int64)) for kind in ("user", "item")
    )
    of_items = rows.new_zeros(log.n_items, rows.shape[1]), rows.new_zeros(log.n_items)
    mean, found = _mean_over(of_items, item[known[user]], rows, user[known[user]])
    asked = ~known[user] & found[item]
    of_users = torch.zeros_like(rows), rows.new_zeros(len(rows))
    return _mean_over(of_users, user[asked], mean, item[asked])


def _mean_over(
    sums: tuple[Tensor, Tensor], to: Tensor, rows: Tensor, of: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the mean of `rows[of]` by their places `to`, and which places have some."""
    total, count = sums
    total.index_add_(0, to, rows[of])
    count.index_add_(0, to, count.new_ones(len(to)))
    return total / count.clamp(min=1)[:, None], count > 0
