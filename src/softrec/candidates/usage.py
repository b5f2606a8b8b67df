"""How often a batch uses each item, for the L2 penalty on the vectors that it uses."""

from __future__ import annotations

import torch
from torch import Tensor

from softrec.candidates.base import Candidates


def times_used(label: Tensor, chosen: Candidates, n_items: int) -> Tensor:
    """Return how often each item is the label or a negative of some row, (N,) float32.

    Example:
        >>> chosen = Candidates(torch.tensor([0, 2]), torch.tensor([1.0, 3.0]))
        >>> times_used(torch.tensor([2, 1]), chosen, n_items=3)
        tensor([2., 1., 4.])
    """
    used = torch.bincount(label, minlength=n_items).float()
    items, counts = chosen.items, chosen.counts.float()
    if items.dim() == 2 and len(counts) == 1 and bool((counts == 1).all()):
        return used + items.flatten().bincount(minlength=n_items)
    if items.dim() == 2:
        return used.index_add(0, items.flatten(), counts.expand_as(items).flatten())
    used = used.index_add(0, items, len(label) * counts)
    row = torch.arange(len(label), device=label.device)
    m = len(items)
    place = torch.searchsorted(items, label).clamp(max=m - 1)
    inside = items[place] == label
    row, place = row[inside], place[inside]
    gone = counts[place] if chosen.hits is None else counts[place] - chosen.hits[row]
    used = used.index_add(0, items[place], -gone)
    if chosen.masked is None:
        return used
    out = (chosen.masked[0] * m + chosen.masked[1]).unique()
    own = row * m + place
    if chosen.hits is not None:  # how often each label counts as a negative, unless masked
        stay = chosen.hits[row] * torch.isin(own, out)
        used = used.index_add(0, items[place], -stay)
    out = out[~torch.isin(out, own)] % m
    return used.index_add(0, items[out], -counts[out])
