"""Do the label and the first recommended item belong to the same interest of a user?"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from softrec.data.splits import Cases
from softrec.evaluation.listed import Listed
from softrec.evaluation.protocol import seen_of
from softrec.parallel import everyone, summed_array
from softrec.retrieval import TopK, top_k
from softrec.types import ItemVectors, Products, Scores, products_of

MEASURES = (
    "interest_divergence", "interest_distance", "interest_agreement", "interest_accuracy",
    "interest_agreement_best_match",
)  # fmt: skip


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


def target_interest(interests: Tensor, item: Tensor) -> Tensor:
    """Return the interest that an item belongs to, the one of the highest cosine, (P,) int64.

    It is the target interest of TiMiRec's teacher if the item is the label. Of equal ones the first
    counts.

    Args:
        interests: (P, K, D).
        item: (P, D) vectors.

    Example:
        >>> target_interest(torch.eye(2)[None], torch.tensor([[0.1, 3.0]]))
        tensor([1])
    """
    return torch.cosine_similarity(interests.double(), item.double()[:, None], dim=-1).argmax(-1)


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
        mask_seen: whether seen items are left out of the lists.
    """

    def __init__(self, k: int, n_items: int, cases: Cases, mask_seen: bool = True) -> None:
        super().__init__(k, n_items)
        self.cases, self.mask_seen = cases, mask_seen
        self.found: dict[str, np.ndarray] = {}  # by measure, a value for each case

    def add(self, best: TopK, rows: slice, scores: Scores) -> None:
        """Count, and measure the interests of some cases."""
        super().add(best, rows, scores)
        found = interests_of(scores)
        if found is None or found[0].shape[1] < 2:
            return
        interests, items = found
        relevant = self.cases.relevant
        offsets = relevant.offsets[rows.start : rows.stop + 1]
        number = np.diff(offsets)
        row = torch.from_numpy(np.repeat(np.arange(len(number)), number)).to(interests.device)
        asked = torch.from_numpy(relevant.items[offsets[0] : offsets[-1]]).to(interests.device)
        first = best.items[row, 0]
        wanted = target_interest(interests[row], items[asked])
        self._keep("interest_distance", rows, interest_distance(interests.double()))
        for name, each in {
            "interest_divergence": interest_divergence(interests[row], items[asked], items[first]),
            "interest_agreement": wanted == target_interest(interests[row], items[first]),
            **self._predicted(scores, rows, row, wanted, items),
        }.items():
            sums = np.bincount(row.cpu().numpy(), each.double().cpu().numpy(), len(number))
            self._keep(name, rows, torch.from_numpy(sums / number))

    def _predicted(
        self, scores: Scores, rows: slice, row: Tensor, wanted: Tensor, items: Tensor
    ) -> dict[str, Tensor]:
        """Return the measures of predicted interests, for each relevant item; {} without them."""
        products = products_of(scores)
        if products is None or products.interests is None:
            return {}
        vectors, logits = products.interests
        seen = seen_of(self.cases, rows, vectors.device) if self.mask_seen else None
        matched = top_k(Products(vectors, products.items), 1, seen).items[:, 0]
        interests = vectors[..., : items.shape[1]]
        return {
            "interest_accuracy": wanted == logits.argmax(-1)[row],
            "interest_agreement_best_match": (
                wanted == target_interest(interests[row], items[matched[row]])
            ),
        }

    def _keep(self, name: str, rows: slice, values: Tensor) -> None:
        self.found.setdefault(name, np.zeros(len(self.cases)))[rows] = values.cpu().numpy()

    def add_others(self) -> None:
        """Add counts and measures of the other processes."""
        super().add_others()
        measured = {name for names in everyone(sorted(self.found)) for name in names}
        nothing = np.zeros(len(self.cases))
        self.found = {
            name: summed_array(self.found.get(name, nothing)) for name in sorted(measured)
        }

    def measures(self) -> dict[str, float]:
        """Return the means over the cases; empty for models without several interests."""
        return {name: float(self.found[name].mean()) for name in MEASURES if name in self.found}


def interests_of(scores: Scores) -> tuple[Tensor, Tensor] | None:
    """Return the interests (P, K, D) and the item vectors (N, D); None for other models.

    The extra number that distances add to each vector is left out, see `Scoring`.
    """
    products = products_of(scores)
    if products is None:
        return None
    found = products.users if products.interests is None else products.interests.vectors
    if found.dim() != 3:
        return None
    own = products.items.carried
    width = own.vectors.shape[1] if isinstance(own, ItemVectors) else found.shape[-1]
    return found[..., :width], products.items.vectors[:, :width]
