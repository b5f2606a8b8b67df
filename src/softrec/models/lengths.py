"""Computes histories of similar length together: most of a batch is padding if they are mixed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from softrec.limits import LIMITS
from softrec.models.histories import Histories, exporting
from softrec.types import Batch

States = Callable[[Tensor, Histories, Batch], Tensor]
"""(item vectors (B, L', D), their histories, their predictions) -> the states (P, ...) at the
places of the predictions. Of the batch only `row` and `step` are those of these histories."""


def by_length(
    states: States, vectors: Callable[[Tensor], Tensor], histories: Histories, batch: Batch
) -> Tensor:
    """Return the states (P, ...) of a batch, computed for histories of similar length together.

    On an accelerator, where many short calls take longer than padding, they stay together.

    Args:
        states: computes them; what it returns for a row must not depend on the others.
        vectors: those of items of any shape, asked for once: their gradient has the size of the
            catalogue, and where other processes have a share of it, each of them asks as often.
        histories: of the batch.
        batch: the batch, with the places of the predictions.

    Example:
        >>> from softrec.models.histories import aligned, asked
        >>> from softrec.testing.encoders import padded
        >>> batch = padded([[1], [2, 3]], 5)
        >>> histories = aligned(batch.history, 5)
        >>> by_length(asked, lambda items: items[..., None], histories, batch)
        tensor([[1],
                [3]])
    """
    parts = similar(histories)
    if len(parts) == 1:
        return states(vectors(histories.items), histories, batch)
    some = [_some(histories, rows) for rows in parts]
    of_items = vectors(torch.cat([part.items.flatten() for part in some]))
    split = of_items.split([part.items.numel() for part in some])
    asked_for, order = _predictions(parts, batch)
    found = [
        states(x.view(*part.items.shape, -1), part, one)
        for x, part, one in zip(split, some, asked_for, strict=True)
    ]
    return torch.cat(found)[_inverse(order)]


def similar(histories: Histories) -> list[Tensor]:
    """Return the rows of each part of a batch, the longest first, each of lengths in (m / 2, m].

    A part is not divided where that saves little.

    Example:
        >>> items, lengths = torch.zeros(3, 80).long(), torch.tensor([3, 80, 4])
        >>> similar(Histories(items, lengths))
        [tensor([0, 1, 2])]
        >>> [len(rows) for rows in similar(Histories(items.repeat(4, 1), lengths.repeat(4)))]
        [4, 8]
    """
    lengths = histories.lengths
    if exporting() or lengths.device.type != "cpu":
        return [torch.arange(lengths.shape[0])]
    ascending, order = lengths.sort(stable=True)
    parts: list[Tensor] = []
    end, width = len(order), int(ascending[-1])
    while width > 1:
        start = int(torch.searchsorted(ascending, width // 2, right=True))
        shorter = int(ascending[start - 1]) if start else width
        if start * (width - shorter) < LIMITS.padding:
            break
        parts.append(order[start:end].sort().values)
        end, width = start, shorter
    return [*parts, order[:end].sort().values]


def _predictions(parts: list[Tensor], batch: Batch) -> tuple[list[Batch], Tensor]:
    """Return the predictions of each part, and their places in the batch, part by part."""
    order = torch.cat(parts)
    if batch.row is None or batch.step is None:
        return [batch] * len(parts), order
    sizes = [len(rows) for rows in parts]
    part, place = torch.empty_like(order), torch.empty_like(order)
    part[order] = torch.arange(len(parts)).repeat_interleave(torch.tensor(sizes))
    place[order] = torch.cat([torch.arange(size) for size in sizes])
    of_each = part[batch.row]
    order = of_each.argsort(stable=True)
    sizes = of_each.bincount(minlength=len(parts)).tolist()
    row, step = place[batch.row[order]].split(sizes), batch.step[order].split(sizes)
    return [batch._replace(row=r, step=s) for r, s in zip(row, step, strict=True)], order


def _some(histories: Histories, rows: Tensor) -> Histories:
    lengths = histories.lengths[rows]
    longest = int(lengths.max())
    items, _, times = histories
    times = None if times is None else times[rows, :longest]
    return Histories(items[rows, :longest], lengths, times)


def _inverse(order: Tensor) -> Tensor:
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order))
    return inverse
