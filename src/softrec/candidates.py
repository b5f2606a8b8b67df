"""Candidates: the negatives a positive is scored against. All items, a sample, or in-batch.

Let C be the candidates of a row without its label, c_j how often candidate j was drawn and E_j how
often it was expected to be. The losses see the logits z_j + log(c_j / E_j): their exponentials
sum, in the mean over draws, to the sum over the whole catalogue without the label, so that R and
with it every softmax loss estimates the full one (Bengio and Senecal, 2008). The label's own
logit stays as it is. Without correction E_j = 1.

| drawn | E_j |
|---|---|
| n of N, uniform, shared, each at most once | n / N |
| n with replacement from Q, shared, hits on the label left out | n Q_j |
| n with replacement from the items but the label, for each row | n / (N - 1), n Q_j |
| n with replacement from the F items the user did not interact with | n / F |
| the other labels of the batch, of which j is f_j | (P - 1) f_j |

A draw that hits the label is left out of C. In-batch negatives may mask the user's other
positives, too. Sources are modules: what they remember of the data are buffers, which move along
and are not saved.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple, Protocol, assert_never

import numpy as np
import torch
from pydantic import model_validator
from torch import Tensor, nn

from softrec.errors import RecipeError
from softrec.interacted import Interacted
from softrec.registry import Chosen, Registry
from softrec.settings import Rounds, setting
from softrec.training_data import TrainingData
from softrec.types import Batch


class Candidates(NamedTuple):
    """The candidates of a batch, shared by its rows or drawn for each.

    Shared ones are distinct and ascending, (M,); `hits` and `masked` then say what a row sees
    otherwise. With (P, M), a count of 0 leaves a candidate out.
    """

    items: Tensor  # (M,) or (P, M) int64
    counts: Tensor  # same shape, how often each was drawn
    correction: Tensor | None = None  # same shape, -log E_j; None without correction
    hits: Tensor | None = None  # (P,) how often the row's label stays a negative; None: never
    masked: tuple[Tensor, Tensor] | None = None  # pairs (row, place among M) left out


class CandidateSource(Protocol):
    """Draws the candidates of a batch, by torch's global random numbers."""

    def __call__(self, batch: Batch) -> Candidates:
        """Return the negatives that the labels of `batch` are scored against."""
        ...


class SharedUniform(nn.Module):
    """`number` distinct items, uniform over the catalogue, one draw for the whole batch."""

    def __init__(self, n_items: int, number: int, corrected: bool = True) -> None:
        super().__init__()
        if not 1 <= number <= n_items:
            raise ValueError(f"expected 1 to {n_items} candidates of {n_items} items, got {number}")
        self.n_items, self.number, self.corrected = n_items, number, corrected

    def forward(self, batch: Batch) -> Candidates:
        """Return a fresh sample; all items, if `number` is N."""
        device = batch.label.device
        # NumPy's draw without replacement does not touch the items it leaves out.
        seed = int(torch.randint(2**62, (1,)))
        drawn = np.random.default_rng(seed).choice(
            self.n_items, self.number, replace=False, shuffle=False
        )
        items = torch.from_numpy(np.sort(drawn)).to(device)
        counts = torch.ones(len(items), device=device)
        rate = torch.full_like(counts, self.n_items / self.number)
        return Candidates(items, counts, rate.log() if self.corrected else None)


class SharedDraws(nn.Module):
    """`number` draws with replacement from a distribution over the items, for the whole batch.

    Args:
        probs: (N,), sums to 1.
        number: of draws.
        corrected: whether logits are corrected for how often an item was expected.
    """

    probs: Tensor

    def __init__(self, probs: Tensor, number: int, corrected: bool = True) -> None:
        super().__init__()
        self.register_buffer("probs", probs, persistent=False)
        self.number, self.corrected = number, corrected

    def forward(self, batch: Batch) -> Candidates:
        """Return the distinct items of a fresh sample, with their counts."""
        items, counts = _draws(self.probs, (self.number,)).unique(return_counts=True)
        expected = self.number * self.probs[items].double()
        correction = -expected.log().float() if self.corrected else None
        return Candidates(items, counts.float(), correction)


