"""The other labels of the batch as candidates."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softrec.candidates.base import Candidates, CandidateSource, DrawnSettings
from softrec.parallel import gathered
from softrec.settings import setting
from softrec.training_data import TrainingData
from softrec.types import Batch


class InBatch(nn.Module):
    """The labels of the other rows.

    Args:
        frequency: (N,) the fraction of the training labels that are this item, for the log Q
            correction (Yi et al., RecSys 2019); None without correction.
        mask_hits: leave out a row's own label if other rows have it, too.
        mask_positives: leave out the items of a row's history, and other labels of its user.
    """

    frequency: Tensor | None

    def __init__(
        self,
        frequency: Tensor | None = None,
        mask_hits: bool = True,
        mask_positives: bool = False,
    ) -> None:
        super().__init__()
        self.register_buffer("frequency", frequency, persistent=False)
        self.mask_hits, self.mask_positives = mask_hits, mask_positives

    def forward(self, batch: Batch) -> Candidates:
        """Return the distinct labels of `batch` as candidates."""
        label, own = _of_all(batch, batch.label)
        items, place, counts = label.unique(return_inverse=True, return_counts=True)
        correction = None
        if self.frequency is not None:
            expected = max(len(label) - 1, 1) * self.frequency[items].double()
            correction = -expected.log().float()
        hits = None if self.mask_hits else (counts[place[own]] - 1).float()
        masked = _positives(batch, label, own, items) if self.mask_positives else None
        return Candidates(items, counts.float(), correction, hits, masked)


def _of_all(batch: Batch, rows: Tensor) -> tuple[Tensor, slice]:
    """Return the rows (P,) of all processes that share a batch, and where those of `batch` are."""
    return (rows, slice(0, len(rows))) if batch.total is None else gathered(rows)


def _positives(batch: Batch, label: Tensor, own: slice, items: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs (row, place in `items`) of the items that a row's user interacted with.

    Args:
        batch: the rows.
        label: of all processes that share the batch.
        own: where those of `batch` are.
        items: distinct, ascending.
    """
    rows = len(label)
    sequence = batch.row
    if sequence is None:
        sequence = torch.arange(len(batch.label), device=items.device)
    user, _ = _of_all(batch, batch.user[sequence])
    found = [_found(batch.history[sequence], items)]
    order = user.argsort(stable=True)
    _, size = user[order].unique_consecutive(return_counts=True)
    first = torch.repeat_interleave(size.cumsum(0) - size, size)  # (P,) the start of its group
    sizes = torch.repeat_interleave(size, size)
    owner = torch.repeat_interleave(torch.arange(rows, device=items.device), sizes)
    within = torch.arange(len(owner), device=items.device) - (sizes.cumsum(0) - sizes)[owner]
    other = order[first[owner] + within]
    row, place = order[owner], torch.searchsorted(items, label[other])
    if len(batch.label) < rows:
        here = (row >= own.start) & (row < own.stop)
        row, place = row[here] - own.start, place[here]
    found.append((row, place))
    return torch.cat([row for row, _ in found]), torch.cat([place for _, place in found])


def _found(history: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Return (row, place) of the history's items that are among `items`."""
    places = torch.searchsorted(items, history).clamp(max=len(items) - 1)
    row, column = (items[places] == history).nonzero(as_tuple=True)
    return row, places[row, column]


# --- in a recipe ---


class InBatchSettings(DrawnSettings, name="in-batch"):
    """The other labels of the batch."""

    mask_hits: bool = setting(True, "mask candidates that are the label itself")
    mask_positives: bool = setting(False, "mask items that the user has interacted with")

    def check_soft(self) -> None:
        """Refuse a soft target if a user's other items are left out."""
        if self.mask_positives:
            raise ValueError(
                "a soft target may give probability to items that mask_positives masks, and "
                "nothing would limit their scores; choose mask_positives: false"
            )

    def build(self, training: TrainingData, *, softmax: bool) -> CandidateSource:
        """Return the source of in-batch candidates."""
        counts = training.label_counts
        frequency = counts / counts.sum() if self.corrects(softmax=softmax) else None
        return InBatch(frequency, self.mask_hits, self.mask_positives)
