"""Do the label and the first recommended item belong to the same interest of a user?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from softrec.data.splits import Cases
from softrec.evaluation.listed import Listed
from softrec.retrieval import TopK
from softrec.types import ItemVectors, Products, Scores


def interest_divergence(interests: Tensor, wanted: Tensor, first: Tensor) -> Tensor:
    r"""Return the Jensen-Shannon divergence of the interests in two items, (P,) in nats.

    $$JS = \tfrac12 KL(p \| m) + \tfrac12 KL(q \| m) \qquad m = (p + q) / 2$$

    with p = softmax_k cos(v_k, wanted) and q = softmax_k cos(v_k, first). It is 0 if the two items
    are the same, and at most log 2.

    Args:
        interests: v (P, K, D).
        wanted: (P, D) vectors of the relevant items.
        first: (P, D) vectors of the items that are ranked first.

    Example:
        >>> interests = torch.eye(2)[None]
        >>> wanted, first = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])
        >>> interest_divergence(interests, wanted, first).round(decimals=3)
        tensor([0.1110])

    Source: Wang et al., "Target Interest Distillation for Multi-Interest Recommendation", CIKM
    2022, Fig. 2.
    """
    cosines = [
        torch.cosine_similarity(interests.double(), item.double()[:, None], dim=-1)
        for item in (wanted, first)
    ]
    log_p, log_q = (each.log_softmax(-1) for each in cosines)
    log_m = torch.logaddexp(log_p, log_q) - np.log(2)
    parts = [log.exp() * (log - log_m) for log in (log_p, log_q)]
    return (0.5 * (parts[0] + parts[1]).sum(-1)).clamp(min=0).to(interests.dtype)


def interest_distance(interests: Tensor) -> Tensor:
    """Return the mean squared distance between two interests of (P, K, D), (P,)."""
    n = interests.shape[1]
    squares = interests.square().sum(-1).sum(-1) * n - interests.sum(1).square().sum(-1)
    return 2 * squares.clamp(min=0) / max(1, n * (n - 1))


class ListedInterests(Listed):
    """Counts listed items and, for models with several interests, measures the interests.

    Args:
        k: as in `Listed`.
        n_items: as in `Listed`.
        cases: the test cases.
    """

    def __init__(self, k: int, n_items: int, cases: Cases) -> None:
        super().__init__(k, n_items)
        self.cases = cases
        self.divergence = np.zeros(len(cases))  # of each case, the mean over its relevant items
        self.distance = np.zeros(len(cases))
        self.known = False

    def add(self, best: TopK, rows: slice, scores: Scores) -> None:
        """Count, and measure the interests of some cases."""
        super().add(best, rows, scores)
        found = interests_of(scores)
        if found is None or found[0].shape[1] < 2:
            return
        self.known = True
        interests, items = found
        relevant = self.cases.relevant
        offsets = relevant.offsets[rows.start : rows.stop + 1]
        number = np.diff(offsets)
        row = torch.from_numpy(np.repeat(np.arange(len(number)), number)).to(interests.device)
        asked = torch.from_numpy(relevant.items[offsets[0] : offsets[-1]]).to(interests.device)
        each = interest_divergence(interests[row], items[asked], items[best.items[row, 0]])
        sums = np.bincount(row.cpu().numpy(), each.double().cpu().numpy(), len(number))
        self.divergence[rows] = sums / number
        self.distance[rows] = interest_distance(interests.double()).cpu().numpy()

    def measures(self) -> dict[str, float]:
        """Return the means over the cases; empty for models without several interests."""
        if not self.known:
            return {}
        return {
            "interest_divergence": float(self.divergence.mean()),
            "interest_distance": float(self.distance.mean()),
        }


def interests_of(scores: Scores) -> tuple[Tensor, Tensor] | None:
    """Return the interests (P, K, D) and the item vectors (N, D); None for other models.

    The extra number that distances add to each vector is left out, see `Scoring`.
    """
    if not isinstance(scores, Products):
        return None
    found = scores.users if scores.interests is None else scores.interests.vectors
    if found.dim() != 3:
        return None
    own = scores.items.carried
    width = own.vectors.shape[1] if isinstance(own, ItemVectors) else found.shape[-1]
    return found[..., :width], scores.items.vectors[:, :width]
