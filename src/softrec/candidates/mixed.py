"""The other labels of the batch and a sample of the items together."""

from __future__ import annotations

import torch
from pydantic import model_validator
from torch import Tensor, nn

from softrec.candidates.base import Candidates, CandidateSource, DrawnSettings
from softrec.candidates.in_batch import InBatch
from softrec.candidates.sampled import Sampler, SharedDraws, SharedUniform, probs_of
from softrec.errors import RecipeError
from softrec.settings import Rounds, setting
from softrec.training_data import TrainingData
from softrec.types import Batch


class MixedDraws(nn.Module):
    r"""The labels of the other rows, and a sample of the catalogue, with the counts of both added.

    $$c_j = c_j^{batch} + c_j^{sample}, \qquad E_j = (P - 1) f_j + n q_j$$

    Labels of the batch are popular items for which the products are there already; the sample
    reaches items that are seldom a label. One expected count for both keeps the sum of a softmax
    right in the mean.

    Args:
        drawn: the sample, the same for all rows.
        frequency: (N,) the fraction of the training labels that are this item; None without
            correction.
        probs: (N,) the distribution of the sample, sums to 1; None if it is uniform.

    Source: Yang et al., "Mixed Negative Sampling for Learning Two-tower Neural Networks in
    Recommendations", WWW 2020, with the exact sum of the rates in place of its approximation.
    """

    frequency: Tensor | None
    probs: Tensor | None

    def __init__(
        self,
        drawn: SharedUniform | SharedDraws,
        frequency: Tensor | None = None,
        probs: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.in_batch, self.drawn = InBatch(), drawn
        self.register_buffer("frequency", frequency, persistent=False)
        self.register_buffer("probs", probs, persistent=False)

    def forward(self, batch: Batch) -> Candidates:
        """Return the distinct items of both."""
        labels, sample = self.in_batch(batch), self.drawn(batch)
        items, places = torch.cat([labels.items, sample.items]).unique(return_inverse=True)
        each = torch.cat([labels.counts, sample.counts])
        counts = each.new_zeros(len(items)).index_add_(0, places, each)
        if self.frequency is None:
            return Candidates(items, counts)
        labels_of_all = batch.total or len(batch.label)
        expected = (labels_of_all - 1) * self.frequency[items].double()
        if self.probs is None:
            expected += self.drawn.number / len(self.frequency)
        else:
            expected += self.drawn.number * self.probs[items].double()
        return Candidates(items, counts, -expected.log().float())


# --- in a recipe ---


class MixedDrawsSettings(DrawnSettings, name="mixed"):
    """The other labels of the batch and a sample of the items together."""

    number: Rounds | None = setting(
        None,
        "number of items that is sampled beside the other labels of the batch; required",
        common=True,
    )
    sampler: Sampler = setting("uniform", "the distribution that is sampled from", common=True)

    @model_validator(mode="after")
    def _one_size(self) -> MixedDrawsSettings:
        if self.number is None:
            raise ValueError("mixed candidates need the number of a sample, such as number: 500")
        return self

    def build(self, training: TrainingData, *, softmax: bool) -> CandidateSource:
        """Return the source of labels and sample.

        Raises:
            RecipeError: if more items are to be sampled than there are.
        """
        probs, n_items = probs_of(self.sampler, training.item_counts), training.n_items
        assert self.number is not None
        if probs is None and self.number > n_items:
            raise RecipeError(
                f"candidates.number is {self.number:,}, more than the {n_items:,} items; choose a "
                "smaller number, or candidates: full"
            )
        drawn = (
            SharedUniform(n_items, self.number, corrected=False)
            if probs is None
            else SharedDraws(probs, self.number, corrected=False)
        )
        counts = training.label_counts
        frequency = counts / counts.sum() if self.corrects(softmax=softmax) else None
        return MixedDraws(drawn, frequency, probs)
