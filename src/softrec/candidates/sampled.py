"""Candidates sampled from the catalogue, for the whole batch or for each row."""

from __future__ import annotations

from typing import Literal, assert_never

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor, nn

from softrec.candidates.base import Candidates, CandidateSource, DrawnSettings
from softrec.errors import RecipeError
from softrec.interacted import Interacted
from softrec.parallel import from_first
from softrec.settings import Rounds, setting
from softrec.training_data import TrainingData
from softrec.types import Batch


class SharedUniform(nn.Module):
    """`number` distinct items, uniform over the catalogue, the same for all rows of a batch."""

    def __init__(self, n_items: int, number: int, corrected: bool = True) -> None:
        super().__init__()
        if not 1 <= number <= n_items:
            raise ValueError(
                f"the number of sampled candidates must be from 1 to {n_items}, the number of "
                f"items; got {number}"
            )
        self.n_items, self.number, self.corrected = n_items, number, corrected

    def forward(self, batch: Batch) -> Candidates:
        """Return a new sample; all items if `number` is N."""
        device = batch.label.device
        # NumPy samples without replacement without a pass over all items.
        seed = int(from_first(torch.randint(2**62, (1,))))
        drawn = np.random.default_rng(seed).choice(
            self.n_items, self.number, replace=False, shuffle=False
        )
        items = torch.from_numpy(np.sort(drawn)).to(device)
        counts = torch.ones(len(items), device=device)
        rate = torch.full_like(counts, self.n_items / self.number)
        return Candidates(items, counts, rate.log() if self.corrected else None)


class SharedDraws(nn.Module):
    """A sample with replacement from a distribution over the items, the same for all rows.

    Args:
        probs: (N,), sums to 1.
        number: the size of the sample.
        corrected: whether logits are corrected for the expected counts (log Q correction).
    """

    probs: Tensor

    def __init__(self, probs: Tensor, number: int, corrected: bool = True) -> None:
        super().__init__()
        self.register_buffer("probs", probs, persistent=False)
        self.draws = _Draws(probs)
        self.number, self.corrected = number, corrected

    def forward(self, batch: Batch) -> Candidates:
        """Return the distinct items of a new sample, with their counts."""
        drawn = from_first(self.draws((self.number,), batch.label.device))
        items, counts = drawn.unique(return_counts=True)
        expected = self.number * self.probs[items].double()
        correction = -expected.log().float() if self.corrected else None
        return Candidates(items, counts.float(), correction)


class RowDraws(nn.Module):
    """A sample for each row, by default uniform over all items except the label.

    Args:
        n_items: N.
        number: the size of the sample of a row.
        probs: (N,), sums to 1: sample from this distribution; if the label is sampled, it counts 0.
        corrected: whether logits are corrected for the expected counts (log Q correction).
        interacted: sample uniformly from the items that the row's user did not interact with.
        false_negatives: how likely each of the other items, with which the user did interact, is
            sampled, as a multiple of the probability of one without.
    """

    probs: Tensor | None

    def __init__(
        self,
        n_items: int,
        number: int,
        probs: Tensor | None = None,
        corrected: bool = True,
        interacted: Interacted | None = None,
        false_negatives: float = 0.0,
    ) -> None:
        super().__init__()
        if probs is not None and interacted is not None:
            raise ValueError(
                "items that a user has not interacted with are sampled uniformly; leave out probs"
            )
        self.n_items, self.number, self.corrected = n_items, number, corrected
        self.register_buffer("probs", probs, persistent=False)
        self.draws = None if probs is None else _Draws(probs)
        self.interacted, self.false_negatives = interacted, false_negatives

    def forward(self, batch: Batch) -> Candidates:
        """Return (P, number) items; the label, if it is sampled, counts 0."""
        label = batch.label[:, None]
        shape = (len(batch.label), self.number)
        if self.interacted is not None:
            items, expected, counted = self._negatives(batch, self.interacted)
            counts = ((items != label) & counted).float()
            return Candidates(items, counts, -expected.log() if self.corrected else None)
        if self.draws is None or self.probs is None:
            drawn = torch.randint(self.n_items - 1, shape, device=label.device)
            # Skip the label, so that all other items are equally likely.
            items = torch.ge(drawn, label, out=torch.empty_like(drawn)).add_(drawn)
            counts = torch.ones(1, self.number, device=label.device)
            expected = counts * (self.number / (self.n_items - 1))
            return Candidates(items, counts, -expected.log() if self.corrected else None)
        items = self.draws(shape, label.device)
        expected = self.number * self.probs[items]
        counts = (items != label).float()
        return Candidates(items, counts, -expected.log() if self.corrected else None)

    def _negatives(self, batch: Batch, interacted: Interacted) -> tuple[Tensor, Tensor, Tensor]:
        """Return items, their expected counts, and whether a row has any negatives."""
        user, rate = batch.prediction_user, self.false_negatives
        shape = (len(user), self.number)
        there = interacted.n_negatives(user)[:, None]
        total = there + rate * (self.n_items - there)  # of an item without an event, 1
        point = torch.rand(shape, dtype=torch.float64, device=user.device) * total
        number = point.long().clamp(max=there.clamp(min=1) - 1)
        items = interacted.nth_negative(user, number).clamp(max=self.n_items - 1)
        each = torch.where(total > 0, self.number / total, self.number)
        expected = each.expand(shape)
        if rate:
            own = self.n_items - there
            false = (point >= there) & (own > 0)
            row = false.nonzero()[:, 0]
            number = ((point - there) / rate).long().clamp(max=own - 1)[false]
            items[false] = interacted.nth_item(user[row], number[:, None])[:, 0]
            expected = torch.where(false, rate * expected, expected)
        return items, expected, total > 0


