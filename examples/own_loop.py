"""A training loop of your own with softrec's loss: a GRU in plain PyTorch on two targets.

Run `python examples/own_loop.py`. The loss and the evaluation are of softrec, all else is yours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor, nn

import softrec
from softrec.adapters import CatalogueLoss

LOG = Path(__file__).with_name("shop.csv")


class Model(nn.Module):
    """A GRU over item vectors; row 0 of the table is padding."""

    def __init__(self, n_items: int, dim: int = 32) -> None:
        super().__init__()
        self.items = nn.Embedding(1 + n_items, dim, padding_idx=0)
        self.gru = nn.GRU(dim, dim, batch_first=True)

    def forward(self, rows: Tensor) -> Tensor:
        """Return the state after each item, (B, L, D)."""
        return self.gru(self.items(rows))[0]


def train(rows: Tensor, n_items: int, epochs: int, target: str, **settings: Any) -> Model:
    """Train on rows of item numbers from 1, padded at the end with 0."""
    torch.manual_seed(0)
    model, counts = Model(n_items), torch.bincount(rows.flatten(), minlength=1 + n_items)
    objective = CatalogueLoss(counts, target, padding=0, **settings)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(epochs):
        for batch in rows[torch.randperm(len(rows))].split(64):
            loss = objective(model(batch[:, :-1]), model.items.weight, batch[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


@torch.no_grad()
def best(model: Model, rows: Tensor, k: int = 50) -> Tensor:
    """Return the k best items after each row, (U, k), without those of the row."""
    states = model(rows)[torch.arange(len(rows)), (rows > 0).sum(1) - 1]
    scores = (states @ model.items.weight.T).scatter(1, rows, -torch.inf)
    scores[:, 0] = -torch.inf
    return scores.topk(k).indices


def main(out: str = "runs/own-loop", epochs: int = 15) -> softrec.Comparison:
    """Train without the last two items of each user, and rank before the last one."""
    log = softrec.Interactions.read(LOG)
    users = [user for user, length in enumerate(log.user_counts) if length > 2]
    lists = [1 + torch.tensor(log.sequences[user]) for user in users]
    rows = nn.utils.rnn.pad_sequence([items[:-2] for items in lists], batch_first=True)
    asked = nn.utils.rnn.pad_sequence([items[:-1] for items in lists], batch_first=True)
    tables = {}
    for target, settings in {"one-hot": {}, "pop+": {"alpha": 0.4}}.items():
        found = best(train(rows, log.n_items, epochs, target, **settings), asked) - 1
        items = [log.items.ids(row).to_list() for row in found.numpy()]
        tables[target] = pl.DataFrame({"user": log.users.ids(users), "items": items})
    return softrec.evaluate_lists(tables, LOG, out=out, metrics=["ndcg@10"], overwrite=True)


if __name__ == "__main__":
    print(main())  # noqa: T201
