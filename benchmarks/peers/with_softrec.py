"""SASRec and matrix factorisation of softrec."""

from __future__ import annotations

import logging
import tempfile
import warnings
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from softrec.candidates import RowDraws
from softrec.data.batches import TrainingBatches, Windows, examples
from softrec.data.interactions import Interactions
from softrec.interacted import Interacted
from softrec.losses.pairwise import bpr
from softrec.models.mf import MF
from softrec.models.sasrec import SASRec
from softrec.objective import Objective
from softrec.serving.recommender import Recommender
from softrec.training.loop import train
from softrec.training.optimizers import OptimizerName, mark_sparse
from softrec.types import Encoder

warnings.filterwarnings("ignore", message=".*does not have many workers.*")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class _Waiting:
    """Called after each epoch: ends its turn and waits for the next."""

    def __init__(self, turns: Any) -> None:
        self.turns = turns

    def resumed(self, epoch: int) -> None:
        raise AssertionError("nothing is resumed here")

    def epoch(self, curve: list[dict[str, float]]) -> None:
        self.turns.end()
        if self.turns.left:
            self.turns.begin()


class _Trained:
    """A model, and what it is trained with."""

    optimizer: OptimizerName = "adam"
    windows: Windows
    length: int
    encoder: Encoder
    objective: Objective

    def __init__(self, data: Any, sizes: dict[str, Any]) -> None:
        torch.set_num_threads(sizes["threads"])
        torch.manual_seed(0)
        self.data, self.sizes = data, sizes
        log = Interactions.together([data.events.select("user", "item")])[0]
        part = data.events["part"].to_numpy()
        self.before_test, self.training = log.where(part != "test"), log.where(part == "train")

    def train(self, turns: Any) -> None:
        """Train all epochs."""
        found = examples(self.training.sequences, self.windows, self.length)
        batches = TrainingBatches(found, self.sizes["batch"], self.training.n_items)
        epoch = count(1)  # the last epoch is kept, as the other libraries do
        turns.begin()
        with tempfile.TemporaryDirectory() as folder:
            train(
                self.encoder, self.objective, batches, lambda _: {"ndcg@10": float(next(epoch))},
                Path(folder),
                epochs=turns.left, patience=turns.left, lr=self.sizes["lr"],
                optimizer=self.optimizer, listener=_Waiting(turns),
            )  # fmt: skip

    def lists(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the test users and their top-k items."""
        people = self.data.test_users
        recommender = Recommender(self.encoder, self.before_test, length=self.length)
        found = recommender.recommend(users=pl.Series(people), k=k)
        return people, found["item"].to_numpy().reshape(len(people), k)


class Sequential(_Trained):
    """SASRec with its defaults, but for the common sizes."""

    windows: Windows = "positions"

    def __init__(self, data: Any, sizes: dict[str, Any]) -> None:
        super().__init__(data, sizes)
        self.length = sizes["length"]
        same = {name: sizes[name] for name in ("dim", "layers", "heads", "length", "dropout")}
        self.encoder = SASRec(self.training.n_items, embedding_dropout=sizes["dropout"], **same)
        self.objective = Objective()


class Factors(_Trained):
    """Matrix factorisation with BPR; Adam that updates the rows of a batch."""

    windows: Windows = "interactions"
    length = 1
    optimizer: OptimizerName = "sparse-adam"

    def __init__(self, data: Any, sizes: dict[str, Any]) -> None:
        super().__init__(data, sizes)
        log = self.training
        user, item = (
            torch.from_numpy(log.frame[name].to_numpy().astype(np.int64))
            for name in ("user", "item")
        )
        interacted = Interacted(user, item, log.n_users, log.n_items)
        negatives = RowDraws(log.n_items, 1, corrected=False, interacted=interacted)
        self.encoder = MF(log.n_items, n_users=log.n_users, dim=sizes["dim"])
        mark_sparse(self.encoder)
        self.objective = Objective(loss=bpr, candidates=negatives)


TASKS = {"sasrec": Sequential, "mf": Factors}
