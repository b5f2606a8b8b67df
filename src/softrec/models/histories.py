"""Histories of one form: whatever the padding of a batch, the real items stand at the left."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from softrec.types import Batch


class Histories(NamedTuple):
    """Histories with the oldest item in column 0 and padding, if any, only after the last."""

    items: Tensor  # (B, L') int64, L' is the longest real length of the batch
    lengths: Tensor  # (B,) int64, at least 1


def aligned(history: Tensor, padding: int) -> Histories:
    """Move real items to the left and cut columns that only pad.

    A causal model then needs no mask for the padding, a recurrent one starts at the first real
    item, and left and right padding give the same numbers.

    Args:
        history: (B, L) int64; the real items of a row are contiguous.
        padding: the number that is no item.
    """
    real = history != padding
    lengths = real.sum(1)
    longest = max(int(lengths.max()), 1)
    if bool(real[:, 0].all()):  # already at the left
        return Histories(history[:, :longest], lengths.clamp(min=1))
    first = real.to(torch.uint8).argmax(1)
    columns = torch.arange(longest, device=history.device)[None]
    places = (first[:, None] + columns).clamp(max=history.shape[1] - 1)
    items = history.gather(1, places).masked_fill(columns >= lengths[:, None], padding)
    return Histories(items, lengths.clamp(min=1))


def asked(states: Tensor, histories: Histories, batch: Batch) -> Tensor:
    """Return the states (P, D) of (B, L', D) at the places a batch asks for.

    By default that is after the last item of each row.
    """
    if batch.row is None or batch.step is None:
        rows = torch.arange(len(states), device=states.device)
        return states[rows, histories.lengths - 1]
    return states[batch.row, batch.step]