class RowDraws(nn.Module):
    """`number` draws for each row, uniform over all items but the label, or as the arguments say.

    Args:
        n_items: N.
        number: of draws.
        probs: (N,), sums to 1: draws from this distribution; a draw of the label counts 0.
        corrected: whether logits are corrected for how often an item was expected.
        interacted: draws uniformly from what the row's user did not interact with.
    """

    probs: Tensor | None

    def __init__(
        self,
        n_items: int,
        number: int,
        probs: Tensor | None = None,
        corrected: bool = True,
        interacted: Interacted | None = None,
    ) -> None:
        super().__init__()
        if probs is not None and interacted is not None:
            raise ValueError("items a user did not interact with are drawn uniformly; drop probs")
        self.n_items, self.number, self.corrected = n_items, number, corrected
        self.register_buffer("probs", probs, persistent=False)
        self.interacted = interacted

    def forward(self, batch: Batch) -> Candidates:
        """Return (P, number) items; a draw of the label counts 0."""
        label = batch.label[:, None]
        shape = (len(batch.label), self.number)
        if self.interacted is not None:
            items, expected, counted = self._negatives(batch, self.interacted)
            counts = ((items != label) & counted).float()
            return Candidates(items, counts, -expected.log() if self.corrected else None)
        if self.probs is None:
            drawn = torch.randint(self.n_items - 1, shape, device=label.device)
            items = drawn + (drawn >= label)  # past the label: every other item alike
            expected = torch.full(shape, self.number / (self.n_items - 1), device=label.device)
        else:
            items = _draws(self.probs, shape)
            expected = self.number * self.probs[items]
        counts = (items != label).float()
        return Candidates(items, counts, -expected.log() if self.corrected else None)

    def _negatives(self, batch: Batch, interacted: Interacted) -> tuple[Tensor, Tensor, Tensor]:
        """Return items, how often each was expected, and whether a row has negatives at all."""
        user = batch.prediction_user
        shape = (len(user), self.number)
        there = interacted.n_negatives(user)[:, None]
        uniform = torch.rand(shape, dtype=torch.float64, device=user.device)
        number = (uniform * there).long().clamp(max=there.clamp(min=1) - 1)
        items = interacted.nth_negative(user, number).clamp(max=self.n_items - 1)
        expected = (self.number / there.clamp(min=1)).expand(shape)
        return items, expected, there > 0


class InBatch(nn.Module):
    """The labels of the other rows.

    Args:
        frequency: (N,) fraction of the training labels that each item is, for the sampling-bias
            correction (Yi et al., RecSys 2019); None without correction.
        mask_hits: leave out a row's own label where other rows have it, too.
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
        """Return the distinct labels of `batch`."""
        label = batch.label
        items, place, counts = label.unique(return_inverse=True, return_counts=True)
        correction = None
        if self.frequency is not None:
            expected = max(len(label) - 1, 1) * self.frequency[items].double()
            correction = -expected.log().float()
        hits = None if self.mask_hits else (counts[place] - 1).float()
        masked = _positives(batch, items) if self.mask_positives else None
        return Candidates(items, counts.float(), correction, hits, masked)


def times_used(label: Tensor, chosen: Candidates, n_items: int) -> Tensor:
    """Return how often each item is the label or a negative of some row, (N,) float32.

    Example:
        >>> chosen = Candidates(torch.tensor([0, 2]), torch.tensor([1.0, 3.0]))
        >>> times_used(torch.tensor([2, 1]), chosen, n_items=3)
        tensor([2., 1., 4.])
    """
    used = torch.bincount(label, minlength=n_items).float()
    items, counts = chosen.items, chosen.counts.float()
    if items.dim() == 2:
        return used.index_add(0, items.flatten(), counts.flatten())
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
    if chosen.hits is not None:  # hits, unless masked
        stay = chosen.hits[row] * torch.isin(own, out)
        used = used.index_add(0, items[place], -stay)
    out = out[~torch.isin(out, own)] % m
    return used.index_add(0, items[out], -counts[out])


def _positives(batch: Batch, items: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pairs (row, place in `items`) of what a row's user interacted with."""
    rows = len(batch.label)
    sequence = torch.arange(rows, device=items.device) if batch.row is None else batch.row
    user = batch.user[sequence]
    found = [_found(batch.history[sequence], items)]
    order = user.argsort(stable=True)
    _, size = user[order].unique_consecutive(return_counts=True)
    first = torch.repeat_interleave(size.cumsum(0) - size, size)  # (P,) where its group begins
    sizes = torch.repeat_interleave(size, size)
    owner = torch.repeat_interleave(torch.arange(rows, device=items.device), sizes)
    within = torch.arange(len(owner), device=items.device) - (sizes.cumsum(0) - sizes)[owner]
    other = order[first[owner] + within]
    found.append((order[owner], torch.searchsorted(items, batch.label[other])))
    return torch.cat([row for row, _ in found]), torch.cat([place for _, place in found])


