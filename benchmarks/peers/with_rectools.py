"""SASRec of RecTools."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
from waiting import waiting


def dataset(part: Any) -> Dataset:
    """Return a part of the log; the place of an event is its time."""
    table = {Columns.User: part["user"], Columns.Item: part["item"], Columns.Weight: 1.0,
             Columns.Datetime: pd.to_datetime(np.arange(len(part)), unit="s")}  # fmt: skip
    return Dataset.construct(pd.DataFrame(table))


def on_soft_targets(sizes: dict[str, Any]) -> dict[str, Any]:
    """Return what is changed to train with softrec's loss."""
    from softrec.adapters.rectools import SoftTargets

    return {
        "lightning_module_type": SoftTargets,
        "lightning_module_kwargs": {"target": sizes["target"], "settings": sizes["settings"]},
    }


class Sequential:
    """SASRec with its defaults, but for the common sizes."""

    def __init__(self, data: Any, sizes: dict[str, Any]) -> None:
        torch.set_num_threads(sizes["threads"])
        torch.manual_seed(0)
        self.data, self.sizes = data, sizes
        self.events = dataset(data.train)

    def train(self, turns: Any) -> None:
        """Train all epochs."""
        sizes = self.sizes

        def trainer() -> Trainer:
            return Trainer(
                max_epochs=sizes["epochs"], min_epochs=sizes["epochs"], accelerator="cpu",
                logger=False, enable_checkpointing=False, enable_progress_bar=False,
                enable_model_summary=False, callbacks=[waiting(Callback, turns)],
            )  # fmt: skip

        changed = {} if "target" not in sizes else on_soft_targets(sizes)
        self.model = SASRecModel(
            n_blocks=sizes["layers"], n_heads=sizes["heads"], n_factors=sizes["dim"],
            session_max_len=sizes["length"], dropout_rate=sizes["dropout"], loss="softmax",
            lr=sizes["lr"], batch_size=sizes["batch"], epochs=sizes["epochs"],
            get_trainer_func=trainer, recommend_n_threads=sizes["threads"], **changed,
        )  # fmt: skip
        self.model.fit(self.events)

    def lists(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the test users and their top-k items."""
        known = np.isin(
            self.data.before_test["item"].to_numpy(), self.data.train["item"].to_numpy()
        )
        users = self.data.test_users
        found = self.model.recommend(
            users, dataset(self.data.before_test.filter(known)), k, filter_viewed=True
        )
        items = np.full((len(users), k), -1)
        place = np.searchsorted(users, found[Columns.User])
        items[place, found[Columns.Rank] - 1] = found[Columns.Item]
        return users, items


TASKS = {"sasrec": Sequential}
