"""SASRec of RePlay. Its batches are cut here from arrays, not by its reader of Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lightning
import numpy as np
import torch
from replay.data import FeatureHint, FeatureType
from replay.data.nn import TensorFeatureInfo, TensorSchema
from replay.nn.lightning import LightningModule
from replay.nn.lightning.optimizer import OptimizerFactory
from replay.nn.sequential.sasrec import SasRec
from torch.utils.data import DataLoader, TensorDataset
from waiting import waiting


class Sequential:
    """SASRec with its defaults, but for the common sizes."""

    def __init__(self, data: Any, sizes: dict[str, Any]) -> None:
        torch.set_num_threads(sizes["threads"])
        torch.manual_seed(0)
        self.data, self.sizes, self.padding = data, sizes, data.n_items
        item = TensorFeatureInfo(
            "item_id", FeatureType.CATEGORICAL, is_seq=True, feature_hint=FeatureHint.ITEM_ID,
            cardinality=data.n_items, padding_value=data.n_items, embedding_dim=sizes["dim"],
        )  # fmt: skip
        model = SasRec.from_params(
            TensorSchema(item), embedding_dim=sizes["dim"], num_heads=sizes["heads"],
            num_blocks=sizes["layers"], max_sequence_length=sizes["length"],
            dropout=sizes["dropout"],
        )  # fmt: skip
        if "target" in sizes:
            from softrec.adapters.replay import train_on

            counts = np.bincount(data.train["item"].to_numpy(), minlength=data.n_items)
            model = train_on(model, counts, sizes["target"], **sizes["settings"])
        self.module = LightningModule(model, OptimizerFactory(learning_rate=sizes["lr"]))

    def windows(self, part: Any, length: int) -> tuple[np.ndarray, torch.Tensor]:
        """Return the users and their last items, padded on the left, (U, length)."""
        table = part.group_by("user", maintain_order=True).agg("item")
        found = np.full((len(table), length), self.padding)
        for row, items in enumerate(table["item"]):
            last = items.to_numpy()[-length:]
            found[row, length - len(last) :] = last
        return table["user"].to_numpy(), torch.from_numpy(found)

    def batch(self, rows: torch.Tensor) -> dict[str, Any]:
        """Return a batch of histories, in the form that the model reads."""
        return {"feature_tensors": {"item_id": rows}, "padding_mask": rows != self.padding}

    def labelled(self, found: list[tuple[torch.Tensor]]) -> dict[str, Any]:
        """Return a batch in which each item but the first is a label."""
        rows = torch.stack([one for (one,) in found])
        labels = rows[:, 1:, None]
        mask = labels != self.padding
        return {
            **self.batch(rows[:, :-1]), "positive_labels": labels, "negative_labels": None,
            "target_padding_mask": mask,
        }  # fmt: skip

    def train(self, turns: Any) -> None:
        """Train all epochs."""
        _, rows = self.windows(self.data.train, self.sizes["length"] + 1)
        batches = DataLoader(
            TensorDataset(rows), self.sizes["batch"], shuffle=True, collate_fn=self.labelled
        )
        trainer = lightning.Trainer(
            max_epochs=turns.left, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
            callbacks=[waiting(lightning.Callback, turns)],
        )  # fmt: skip
        trainer.fit(self.module, batches)

    @torch.inference_mode()
    def lists(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the test users and their top-k items, without the items that they have seen."""
        users, rows = self.windows(self.data.before_test, self.sizes["length"])
        seen = dict(self.data.before_test.group_by("user").agg("item").iter_rows())
        model = self.module.model.eval()
        found: list[torch.Tensor] = []
        for some, names in self._pieces(rows, users):
            scores = model(**self.batch(some))["logits"]
            for row, user in enumerate(names):
                scores[row, seen[user]] = -torch.inf
            found.append(scores[:, : self.data.n_items].topk(k).indices)
        return users, torch.cat(found).numpy()

    def _pieces(self, rows: torch.Tensor, users: np.ndarray) -> Iterator[Any]:
        for start in range(0, len(rows), self.sizes["batch"]):
            piece = slice(start, start + self.sizes["batch"])
            yield rows[piece], users[piece].tolist()


TASKS = {"sasrec": Sequential}
