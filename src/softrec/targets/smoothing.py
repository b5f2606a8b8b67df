"""Targets that are the same for every example: uniform and popularity."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

import torch
from torch import Tensor

from softrec.settings import Alpha, Temperature, setting
from softrec.targets.settings import HalfSettings, TargetSettings
from softrec.training_data import TrainingData
from softrec.types import Batch, Others


@dataclass(frozen=True)
class UniformTarget:
    """The same probability for each of N items; label smoothing spreads its mass this way.

    Formula: s_i = 1/N. With weight a the model is fitted to (1 - a) e_y + a/N.

    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
    CVPR 2016.

    Example:
        >>> UniformTarget(4).prob_of(torch.tensor([2, 0]))
        tensor([0.2500, 0.2500])
    """

    n_items: int

    def prob_of(self, items: Tensor) -> Tensor:
        """Return 1/N for each item, (P,) or (P, M)."""
        return torch.full(items.shape, 1.0 / self.n_items, device=items.device)

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the mean row, (1, D)."""
        return vectors.mean(0, keepdim=True)

    def spread(self, rows: Tensor, out: Tensor) -> None:
        """Add the same row to all items: the way back of `mean_item`."""
        out += rows.sum(0, keepdim=True) / self.n_items

    def within(self, items: Tensor) -> PopularityTarget:
        """Return 1/N for each of some items."""
        return PopularityTarget(torch.full((len(items),), 1 / self.n_items, device=items.device))

    def without(self, place: Tensor) -> Others:
        """Return the same; 1/N is taken off, and (N - 1)/N are left."""
        share = (place >= 0).float() / self.n_items
        left = (self.n_items - (place >= 0).float()) / self.n_items
        return Others(self, share, left)

    def __call__(self, batch: Batch) -> UniformTarget:
        """Return itself: the target of every batch."""
        return self


@dataclass(frozen=True)
class PopularityTarget:
    """One distribution over the items, shared by all examples; the soft part of POP+.

    Formula: s given as an (N,) tensor that sums to 1; see `popularity` for how counts make it.

    Source: Cheng et al., SIGIR 2021, eq. 6-7. There the target is (s + e_y)/2, so its alpha is
    twice the weight a used here.

    Example:
        >>> shared = PopularityTarget(torch.tensor([0.5, 0.3, 0.2]))
        >>> shared.mean_item(torch.eye(3))
        tensor([[0.5000, 0.3000, 0.2000]])
    """

    probs: Tensor

    def prob_of(self, items: Tensor) -> Tensor:
        """Return the share of each item, (P,) or (P, M)."""
        return self.probs.to(items.device)[items]

    def mean_item(self, vectors: Tensor) -> Tensor:
        """Return the mean row weighted by popularity, (1, D)."""
        return self.probs.to(vectors)[None] @ vectors

    def spread(self, rows: Tensor, out: Tensor) -> None:
        """Add a rank-one product: the way back of `mean_item`."""
        out.addr_(self.probs.to(out), rows.sum(0))

    def within(self, items: Tensor) -> PopularityTarget:
        """Return the shares of some items; their sum may be below 1."""
        return PopularityTarget(self.probs.to(items.device)[items])

    def without(self, place: Tensor) -> Others:
        """Return the same for all rows but those of the most popular item.

        Another item holds at most half of the whole and can be taken off; the most popular one may
        be nearly all, and is kept apart.
        """
        probs = self.probs.to(place.device)
        top = probs.argmax(keepdim=True)
        largest, rest = probs[top], probs.index_fill(0, top, 0)
        share = torch.where(place == top, 0, largest)
        surplus = torch.where((place < 0) | (place == top), 0, probs[place.clamp(min=0)])
        mass = rest.sum(dtype=torch.float64) + share - surplus
        return Others(_TopApart(rest, top, share), surplus, mass.to(probs))

    def __call__(self, batch: Batch) -> PopularityTarget:
        """Return itself: the target of every batch."""
        return self


@dataclass(frozen=True)
class _TopApart:
    """Shares that all rows have in common, but for one item."""

    probs: Tensor  # (N,), 0 at the item
    item: Tensor  # (1,) int64
    share: Tensor  # (P,) of the item

    def prob_of(self, items: Tensor) -> Tensor:
        share = self.share if items.dim() == 1 else self.share[:, None]
        return self.probs[items] + torch.where(items == self.item, share, 0)

    def mean_item(self, vectors: Tensor) -> Tensor:
        both, weights = self._parts(vectors)
        return weights @ (both @ vectors)

    def spread(self, rows: Tensor, out: Tensor) -> None:
        both, weights = self._parts(out)
        out.addmm_(both.T, weights.T @ rows.to(out))

    def _parts(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the common shares and the item alone, (2, N), and a row's weights of them."""
        alone = torch.zeros_like(self.probs).index_fill(0, self.item, 1)
        weights = torch.stack([torch.ones_like(self.share), self.share], 1)
        return torch.stack([self.probs, alone]).to(like), weights.to(like)


Scale = Literal["log", "share", "count", "relative"]


def popularity(counts: Tensor, *, temperature: float = 1.0, scale: Scale = "log") -> Tensor:
    """Return the popularity distribution of POP+: softmax(d_pop / T), (N,).

    The paper does not say on which scale d_pop counts, and two of the three readings are
    degenerate on real data: with raw counts all mass falls on one item, with relative
    frequencies the result is uniform.

    Args:
        counts: (N,) how often each item occurs in the training part.
        temperature: T > 0; larger is flatter.
        scale: "log" gives s_i proportional to max(count, 1)^(1/T), at T = 1 the popularity
            itself (an item never seen counts as seen once, so that every item has some mass);
            "share" is the same, but an item never seen gets nothing: the POP+ that DesoRec
            compares with; "count" and "relative" are the literal readings.

    Example:
        >>> popularity(torch.tensor([50.0, 5.0, 10.0, 35.0]))
        tensor([0.5000, 0.0500, 0.1000, 0.3500])
    """
    if not 0 < temperature < inf:
        raise ValueError(f"the temperature must be above 0, got {temperature}")
    exact = counts.double()
    if scale == "log":
        logits = exact.clamp(min=1).log()
    elif scale == "share":
        logits = exact.log()
    elif scale == "count":
        logits = exact
    elif scale == "relative":
        logits = exact / exact.sum()
    else:
        raise ValueError(f"scale must be log, share, count or relative, got {scale!r}")
    return (logits / temperature).softmax(0).float()


# --- in a recipe ---


class UniformSettings(TargetSettings, name="uniform"):
    """Label smoothing: alpha of the mass, spread evenly."""

    alpha: Alpha = setting(0.1, "weight of the soft target", common=True)

    @property
    def shared(self) -> bool:
        """Return True."""
        return True

    def build(self, training: TrainingData) -> UniformTarget:
        """Return the uniform target over the catalogue."""
        return UniformTarget(training.n_items)


class PopularitySettings(HalfSettings, name="pop+"):
    """Popularity (SoftRec): the target is (popularity + label) / 2 with weight alpha."""

    alpha: Alpha = setting(0.4, "weight of the soft target; half of it is the label", common=True)
    temperature: Temperature = setting(1.0, "larger is flatter", common=True)
    scale: Scale = setting("log", "on which popularity counts; see docs/math.md")

    @property
    def shared(self) -> bool:
        """Return True."""
        return True

    def build(self, training: TrainingData) -> PopularityTarget:
        """Return the popularity of the training part."""
        counts = training.item_counts
        return PopularityTarget(popularity(counts, temperature=self.temperature, scale=self.scale))