class _Draws:
    """Samples items with replacement, by inverting the cumulative sum of their probabilities."""

    def __init__(self, probs: Tensor) -> None:
        # Not a buffer: it must stay in double precision, whatever the module is converted to.
        self.running = probs.double().cumsum(0)

    def __call__(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        self.running = self.running.to(device)
        drawn = torch.rand(shape, dtype=torch.float64, device=device) * self.running[-1]
        places = torch.searchsorted(self.running, drawn, right=True)
        return places.clamp(max=len(self.running) - 1)


def log_uniform(counts: Tensor) -> Tensor:
    """Return the log-uniform distribution over items in the order of decreasing count, (N,).

    Formula: Q = log((r + 2) / (r + 1)) / log(N + 1) for the item of rank r = 0, 1, ...

    Example:
        >>> log_uniform(torch.tensor([1, 9, 5])).argsort(descending=True)
        tensor([1, 2, 0])
    """
    order = counts.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    whole = torch.tensor(len(counts) + 1.0, dtype=torch.float64).log()
    return (((rank + 2).double() / (rank + 1)).log() / whole).float()


# --- in a recipe ---

Sampler = Literal["uniform", "popularity", "log-uniform"]


class SampledSettings(DrawnSettings, name="sampled"):
    """A sample of the items."""

    ratio: float | None = setting(
        None,
        "fraction of the items that is sampled; this or number is required",
        common=True,
        gt=0,
        le=1,
    )
    number: Rounds | None = setting(
        None, "number of items that is sampled, instead of ratio", common=True
    )
    sampler: Sampler = setting("uniform", "the distribution that is sampled from", common=True)
    per_row: bool = setting(False, "sample for each row instead of once for the batch")
    mask_positives: bool = setting(
        False, "mask items that the user has interacted with; needs per_row and the uniform sampler"
    )

    false_negatives: float | None = setting(
        None,
        "noise for a test of robustness: sample the items that the user has interacted with, too, "
        "each so many times as likely as another item (0 masks them, 1 is uniform); needs per_row "
        "and the uniform sampler, and scores are then not corrected",
        ge=0,
        le=1e6,
    )

    @model_validator(mode="after")
    def _one_size(self) -> SampledSettings:
        if (self.ratio is None) == (self.number is None):
            raise ValueError(
                "sampled candidates need either a ratio (such as 0.2) or a number (such as 800)"
            )
        return self

    @model_validator(mode="after")
    def _of_each_user(self) -> SampledSettings:
        if self.mask_positives and not (self.per_row and self.sampler == "uniform"):
            raise ValueError(
                "mask_positives samples for each user uniformly from the items that the user has "
                "not interacted with; it needs per_row: true and sampler: uniform"
            )
        return self

    @model_validator(mode="after")
    def _noise(self) -> SampledSettings:
        if self.false_negatives is None:
            return self
        if self.mask_positives or not (self.per_row and self.sampler == "uniform"):
            raise ValueError(
                "false_negatives samples for each user, with two probabilities: it needs per_row: "
                "true and sampler: uniform, and mask_positives is false_negatives: 0"
            )
        if self.correction:
            raise ValueError(
                "correction: true would undo false_negatives, for it divides by how often they are "
                "sampled; leave one of them out"
            )
        return self

    def corrects(self, *, softmax: bool) -> bool:
        """Return whether the scores are corrected; not those of false negatives."""
        return self.false_negatives is None and super().corrects(softmax=softmax)

    def number_of(self, n_items: int) -> int:
        """Return how many items are sampled from a catalogue."""
        drawn = int((self.ratio or 0) * n_items) if self.number is None else self.number
        return max(1, drawn)

    def build(self, training: TrainingData, *, softmax: bool) -> CandidateSource:
        """Return the source: a sample for each row, or one for the whole batch."""
        n_items, corrected = training.n_items, self.corrects(softmax=softmax)
        number = self.number_of(n_items)
        probs = probs_of(self.sampler, training.item_counts)
        if self.per_row:
            noise = self.false_negatives
            by_user = self.mask_positives or noise is not None
            interacted = _interacted(training) if by_user else None
            return RowDraws(n_items, number, probs, corrected, interacted, noise or 0.0)
        if probs is not None:
            return SharedDraws(probs, number, corrected)
        if number > n_items:
            raise RecipeError(
                f"candidates.number is {number:,}, more than the {n_items:,} items; choose a "
                "smaller number, or candidates: full"
            )
        return SharedUniform(n_items, number, corrected)


def probs_of(sampler: Sampler, counts: Tensor) -> Tensor | None:
    """Return the probability of each item, (N,); None if all are equal."""
    match sampler:
        case "uniform":
            return None
        case "popularity":
            return counts / counts.sum()
        case "log-uniform":
            return log_uniform(counts)
        case _:
            assert_never(sampler)


def _interacted(training: TrainingData) -> Interacted:
    train = training.split.train
    user, item = training.events
    return Interacted(user, item, train.n_users, train.n_items)
