"""A soft target of one's own: the items that follow or precede the label in the training part.

Run it with `python examples/own_target.py`; it takes some seconds. A target needs no entry in any
table of softrec to be used from Python: `Objective.towards` takes any source.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from softrec import Objective
from softrec.data.batches import TrainingBatches, examples
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases, leave_last_out
from softrec.evaluation.protocol import score_cases
from softrec.models.gru4rec import GRU4Rec
from softrec.simulation import make_shop, simulate
from softrec.targets.sparse import SparseTarget
from softrec.testing import check_target
from softrec.training.loop import train
from softrec.types import Batch, Encoder

LENGTH = 12  # longest history
METRIC = "ndcg@10"


# --- the target: ten lines ---


@dataclass(frozen=True)
class CoOccurrence:
    """Makes the target of a batch: the neighbours of each label, with their shares."""

    items: Tensor  # (N, k) int64
    shares: Tensor  # (N, k), each row sums to 1

    def __call__(self, batch: Batch) -> SparseTarget:
        """Return the neighbours of the labels of `batch`."""
        label = batch.label.to(self.items.device)
        chosen = self.items[label], self.shares[label]
        return SparseTarget(*(part.to(batch.label.device) for part in chosen))


# --- fitted once, on the training part ---


def co_occurrence(sequences: Sequences, n_items: int, k: int = 10) -> CoOccurrence:
    """Count which items stand next to each other, and keep the k most frequent neighbours of each.

    An item without neighbours gets itself: its target is then the label alone.
    """
    before, after = sequences.items[:-1], sequences.items[1:]
    inside = np.ones(len(before), dtype=bool)
    ends = sequences.offsets[1:-1] - 1  # a pair across two users is no pair
    inside[ends[(ends >= 0) & (ends < len(before))]] = False
    one, other = before[inside], after[inside]
    pairs = np.concatenate([one * n_items + other, other * n_items + one])
    pair, count = np.unique(pairs, return_counts=True)
    item, neighbour = np.divmod(pair, n_items)
    order = np.lexsort((-count, item))  # by item, the most frequent neighbour first
    order = order[(item != neighbour)[order]]
    item, neighbour, count = item[order], neighbour[order], count[order]
    place = np.arange(len(item)) - np.searchsorted(item, item)
    kept = place < k
    items = np.repeat(np.arange(n_items)[:, None], k, axis=1)
    shares = np.zeros((n_items, k), dtype=np.float32)
    items[item[kept], place[kept]] = neighbour[kept]
    shares[item[kept], place[kept]] = count[kept]
    shares[shares.sum(1) == 0, 0] = 1
    shares /= shares.sum(1, keepdims=True)
    return CoOccurrence(torch.from_numpy(items), torch.from_numpy(shares))


# --- the check, and a training with it ---


def main(n_items: int = 200, n_users: int = 600, epochs: int = 5) -> dict[str, float]:
    """Check the target, train a small model with and without it, and return NDCG@10 on test."""
    log = simulate(make_shop(n_items=n_items), n_users=n_users)
    split = leave_last_out(log, cold="keep")
    source = co_occurrence(split.train.sequences, n_items)

    label = torch.arange(8)
    check_target(source(Batch(label[:, None], label, label, label)), n_items, rows=len(label))

    data = examples(split.train.sequences, "positions", LENGTH)
    found = {}
    for name, objective in (("one-hot", Objective()), ("own", Objective.towards(source, 0.2))):
        torch.manual_seed(0)
        encoder = GRU4Rec(n_items, dim=32)
        with tempfile.TemporaryDirectory() as folder:
            train(
                encoder,
                objective,
                TrainingBatches(data, 64, n_items),
                lambda model: {METRIC: _mean(model, split.cases("valid"))},
                Path(folder),
                epochs=epochs,
            )
        found[name] = _mean(encoder, split.cases("test"))
    return found


def _mean(encoder: Encoder, cases: Cases) -> float:
    table = score_cases(encoder, cases, [METRIC], length=LENGTH)
    return float(np.mean(table[METRIC].to_numpy()))


if __name__ == "__main__":
    for name, value in main().items():
        print(f"{METRIC} on test, {name}: {value:.4f}")  # noqa: T201
