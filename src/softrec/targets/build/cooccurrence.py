"""Items that occur together with those of the history, counted, as the soft target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pydantic import field_validator
from torch import Tensor

from softrec.settings import Alpha, Count, Temperature, Text, setting
from softrec.targets.settings import ALPHAS, FLATTER, TEMPERATURES, WEIGHT, TargetSettings
from softrec.targets.sparse import SparseTarget
from softrec.training_data import TrainingData
from softrec.types import Batch, Offset


class CooccurrenceSource:
    r"""The items that occur together with the last items of a history, without the label.

    $$s_i = \frac{score_i^{1/T}}{\sum_{j \ne y} score_j^{1/T}}, \qquad
    score_i = \sum_t r^{n - t} S_{h_t i}$$

    for the k largest scores of the items i other than the label y. A history without any gives the
    label itself, s = e_y. Nothing is stored for the contexts: the scores are sums of rows of the
    sparse table S, made for each batch.

    Args:
        scores: returns the largest scores of each prediction (P, N), one more than `k`.
        k: how many items a row has, at most.
        temperature: T > 0; larger is flatter.

    Example:
        >>> values = torch.tensor([3.0, 9.0, 1.0])
        >>> scores = Offset(torch.tensor([0, 3, 3]), torch.tensor([0, 2, 4]), values)
        >>> nothing = torch.zeros(2, dtype=torch.int64)
        >>> batch = Batch(nothing[:, None], torch.tensor([2, 1]), nothing, nothing)
        >>> CooccurrenceSource(lambda batch: scores, k=2)(batch).prob_of(torch.tensor([0, 1]))
        tensor([0.7500, 1.0000])
    """

    def __init__(
        self, scores: Callable[[Batch], Offset], k: int = 50, temperature: float = 1.0
    ) -> None:
        self.scores, self.k, self.temperature = scores, k, temperature

    def __call__(self, batch: Batch) -> SparseTarget:
        """Return the items of each prediction of `batch`."""
        found, label = self.scores(batch), batch.label
        items, values = _padded(found)
        values = values.masked_fill(items == label[:, None], 0)
        if values.shape[1] > self.k:
            values, places = values.topk(self.k, 1, sorted=False)
            items = items.gather(1, places)
        # Divided by the largest first: small numbers to a high power would be 0.
        largest = values.amax(1, keepdim=True)
        powers = (values / torch.where(largest > 0, largest, 1)) ** (1 / self.temperature)
        total = powers.sum(1, keepdim=True)
        alone = total[:, 0] == 0
        probs = powers / torch.where(total > 0, total, 1)
        probs[:, 0] = torch.where(alone, 1, probs[:, 0])
        items[:, 0] = torch.where(alone, label, items[:, 0])
        return SparseTarget(items, probs)


def _padded(found: Offset) -> tuple[Tensor, Tensor]:
    """Return the items and values of each row, (P, w) each, filled up with 0."""
    lengths = found.starts.diff()
    width = max(1, int(lengths.max()))
    rows = found.rows
    places = torch.arange(len(rows), device=rows.device) - found.starts[rows]
    items = found.items.new_zeros(len(lengths), width)
    values = found.values.new_zeros(len(lengths), width)
    items[rows, places], values[rows, places] = found.items, found.values
    return items, values


class CooccurrenceSettings(TargetSettings, name="co-occurrence"):
    """The items that occur together with those of the history, by a counted model."""

    alpha: Alpha = setting(0.3, WEIGHT, common=True, search=ALPHAS)
    model: Text | dict[str, Any] = setting(
        {"name": "item-knn"},
        "the counted model, by its name, or with its settings: item-knn, markov or rp3beta",
    )
    k: Count = setting(50, "items of each context, at most: those with the largest scores")
    last: Count = setting(10, "how many of the last items of a history are read")
    temperature: Temperature = setting(1.0, FLATTER, common=True, search=TEMPERATURES)
    folds: int = setting(
        4,
        "of the users; those of a fold read the counts of the other folds. 0: all read all counts, "
        "their own events among them",
        ge=0,
        le=100,
    )

    @field_validator("model", mode="after")
    @classmethod
    def _by_name(cls, model: Any) -> dict[str, Any]:
        """Accept a name alone."""
        return {"name": model} if isinstance(model, str) else model

    @field_validator("folds")
    @classmethod
    def _more_than_one(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError("one fold leaves no other users to count; give 2 or more, or 0")
        return folds

    @property
    def packages(self) -> tuple[str, ...]:
        """Return SciPy, which multiplies sparse tables."""
        return ("scipy",)

    @property
    def in_parts(self) -> bool:
        """Return True."""
        return True

    @property
    def tables(self) -> tuple[Mapping[str, Any], ...]:
        """Return the settings of the counted model."""
        assert isinstance(self.model, dict)
        return (self.model,)

    def build(self, training: TrainingData) -> CooccurrenceSource:
        """Return the source, from tables counted on the training part."""
        (model,) = self.tables
        scores = training.together(model, last=self.last, items=self.k + 1, folds=self.folds)
        return CooccurrenceSource(scores, self.k, self.temperature)
