"""The scores of a model, and the similarities of its items, as rules read them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from softrec.errors import DataError
from softrec.retrieval import Seen, top_k, top_k_and_scores
from softrec.serving.ruled import Best
from softrec.serving.similar import Asked
from softrec.types import Model, Scores


class ScoreRanking:
    """The ranking of some users by the scores of a model.

    Args:
        scores: of B users.
        seen: the items to leave out of the list of each user.
    """

    def __init__(self, scores: Scores, seen: Seen | None) -> None:
        self.scores, self.seen = scores, seen

    def best(
        self, rows: slice, k: int, allowed: np.ndarray | None, also: np.ndarray
    ) -> tuple[Best, np.ndarray]:
        """Return the k best allowed items of some users, and the scores (b, p) of other items."""
        mask = None if allowed is None else torch.tensor(allowed, device=self.scores.like.device)
        if not len(also) and rows == slice(0, len(self.scores)):
            best = top_k(self.scores, k, self.seen, mask)
            own = best.scores[:, :0]
        else:
            items = torch.from_numpy(also).to(self.scores.like.device)
            best, own = top_k_and_scores(self.scores, k, items, rows, self.seen, mask)
        found = Best(best.items.cpu().numpy(), best.scores.float().cpu().numpy())
        return found, own.float().cpu().numpy()


def similarities_of(model: Model) -> Callable[[Tensor, Tensor], Scores]:
    """Return the function from items and weights to similarities; see `Model.similarities`.

    Raises:
        DataError: if the model does not compare items.
    """
    with torch.inference_mode():
        found = model.similarities()
    if found is None:
        raise DataError(
            f"{model.name} has neither item vectors nor a table of similar items; name the run of "
            "a trained model, such as sasrec, or of item-knn, rp3beta, markov or ease"
        )
    return found


@torch.inference_mode()
def similarity_ranking(
    similarities: Callable[[Tensor, Tensor], Scores], some: Asked, device: torch.device
) -> ScoreRanking:
    """Return the ranking of the items for each row; the items of the row itself are left out."""
    items = torch.tensor(some.items, device=device)
    scores = similarities(items, torch.tensor(some.weights, dtype=torch.float32, device=device))
    offsets = torch.arange(len(items) + 1, device=device) * items.shape[1]
    return ScoreRanking(scores, Seen(offsets, items.flatten()))
