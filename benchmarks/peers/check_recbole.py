# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""Run by the Python of RecBole's environment: `python check_recbole.py FOLDER`."""

import sys
from pathlib import Path

import numpy as np
import numpy_names  # noqa: F401
import polars as pl
import torch
from checks import same, whole
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import CORE, GRU4Rec, SASRec
from recbole.trainer import Trainer

from softrec.adapters import write_atomic
from softrec.adapters.recbole import train_on
from softrec.errors import SoftrecError


def prepared(folder, model):
    """Return the configuration and the training part of a small log."""
    (folder / "log").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    log = pl.DataFrame({"user": np.repeat(range(40), 8), "item": rng.zipf(1.5, 320) % 30,
                        "time": np.arange(320)})  # fmt: skip
    write_atomic(log, folder / "log" / "log.inter")
    config = Config(model=model, dataset="log", config_dict={
        "data_path": str(folder), "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 6, "hidden_size": 16, "embedding_size": 16, "inner_size": 16,
        "n_layers": 1, "n_heads": 2, "loss_type": "CE", "train_neg_sample_args": None,
        "train_batch_size": 64, "use_gpu": False, "show_progress": False, "worker": 0,
        "eval_args": {"order": "TO", "split": {"LS": "valid_and_test"}, "mode": "full"},
    })  # fmt: skip
    config["device"] = torch.device("cpu")
    dataset = create_dataset(config)
    assert (dataset.user_num, dataset.item_num) == (1 + 40, 1 + log["item"].n_unique())
    return config, data_preparation(config, dataset)[0]


def refused(work):
    """Check that something is refused."""
    try:
        work()
    except SoftrecError as error:
        print(error)
    else:
        raise AssertionError("that cannot work")


def check(folder, kind):
    """Compare the losses of a model, and train it."""
    config, train = prepared(folder, kind.__name__)
    model = kind(config, train.dataset).eval()
    batch = next(iter(train))
    own = model.calculate_loss
    hard = train_on(model, train).calculate_loss
    same(model, lambda: own(batch), lambda: hard(batch))

    model.calculate_loss = own
    pop = train_on(model, train, "pop+", alpha=0.5).calculate_loss
    labels = train.dataset.inter_feat["item_id"]
    counts = torch.bincount(labels, minlength=model.n_items).clamp(min=1).float()
    counts[0] = 0

    def table():
        users = model.forward(batch["item_id_list"], batch["item_length"])
        return whole(users @ model.item_embedding.weight.T, batch["item_id"], counts, 0.25)

    same(model, table, lambda: pop(batch))
    before = float(pop(batch))
    trainer = Trainer(config, model)
    for epoch in range(3):
        trainer._train_epoch(train, epoch)
    assert float(pop(batch.to("cpu"))) < before, kind


def main(folder):
    check(folder, SASRec)
    check(folder, GRU4Rec)
    config, train = prepared(folder, "CORE")
    config["dnn_type"] = "ave"
    model = train_on(CORE(config, train.dataset), train, "uniform")
    refused(lambda: model.calculate_loss(next(iter(train))))
    model.loss_type = "BPR"
    refused(lambda: train_on(model, train, "uniform"))


main(Path(sys.argv[1]))
