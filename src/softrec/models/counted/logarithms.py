"""Logarithms of shares, added: what several counted models say of a history, multiplied."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from softrec.models.counted.sparse import TableScores
from softrec.types import Scores

FLOOR = 1e-5  # epsilon, as of a prior


class Logarithms(Scores):
    r"""Sums of logarithms of shares, each with a factor.

    $$score_j = b_j + \sum_k g_k \log(1 + q_{kj} / \epsilon), \qquad
      q_{kj} = \frac{c_{kj}}{\sum_i c_{ki}}$$

    with the scores c_k of counted models. Items without any number follow, popular ones first.

    Args:
        terms: the scores c_k, with g_k; all of the same rows.
        added: b (N,), the same for all rows.
    """

    def __init__(
        self, terms: Sequence[tuple[TableScores, float]], added: Tensor | None = None
    ) -> None:
        self.terms, self.added = terms, added
        self.first = terms[0][0]
        self.n_items, self.like, self.tables = self.first.n_items, self.first.like, len(terms)

    def __len__(self) -> int:
        return len(self.first)

    def fill(self, rows: slice, out: Tensor) -> Tensor:
        """Write the sums of some rows to `out` (b, N)."""
        for number, (scores, factor) in enumerate(self.terms):
            part = out if number == 0 else torch.empty_like(out)
            scores.fill(rows, part).clamp_(min=0)  # items without a score are below 0
            part /= part.sum(1, keepdim=True).clamp(min=torch.finfo(out.dtype).tiny)
            part.div_(FLOOR).log1p_().mul_(factor)
            if number:
                out += part
        if self.added is not None:
            out += self.added.to(out)
        return self.first.scorer.order_unscored(out)
