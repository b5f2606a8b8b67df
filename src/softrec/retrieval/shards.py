"""Rankings over a catalogue in shards: each process scores its own items for the same users."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from softrec.parallel import Catalogue
from softrec.retrieval.results import Seen, TopK
from softrec.retrieval.whole import rank_and_top_k, rank_of, score_blocks, top_k
from softrec.types import Scores


@torch.no_grad()
def top_k_of_shards(scores: Scores, k: int, catalogue: Catalogue, seen: Seen | None = None) -> TopK:
    """Return the k best of all items in each process, as `top_k` of the whole catalogue does.

    Each process sends its k best: 2 P k numbers. Equal ones lie there in the order of the items.

    Args:
        scores: of P rows over the items of this process.
        k: how many, at most N.
        catalogue: the shards.
        seen: the items to leave out of each row, of the whole catalogue.

    Raises:
        ValueError: if the catalogue has fewer than k items.
    """
    if not 1 <= k <= catalogue.n_items:
        raise ValueError(
            f"k must be between 1 and the {catalogue.n_items} items of the catalogue, got {k}"
        )
    most = min(k, scores.n_items)
    own = top_k(scores, most, _own(seen, catalogue))
    values = catalogue.everyone(F.pad(own.scores, (0, k - most), value=-torch.inf))
    items = catalogue.everyone(F.pad(own.items + catalogue.start, (0, k - most)))
    best, place = torch.cat(values, 1).sort(dim=1, descending=True, stable=True)
    return TopK(best[:, :k], torch.cat(items, 1).gather(1, place[:, :k]))


@torch.no_grad()
def rank_of_shards(
    scores: Scores, label: Tensor, catalogue: Catalogue, seen: Seen | None = None
) -> Tensor:
    """Return the rank of one item a row among all items in each process, (P,), as `rank_of` does.

    The score of the label comes from its owner and is compared with those of the other items, which
    are counted: 2 P numbers are sent. The scores are computed twice.

    Args:
        scores: of P rows over the items of this process.
        label: (P,) int64 among all items.
        catalogue: the shards.
        seen: the items to leave out of each row, of the whole catalogue.
    """
    place, own = catalogue.place(label), _own(seen, catalogue)
    mark = scores.like.new_zeros(len(label))
    for rows, block in score_blocks(scores, own):
        here = place[rows]
        found = block.gather(1, here.clamp(min=0)[:, None])[:, 0]
        mark[rows] = found.masked_fill(here < 0, 0)
    catalogue.summed(mark)
    count = torch.zeros_like(label)
    exact = torch.float64 if len(catalogue) >= 2**24 else torch.float32
    for rows, block in score_blocks(scores, own):
        count[rows] = block.ge_(mark[rows, None]).sum(1, dtype=exact).long()
    return catalogue.summed(count).masked_fill(mark.isnan(), catalogue.n_items)


class Rankings:
    """Ranks of labels and the best items, of the whole catalogue or of the shards of one.

    Args:
        catalogue: the shards; None if the scores are of all items.
    """

    def __init__(self, catalogue: Catalogue | None = None) -> None:
        self.catalogue = catalogue

    def rank_of(self, scores: Scores, label: Tensor, seen: Seen | None = None) -> Tensor:
        """Return the rank of one item a row among all items, (P,)."""
        if self.catalogue is None:
            return rank_of(scores, label, seen)
        return rank_of_shards(scores, label, self.catalogue, seen)

    def top_k(self, scores: Scores, k: int, seen: Seen | None = None) -> TopK:
        """Return the k best of all items."""
        if self.catalogue is None:
            return top_k(scores, k, seen)
        return top_k_of_shards(scores, k, self.catalogue, seen)

    def both(
        self, scores: Scores, label: Tensor, k: int, seen: Seen | None = None
    ) -> tuple[Tensor, TopK]:
        """Return the results of `rank_of` and `top_k`."""
        if self.catalogue is None:
            return rank_and_top_k(scores, label, k, seen)
        return self.rank_of(scores, label, seen), self.top_k(scores, k, seen)


def _own(seen: Seen | None, catalogue: Catalogue) -> Seen | None:
    """Return the seen items that this process has, numbered among its own."""
    if seen is None:
        return None
    place = catalogue.place(seen.items)
    before = F.pad((place >= 0).long().cumsum(0), (1, 0))
    return Seen(before[seen.offsets], place[place >= 0])
