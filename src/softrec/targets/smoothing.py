"""Targets that are the same for every example: uniform and popularity."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

import torch
from torch import Tensor, nn

from softrec.renamed import current_value
from softrec.settings import Alpha, Temperature, setting
from softrec.targets.settings import (
    ALPHAS,
    FLATTER,
    HALF,
    TEMPERATURES,
    WEIGHT,
    HalfSettings,
    TargetSettings,
)
from softrec.training_data import TrainingData
from softrec.types import Batch, Rest, Target


class UniformTarget(Target, nn.Module):
    """The same probability for each of N items: label smoothing.

    Formula: s_i = 1/N. With weight a the model is fitted to (1 - a) e_y + a/N. The target is the
    same for every batch, so it is also its own source.

    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
    CVPR 2016.

    Example:
        >>> UniformTarget(4).prob_of(torch.tensor([2, 0]))
        tensor([0.2500, 0.2500])
    """

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.n_items = n_items

    def forward(self, batch: Batch) -> UniformTarget:
        """Return itself, because it is the target of every batch."""
        return self

    def prob_of(self, items: Tensor) -> Tensor:
        """Return 1/N for each item, (P,) or (P, M)."""
        return torch.full(items.shape, 1.0 / self.n_items, device=items.device)

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the mean row, (1, D)."""
        return vectors.mean(0, keepdim=True)

    def add_mean_gradient(self, rows: Tensor, out: Tensor) -> None:
        """Add the same gradient to all items."""
        out += rows.sum(0, keepdim=True) / self.n_items

    def within(self, items: Tensor, n_items: int) -> SharedTarget:
        """Return a target with 1/N for each of some items."""
        return SharedTarget(torch.full((len(items),), 1 / self.n_items, device=items.device))

    def part(self, items: slice, n_items: int) -> Target:
        """Return 1/N for each item of a range."""
        return _UniformPart(self.n_items)

    def without(self, place: Tensor) -> Rest:
        """Return the same target, from which 1/N is subtracted; (N - 1)/N remains."""
        prob = (place >= 0).float() / self.n_items
        left = (self.n_items - (place >= 0).float()) / self.n_items
        return Rest(self, prob, left)


class _UniformPart(UniformTarget):
    """1/N for each of a range of the items, whose number is that of the vectors."""

    def mean_item(self, vectors: Tensor) -> Tensor:
        return vectors.sum(0, keepdim=True) / self.n_items


class SharedTarget(Target):
    """One distribution for all rows, or a part of one, at some of the items.

    Args:
        probs: (N,) the probability of each item.
    """

    def __init__(self, probs: Tensor) -> None:
        self.probs = probs  # (N,)

    def prob_of(self, items: Tensor) -> Tensor:
        """Return the probability of each item, (P,) or (P, M)."""
        return self.probs[items]

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the mean row weighted by the probabilities, (1, D)."""
        return self.probs.to(vectors.dtype)[None] @ vectors

    def add_mean_gradient(self, rows: Tensor, out: Tensor) -> None:
        """Add the outer product of s and the sum of `rows`."""
        out.addr_(self.probs.to(out.dtype), rows.sum(0))

    def within(self, items: Tensor, n_items: int) -> SharedTarget:
        """Return a target with the probabilities of some items; their sum may be below 1."""
        return SharedTarget(self.probs[items])

    def part(self, items: slice, n_items: int) -> Target:
        """Return the probabilities of a range of the items."""
        return SharedTarget(self.probs[items])

    def without(self, place: Tensor) -> Rest:
        """Return s without one item per row.

        Any item except the most popular one has at most half of the probability, so that it can be
        subtracted accurately. Rows of the most popular item, which may have nearly all of it, get a
        sum over the others.
        """
        probs = self.probs
        top = probs.argmax(keepdim=True)
        largest, rest = probs[top], probs.index_fill(0, top, 0)
        prob = torch.where(place == top, 0, largest)
        surplus = torch.where((place < 0) | (place == top), 0, probs[place.clamp(min=0)])
        mass = rest.sum(dtype=torch.float64) + prob - surplus
        return Rest(_TopApart(rest, top, prob), surplus, mass.to(probs.dtype))


class PopularityTarget(SharedTarget, nn.Module):
    """One distribution over the items, the same for all examples; the soft part of POP+.

    Formula: s is given as an (N,) tensor that sums to 1; `popularity` computes it from counts. The
    target is the same for every batch, so it is also its own source.

    Source: Cheng et al., SIGIR 2021, eq. 6-7. There the target is (s + e_y)/2, so its alpha is
    twice the weight a used here.

    Example:
        >>> shared = PopularityTarget(torch.tensor([0.5, 0.3, 0.2]))
        >>> shared.mean_item(torch.eye(3))
        tensor([[0.5000, 0.3000, 0.2000]])
    """

    probs: Tensor

    def __init__(self, probs: Tensor) -> None:
        nn.Module.__init__(self)
        self.register_buffer("probs", probs, persistent=False)

    def forward(self, batch: Batch) -> PopularityTarget:
        """Return itself, because it is the target of every batch."""
        return self


@dataclass(frozen=True)
class _TopApart(Target):
    """Probabilities that are the same for all rows, except for one item."""

    probs: Tensor  # (N,), 0 at the item
    item: Tensor  # (1,) int64
    prob: Tensor  # (P,) of the item

    def prob_of(self, items: Tensor) -> Tensor:
        prob = self.prob if items.dim() == 1 else self.prob[:, None]
        return self.probs[items] + torch.where(items == self.item, prob, 0)

    def mean_item(self, vectors: Tensor) -> Tensor:
        both, weights = self._parts(vectors)
        return weights @ (both @ vectors)

    def add_mean_gradient(self, rows: Tensor, out: Tensor) -> None:
        both, weights = self._parts(out)
        out.addmm_(both.T, weights.T @ rows.to(out))

    def part(self, items: slice, n_items: int) -> Target:
        """Return the same of a range of the items, where the single item may be or not."""
        item = int(self.item)
        if not items.start <= item < items.stop:
            return SharedTarget(self.probs[items])
        return _TopApart(self.probs[items], self.item - items.start, self.prob)

    def _parts(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the common part and the single item, (2, N), and their weights for each row."""
        alone = torch.zeros_like(self.probs).index_fill(0, self.item, 1)
        weights = torch.stack([torch.ones_like(self.prob), self.prob], 1)
        return torch.stack([self.probs, alone]).to(like), weights.to(like)