def _found(history: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    """Return (row, place) of the history's items that are among `items`."""
    places = torch.searchsorted(items, history).clamp(max=len(items) - 1)
    row, column = (items[places] == history).nonzero(as_tuple=True)
    return row, places[row, column]


def _draws(probs: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return items drawn with replacement, by inverting the running sum."""
    running = probs.double().cumsum(0)
    drawn = torch.rand(shape, dtype=torch.float64, device=probs.device) * running[-1]
    return torch.searchsorted(running, drawn, right=True).clamp(max=len(probs) - 1)


def log_uniform(counts: Tensor) -> Tensor:
    """Return the log-uniform distribution over items by falling count, (N,).

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

CANDIDATES: Registry[type[CandidatesSettings]] = Registry("candidates", "softrec.candidates")


class CandidatesSettings(Chosen):
    """Candidates as a recipe names them: a subclass has settings as fields, and `build`."""

    registry: ClassVar[Registry[Any]] = CANDIDATES

    def build(self, training: TrainingData, *, softmax: bool) -> CandidateSource | None:
        """Return what draws the candidates of a batch; None where they are all items.

        Args:
            training: the training part.
            softmax: whether they are for a softmax loss.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method build(training, softmax)")


class FullSettings(CandidatesSettings, name="full"):
    """All items."""

    def build(self, training: TrainingData, *, softmax: bool) -> None:
        """Return None: nothing is drawn."""


class DrawnSettings(CandidatesSettings):
    """Candidates that are drawn, of which losses may be corrected for how likely each was."""

    correction: bool | None = setting(
        None, "for how often a candidate is drawn (logQ); by default for softmax losses only"
    )
    soft: Literal["restricted", "exact"] = setting(
        "restricted",
        "the soft target restricted to the candidates, or exact over the whole catalogue",
    )

    def check_soft(self) -> None:
        """Refuse a soft target over candidates that a row leaves out.

        Raises:
            ValueError: with the remedy.
        """

    def corrects(self, *, softmax: bool) -> bool:
        """Return whether losses are corrected."""
        return softmax if self.correction is None else self.correction

    def number_of(self, n_items: int) -> int | None:
        """Return how many items are drawn of a catalogue; None if that is not known before."""
        return None


Sampler = Literal["uniform", "popularity", "log-uniform"]


class SampledSettings(DrawnSettings, name="sampled"):
    """A sample of the items."""

    ratio: float | None = setting(
        None, "fraction of the items that is drawn", common=True, gt=0, le=1
    )
    number: Rounds | None = setting(None, "or how many are drawn", common=True)
    sampler: Sampler = setting("uniform", "how likely each item is")
    per_row: bool = setting(False, "draw for each row, not once for the batch")
    mask_positives: bool = setting(
        False, "draw only items the user did not interact with in training"
    )

    @model_validator(mode="after")
    def _one_size(self) -> SampledSettings:
        if (self.ratio is None) == (self.number is None):
            raise ValueError("sampled candidates need a ratio (0.2) or a number (800), one of them")
        return self

    @model_validator(mode="after")
    def _of_each_user(self) -> SampledSettings:
        if self.mask_positives and not (self.per_row and self.sampler == "uniform"):
            raise ValueError(
                "mask_positives draws for each user from the items they did not interact with, "
                "evenly; it needs per_row: true and sampler: uniform"
            )
        return self

    def number_of(self, n_items: int) -> int:
        """Return how many items are drawn of a catalogue."""
        drawn = int((self.ratio or 0) * n_items) if self.number is None else self.number
        return max(1, drawn)

    def build(self, training: TrainingData, *, softmax: bool) -> CandidateSource:
        """Return a sampler: of each row, or of the whole batch."""
        n_items, corrected = training.n_items, self.corrects(softmax=softmax)
        number = self.number_of(n_items)
        probs = self._probs(training.item_counts)
        if self.per_row:
            interacted = _interacted(training) if self.mask_positives else None
            return RowDraws(n_items, number, probs, corrected, interacted)
        if probs is not None:
            return SharedDraws(probs, number, corrected)
        if number > n_items:
            raise RecipeError(
                f"candidates.number is {number:,}, more than the {n_items:,} items; take fewer, "
                "or candidates: full"
            )
        return SharedUniform(n_items, number, corrected)

    def _probs(self, counts: Tensor) -> Tensor | None:
        """Return how likely each item is, (N,); None: all alike."""
        match self.sampler:
            case "uniform":
                return None
            case "popularity":
                return counts / counts.sum()
            case "log-uniform":
                return log_uniform(counts)
            case sampler:
                assert_never(sampler)


class InBatchSettings(DrawnSettings, name="in-batch"):
    """The other labels of the batch."""

    mask_hits: bool = setting(True, "leave out copies of the label")
    mask_positives: bool = setting(False, "leave out the user's other items")

    def check_soft(self) -> None:
        """Refuse a soft target where a user's other items are left out."""
        if self.mask_positives:
            raise ValueError(
                "a soft target may give mass to the items that mask_positives leaves out, and "
                "nothing would hold their scores down; choose mask_positives: false"
            )

    def build(self, training: TrainingData, *, softmax: bool) -> CandidateSource:
        """Return the labels of the batch."""
        counts = training.label_counts
        frequency = counts / counts.sum() if self.corrects(softmax=softmax) else None
        return InBatch(frequency, self.mask_hits, self.mask_positives)


def _interacted(training: TrainingData) -> Interacted:
    train = training.split.train
    user, item = training.events
    return Interacted(user, item, train.n_users, train.n_items)
