"""All items that occur in the training part; the others are neither raised nor lowered."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softrec.candidates.base import Candidates, CandidatesSettings
from softrec.errors import RecipeError
from softrec.training_data import TrainingData
from softrec.types import Batch


class Shown(nn.Module):
    r"""The same items for every batch, each once.

    $$R = \log \sum_{i \in C, i \ne y} \exp z_i$$

    over the items C with a training event, as a label or in a history. Over all items, what was
    never shown would be lowered by every example, as if everybody had refused it. A soft target is
    restricted to C and renormalised, so that with `uniform` each item of C has 1 / |C|.

    Args:
        items: (M,) int64, distinct and ascending.

    Example:
        >>> nothing = torch.zeros(1, dtype=torch.int64)
        >>> Shown(torch.tensor([0, 3]))(Batch(nothing[:, None], nothing, nothing, nothing)).items
        tensor([0, 3])
    """

    items: Tensor
    counts: Tensor

    def __init__(self, items: Tensor) -> None:
        super().__init__()
        self.register_buffer("items", items, persistent=False)
        self.register_buffer("counts", torch.ones(len(items)), persistent=False)

    def forward(self, batch: Batch) -> Candidates:
        """Return the items, the same for every batch."""
        return Candidates(self.items, self.counts)


# --- in a recipe ---


class ShownSettings(CandidatesSettings, name="shown"):
    """All items with a training event; what was never shown has no gradient of the softmax."""

    def negatives_in(self, training: TrainingData, *, softmax: bool) -> int:
        """Return how many items have a training event, but for the label."""
        return int((training.item_counts > 0).sum()) - 1

    def build(self, training: TrainingData, *, softmax: bool) -> Shown:
        """Return the items of the training part.

        Raises:
            RecipeError: if there are fewer than two.
        """
        items = training.item_counts.nonzero()[:, 0]
        if len(items) < 2:
            raise RecipeError(
                f"candidates: shown needs two items with a training event, got {len(items)}; "
                "choose candidates: full"
            )
        return Shown(items)
