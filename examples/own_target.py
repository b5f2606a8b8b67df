"""A soft target of your own: the items that most often precede or follow the label.

Run `python examples/own_target.py`. It is registered, checked, and compared with the label alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import softrec
from softrec.targets import SparseTarget
from softrec.testing import check_registered


class Neighbours(nn.Module):
    """Makes the target of a batch: k items for each label, and their probabilities."""

    items: Tensor
    probs: Tensor

    def __init__(self, items: Tensor, probs: Tensor) -> None:
        super().__init__()
        self.register_buffer("items", items, persistent=False)
        self.register_buffer("probs", probs, persistent=False)

    def forward(self, batch: Any) -> SparseTarget:
        """Return the target of each label of the batch."""
        return SparseTarget(self.items[batch.label], self.probs[batch.label])


@softrec.register("next-to")
def next_to(training: Any, *, alpha: float = 0.2, k: int = 10) -> Neighbours:
    """Count which items are next to each other in training; the weight of the target is alpha."""
    log, n_items = training.split.train.sequences, training.n_items
    counts = 1e-9 * np.eye(n_items)  # an item without neighbours is its own; a small catalogue
    same_user = np.diff(np.repeat(np.arange(len(log.lengths)), log.lengths)) == 0
    before, after = log.items[:-1][same_user], log.items[1:][same_user]
    np.add.at(counts, (before, after), 1)
    np.add.at(counts, (after, before), 1)
    probs, items = torch.from_numpy(counts).topk(k)
    return Neighbours(items, (probs / probs.sum(1, keepdim=True)).float())


def main(out: str = "runs/own-target", seeds: int = 2, **options: Any) -> softrec.Comparison:
    """Check the target, and compare it with the label alone."""
    check_registered("target", "next-to", k=5)
    small = {"data.shop": {"n_items": 200, "n_users": 600}, "model": "gru4rec", "epochs": 5}
    targets = "one-hot,next-to(alpha=0.2,k=10)"
    return softrec.compare("shop", out=out, targets=targets, seeds=seeds, **small | options)


if __name__ == "__main__":
    found = main(overwrite=True)
    difference = found.results.variants[1].difference_in("ndcg@10")
    print("difference in ndcg@10, 95 %:", difference.interval)  # noqa: T201
    print("report:", found.folder / "report.html")  # noqa: T201
