"""BPR of RecBole."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy_names  # noqa: F401
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.general_recommender import BPR
from recbole.trainer import Trainer


class Factors:
    """Matrix factorisation with BPR, trained with its Adam."""

    def __init__(self, data: Any, sizes: dict[str, Any]) -> None:
        torch.set_num_threads(sizes["threads"])
        self.data = data
        with tempfile.TemporaryDirectory() as folder:
            self._write(Path(folder))
            config = Config(model="BPR", dataset="log", config_dict={
                "data_path": folder, "benchmark_filename": ["train", "valid", "test"],
                "load_col": {"inter": ["user_id", "item_id"]},
                "embedding_size": sizes["dim"], "train_batch_size": sizes["batch"],
                "learning_rate": sizes["lr"], "train_neg_sample_args": {
                    "distribution": "uniform", "sample_num": 1, "dynamic": False,
                    "candidate_num": 0},
                "eval_args": {"order": "RO", "split": {"LS": "valid_and_test"}, "mode": "full"},
                "use_gpu": False, "seed": 0, "show_progress": False, "worker": 0,
            })  # fmt: skip
            config["device"] = torch.device("cpu")
            self.batches, _, _ = data_preparation(config, create_dataset(config))
        self.events = self.batches.dataset
        self.model = BPR(config, self.events)
        self.trainer = Trainer(config, self.model)

    def _write(self, folder: Path) -> None:
        (folder / "log").mkdir()
        for part in ("train", "valid", "test"):
            events = self.data.events.filter(self.data.events["part"] == part)
            table = events.select("user", "item")
            table.columns = ["user_id:token", "item_id:token"]
            table.write_csv(folder / "log" / f"log.{part}.inter", separator="\t")

    def train(self, turns: Any) -> None:
        """Train all epochs."""
        for number in turns:
            self.trainer._train_epoch(self.batches, number)

    @torch.inference_mode()
    def lists(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the test users and their top-k items, without the items that they have seen."""
        self.model.eval()
        users = self.data.test_users
        rows = torch.as_tensor(self._numbers("user_id", users))
        columns = self._numbers("item_id", np.arange(self.data.n_items))
        table = self.model.item_embedding.weight[torch.as_tensor(columns)]
        seen = dict(self.data.before_test.group_by("user").agg("item").iter_rows())
        found = np.empty((len(users), k), np.int64)
        for start in range(0, len(users), 256):
            piece = slice(start, start + 256)
            scores = self.model.user_embedding(rows[piece]) @ table.T
            for row, user in enumerate(users[piece].tolist()):
                scores[row, seen[user]] = -torch.inf
            found[piece] = scores.topk(k).indices.numpy()
        return users, found

    def _numbers(self, field: str, ids: np.ndarray) -> np.ndarray:
        return self.events.token2id(field, [str(one) for one in ids.tolist()])


TASKS = {"mf": Factors}
