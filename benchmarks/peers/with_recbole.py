"""BPR and SASRec of RecBole."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy_names  # noqa: F401
import polars as pl
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import BPR
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed


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


class Sequential:
    """SASRec; each of the last events of a user is an example with a history of its own."""

    def __init__(self, data: Any, sizes: dict[str, Any]) -> None:
        torch.set_num_threads(sizes["threads"])
        self.data, self.length = data, sizes["length"]
        with tempfile.TemporaryDirectory() as folder:
            self._write(Path(folder))
            config = Config(model="SASRec", dataset="log", config_dict={
                "data_path": folder, "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
                "MAX_ITEM_LIST_LENGTH": self.length, "hidden_size": sizes["dim"],
                "inner_size": 4 * sizes["dim"], "n_layers": sizes["layers"],
                "n_heads": sizes["heads"], "hidden_dropout_prob": sizes["dropout"],
                "attn_dropout_prob": sizes["dropout"], "loss_type": "CE",
                "train_neg_sample_args": None, "train_batch_size": sizes["batch"],
                "learning_rate": sizes["lr"], "use_gpu": False, "show_progress": False,
                "worker": 0, "eval_args": {
                    "order": "TO", "split": {"LS": "valid_and_test"}, "mode": "full"},
            })  # fmt: skip
            config["device"] = torch.device("cpu")
            self.batches, _, _ = data_preparation(config, create_dataset(config))
        self.events = self.batches.dataset
        init_seed(0, True)
        model = SASRec(config, self.events)
        if "target" in sizes:
            from softrec.adapters.recbole import train_on

            model = train_on(model, self.batches, sizes["target"], **sizes["settings"])
        self.model, self.trainer = model, Trainer(config, model)

    def _write(self, folder: Path) -> None:
        (folder / "log").mkdir()
        last = self.data.events.select("user", "item").with_row_index("time")
        last = last.group_by("user", maintain_order=True).tail(
            self.length + 3
        )  # a first event, validation and test
        last = last.select("user", "item", pl.col("time").cast(pl.Float64))
        last.columns = ["user_id:token", "item_id:token", "timestamp:float"]
        last.write_csv(folder / "log" / "log.inter", separator="\t")

    def train(self, turns: Any) -> None:
        """Train all epochs."""
        for number in turns:
            self.trainer._train_epoch(self.batches, number)

    @torch.inference_mode()
    def lists(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the test users and their top-k items, without the items that they have seen."""
        self.model.eval()
        numbers = np.zeros(self.data.n_items, np.int64)  # 0: no event in what was read
        known = self.events.field2token_id["item_id"]
        for item in range(self.data.n_items):
            numbers[item] = known.get(str(item), 0)
        seen = dict(self.data.before_test.group_by("user", maintain_order=True).agg("item").rows())
        users = self.data.test_users
        found = np.empty((len(users), k), np.int64)
        for start in range(0, len(users), 256):
            some = users[start : start + 256].tolist()
            rows = torch.zeros(len(some), self.length, dtype=torch.int64)
            lengths = torch.zeros(len(some), dtype=torch.int64)
            for row, user in enumerate(some):
                last = numbers[seen[user][-self.length :]]
                last = last[last > 0]
                rows[row, : len(last)], lengths[row] = torch.from_numpy(last), len(last)
            batch = Interaction({"item_id_list": rows, "item_length": lengths})
            scores = self.model.full_sort_predict(batch)[:, numbers]
            scores[:, numbers == 0] = -torch.inf
            for row, user in enumerate(some):
                scores[row, seen[user]] = -torch.inf
            found[start : start + 256] = scores.topk(k).indices.numpy()
        return users, found


TASKS = {"mf": Factors, "sasrec": Sequential}
