"""The recommender of a trained model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch

from softrec.data.batches import padded_histories
from softrec.data.cases import rows_of
from softrec.data.interactions import Interactions
from softrec.retrieval import Seen, top_k
from softrec.serving.base import People, RecommenderBase, UnknownItemWarning
from softrec.serving.catalogue import Catalogue
from softrec.serving.interests import attribution, weighted_interests
from softrec.serving.ranking import ScoreRanking, similarities_of, similarity_ranking
from softrec.serving.ruled import ruled
from softrec.serving.rules import Rules
from softrec.serving.similar import Asked
from softrec.types import Batch, Model, Products, Scores, device_of, products_of

__all__ = ["Recommender", "UnknownItemWarning"]


class Recommender(RecommenderBase):
    """Recommends items to users of a log and for given histories.

    Args:
        model: an encoder or a scorer. Whatever does not depend on users is computed once, when it
            is first needed.
        log: all known interactions, for the histories of its users and for the catalogue.
        length: how many of the last items of a history the model reads.
        mask_seen: leave out items of the history; each call can override this.
        catalogue: the table of the items, for titles and for rules on its columns.
    """

    def __init__(
        self,
        model: Model,
        log: Interactions,
        *,
        length: int,
        mask_seen: bool = True,
        catalogue: Catalogue | None = None,
    ) -> None:
        self.model = model
        self.log = log
        self.table = catalogue
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

    def batch_of(self, some: People) -> Batch:
        """Return what the model reads of some users."""
        return self._asked(some, device_of(self.model))

    def scores_of(self, some: People) -> Scores:
        """Return the scores of all items for some users."""
        return self._score(self.batch_of(some))

    @cached_property
    def _score(self) -> Callable[[Batch], Scores]:
        """The function from a batch to its scores, computed once."""
        with torch.inference_mode():
            return self.model.scores()

    @cached_property
    def _similarities(self) -> Callable[[torch.Tensor, torch.Tensor], Scores]:
        """The function from items and weights to similarities, computed once."""
        return similarities_of(self.model)

    def _similar(self, some: Asked) -> ScoreRanking:
        """Return the ranking of the items by their similarity to each row."""
        return similarity_ranking(self._similarities, some, device_of(self.model))

    @torch.inference_mode()
    def _best(
        self,
        some: People,
        k: int,
        mask_seen: bool | None,
        why: bool,
        rules: Rules,
        vectors: bool = False,
    ) -> dict[str, np.ndarray]:
        """Return item, score and, for `why`, interest and contribution, (b, k) each."""
        device = device_of(self.model)
        scores = self._score(self._asked(some, device))
        seen = _seen(some, device) if self._masks(mask_seen) else None
        best = ruled(ScoreRanking(scores, seen), len(some.names), k, rules, self.items)
        found = {"item": best.items, "score": best.scores}
        if why:
            interests, items = weighted_interests(scores, self.model.name)
            chosen = torch.from_numpy(best.items).to(device)
            interest, contribution = attribution(interests, items, chosen)
            found["interest"] = interest.cpu().numpy()
            if contribution is not None:
                found["contribution"] = contribution.float().cpu().numpy()
        products = products_of(scores) if vectors else None
        if products is not None:
            found["vector"] = products.users.float().cpu().numpy()
        return found

    @torch.inference_mode()
    def item_vectors(self) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Return the vectors (N, D) and the bias (N,) of the items; None if there are none."""
        some = self.of_numbers(np.arange(min(1, self.log.n_users)))
        products = products_of(self.scores_of(some))
        if products is None:
            return None
        bias = products.items.bias
        own = None if bias is None else bias.float().cpu().numpy()
        return products.items.vectors.float().cpu().numpy(), own

    def weights_facts(self) -> dict[str, Any]:
        """Return a hash of the weights."""
        digest = hashlib.sha256()
        for name, part in self.model.state_dict().items():
            digest.update(f"{name} {part.dtype} {tuple(part.shape)}".encode())
            digest.update(part.detach().contiguous().cpu().view(-1).view(torch.uint8).numpy())
        return {"weights": digest.hexdigest()[:24], "length": self.length}

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
    items = torch.from_numpy(rows.items.astype(np.int64, copy=False))
    return Seen(torch.from_numpy(rows.offsets).to(device), items.to(device))
