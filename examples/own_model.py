"""A model of your own: a user is the average of their last items, where later ones count more.

Run `python examples/own_model.py`. It is registered, checked, and trained on two targets.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import softrec
from softrec.models.histories import HistoryEncoder, ItemTable, OutputLayer, aligned, asked
from softrec.testing import check_registered
from softrec.types import Batch, ItemVectors, Vectors


@softrec.register("average")
class Average(HistoryEncoder):
    """Item vectors averaged with weights decay^age, then one dense layer."""

    def __init__(self, n_items: int, *, dim: int = 32, decay: float = 0.8) -> None:
        super().__init__()
        self.n_items, self.decay = n_items, decay
        self.table = ItemTable(n_items, dim)
        self.dense = nn.Linear(dim, dim)
        self.output = OutputLayer(self.table, dim, tied=True, bias=True)

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        """Return the users at the places that the batch asks for, and all items."""
        histories = aligned(batch.history, self.n_items)  # padded at the right
        vectors = self.table(histories.items)  # (B, L, D)
        place = torch.arange(vectors.shape[1], device=vectors.device)
        age = place[:, None] - place
        weights = torch.where(age >= 0, self.decay ** age.clamp(min=0), 0.0)
        states = weights / weights.sum(1, keepdim=True) @ vectors  # after each item
        return Vectors(asked(self.dense(states), histories, batch), items or self.items())


def main(out: str = "runs/own-model", seeds: int = 2, **options: Any) -> softrec.Comparison:
    """Check the model, and compare two targets with it."""
    check_registered("model", "average")
    small = {"data.shop": {"n_items": 200, "n_users": 600}, "model": "average", "epochs": 5}
    targets = "one-hot,pop+(alpha=0.4)"
    return softrec.compare("shop", out=out, targets=targets, seeds=seeds, **small | options)


if __name__ == "__main__":
    found = main(overwrite=True)
    difference = found.results.variants[1].difference_in("ndcg@10")
    print("difference in ndcg@10, 95 %:", difference.interval)  # noqa: T201
    print("report:", found.folder / "report.html")  # noqa: T201
