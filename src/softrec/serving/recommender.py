"""The recommender of a trained model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch

from softrec.data.batches import padded_histories
from softrec.data.interactions import Interactions
from softrec.data.splits import rows_of
from softrec.retrieval import Seen, top_k
from softrec.serving.base import People, RecommenderBase, UnknownItemWarning
from softrec.serving.interests import attribution, weighted_interests
from softrec.types import Batch, Model, Products, Scores, device_of

__all__ = ["Recommender", "UnknownItemWarning"]


class Recommender(RecommenderBase):
    """Recommends items to users of a log and for given histories.

    Args:
        model: an encoder or a scorer. Whatever does not depend on users is computed once, when it
            is first needed.
        log: all known interactions, for the histories of its users and for the catalogue.
        length: how many of the last items of a history the model reads.
        mask_seen: leave out items of the history; each call can override this.
    """

    def __init__(
        self, model: Model, log: Interactions, *, length: int, mask_seen: bool = True
    ) -> None:
        self.model = model
        self.log = log
        self.length = length
        self.mask_seen = mask_seen
        self.name, self.reads = model.name, model.reads
        self.needs_times = model.needs_times
        model.eval()

    def _asked(self, some: People, device: torch.device) -> Batch:
        """Return the batch with one prediction per user."""
        stop = some.rows.offsets[1:]
        start = np.maximum(some.rows.offsets[:-1], stop - self.length)
        history, time = padded_histories(some.rows, start, stop, self.model.n_items)
        unasked = torch.zeros(len(some.rows), dtype=torch.int64)
        user = torch.tensor(some.numbers)
        return Batch(history, unasked, unasked, user, time=time).to(device)

    @cached_property
    def _score(self) -> Callable[[Batch], Scores]:
        """The function from a batch to its scores, computed once."""
        with torch.inference_mode():
            return self.model.scores()

    @torch.inference_mode()
    def _best(
        self, some: People, k: int, mask_seen: bool | None, why: bool
    ) -> dict[str, np.ndarray]:
        """Return item, score and, for `why`, interest and contribution, (b, k) each."""
        device = device_of(self.model)
        scores = self._score(self._asked(some, device))
        seen = _seen(some, device) if self._masks(mask_seen) else None
        best = top_k(scores, k, seen)
        found = {"item": best.items, "score": best.scores.float()}
        if why:
            interests, items = weighted_interests(scores, self.model.name)
            interest, contribution = attribution(interests, items, best.items)
            found["interest"] = interest
            if contribution is not None:
                found["contribution"] = contribution.float()
        return _arrays(found)

    @torch.inference_mode()
    def _behind(self, some: People, k: int, mask_seen: bool | None) -> dict[str, np.ndarray]:
        """Return the best items of each interest with scores, (b, K, k), and weights (b, K)."""
        device = device_of(self.model)
        scores = self._score(self._asked(some, device))
        (vectors, weights), items = weighted_interests(scores, self.model.name)
        shape = (*vectors.shape[:2], k)
        seen = _seen(some, device, times=vectors.shape[1]) if self._masks(mask_seen) else None
        best = top_k(Products(vectors.flatten(0, 1), items), k, seen)
        found = {"item": best.items.view(shape), "score": best.scores.float().view(shape)}
        if weights is not None:
            found["weight"] = weights.float()
        return _arrays(found)


def _arrays(found: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: part.cpu().numpy() for name, part in found.items()}


def _seen(some: People, device: torch.device, times: int = 1) -> Seen:
    """Return the items of the histories, each history `times` times."""
    rows = some.rows
    if times > 1:
        rows = rows_of(rows, np.repeat(np.arange(len(rows)), times))
    return Seen(torch.from_numpy(rows.offsets).to(device), torch.from_numpy(rows.items).to(device))