Scale = Literal["log", "frequency", "count", "relative"]


def popularity(counts: Tensor, *, temperature: float = 1.0, scale: Scale = "log") -> Tensor:
    """Return the popularity distribution of POP+: softmax(d_pop / T), (N,).

    The paper does not define the scale of d_pop, and two of the three interpretations are
    degenerate on real data: with raw counts nearly all probability is on one item, with relative
    frequencies the result is nearly uniform.

    Args:
        counts: (N,) how often each item occurs in the training part.
        temperature: T > 0; larger is flatter.
        scale: "log" gives s_i proportional to max(count, 1)^(1/T), which at T = 1 is the popularity
            itself; an item without an event counts as if it had one, so that every item has some
            probability. "frequency" is the same, but an item without an event has probability 0:
            the POP+ baseline of DesoRec. "count" and "relative" are d_pop as raw counts and as
            relative frequencies.

    Example:
        >>> popularity(torch.tensor([50.0, 5.0, 10.0, 35.0]))
        tensor([0.5000, 0.0500, 0.1000, 0.3500])
    """
    if not 0 < temperature < inf:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    scale = current_value("target.pop+.scale", scale)
    exact = counts.double()
    if scale == "log":
        logits = exact.clamp(min=1).log()
    elif scale == "frequency":
        logits = exact.log()
    elif scale == "count":
        logits = exact
    elif scale == "relative":
        logits = exact / exact.sum()
    else:
        raise ValueError(f"scale must be log, frequency, count or relative, got {scale!r}")
    return (logits / temperature).softmax(0).float()


# --- in a recipe ---


class UniformSettings(TargetSettings, name="uniform"):
    """Label smoothing: the same probability for all items, with weight alpha."""

    alpha: Alpha = setting(0.1, WEIGHT, common=True, search=ALPHAS)

    @property
    def shared(self) -> bool:
        """Return True."""
        return True

    @property
    def in_parts(self) -> bool:
        """Return True."""
        return True

    def build(self, training: TrainingData) -> UniformTarget:
        """Return the uniform target over the catalogue."""
        return UniformTarget(training.n_items)


class PopularitySettings(HalfSettings, name="pop+"):
    """Popularity (SoftRec): the target is (popularity + label) / 2, with weight alpha."""

    alpha: Alpha = setting(0.4, HALF, common=True, search=ALPHAS)
    temperature: Temperature = setting(1.0, FLATTER, common=True, search=TEMPERATURES)
    scale: Scale = setting("log", "the scale of popularity, see docs/math.md", common=True)

    @property
    def shared(self) -> bool:
        """Return True."""
        return True

    @property
    def in_parts(self) -> bool:
        """Return True."""
        return True

    def build(self, training: TrainingData) -> PopularityTarget:
        """Return the popularity of the training part."""
        counts = training.item_counts
        return PopularityTarget(popularity(counts, temperature=self.temperature, scale=self.scale))
