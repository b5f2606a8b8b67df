# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""Run by the Python of RecTools' environment: `python check_rectools.py FOLDER`."""

import warnings
from functools import partial

import numpy as np
import polars as pl
import torch
from checks import same, whole
from pytorch_lightning import Trainer
from rectools.dataset import Dataset
from rectools.models import SASRecModel, model_from_config
from rectools.models.nn.transformers.lightning import TransformerLightningModule

import softrec.adapters.rectools
from softrec.adapters import to_rectools
from softrec.errors import SoftrecError

warnings.simplefilter("ignore")


def dataset(weight=1.0):
    """Return a small log."""
    rng = np.random.default_rng(0)
    users, items = np.repeat(np.arange(40), 8), rng.zipf(1.5, 320) % 30
    log = pl.DataFrame(
        {"user": users, "item": items, "weight": [weight] * 320, "time": np.arange(320)}
    )
    return Dataset.construct(to_rectools(log))


def trainer():
    return Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False,
                   enable_progress_bar=False, enable_model_summary=False)  # fmt: skip


def model_on(target, **more):
    kwargs = {"target": target, "settings": more.pop("settings", {})}
    return SASRecModel(
        n_blocks=1, n_heads=2, n_factors=16, session_max_len=6, dropout_rate=0.0, loss="softmax",
        batch_size=64, get_trainer_func=trainer,
        lightning_module_type=softrec.adapters.rectools.SoftTargets,
        lightning_module_kwargs=kwargs, **more,
    )  # fmt: skip


def first(model):
    """Return its Lightning module, and a batch."""
    model._build_model_from_dataset(dataset())
    module = model.lightning_model
    module.log = lambda *_, **__: None
    module.eval()
    return module, next(iter(model.data_preparator.get_dataloader_train()))


def check(**more):
    """Compare the losses of a model."""
    module, batch = first(model_on("one-hot", **more))
    base = TransformerLightningModule.training_step
    same(module, partial(base, module, batch, 0), partial(module.training_step, batch, 0))

    module, batch = first(model_on("pop+", settings={"alpha": 0.5}, **more))
    events = module.data_preparator.train_dataset.interactions.df["item_id"]
    size = module.data_preparator.item_id_map.size
    counts = torch.from_numpy(np.bincount(events, minlength=size)).float()
    assert counts[0] == 0
    real = batch["y"] != 0

    def table():
        return whole(module.torch_model(batch)[real], batch["y"][real], counts, 0.25)

    same(module, table, partial(module.training_step, batch, 0))


def main():
    check()
    check(similarity_module_kwargs={"distance": "cosine"})
    model = model_on("pop+", settings={"alpha": 0.5})
    model.fit(dataset())
    found = model.recommend(np.arange(5), dataset(), k=3, filter_viewed=True)
    assert len(found) == 15
    again = model_from_config(model.get_config(simple_types=False))
    assert again.lightning_module_type is softrec.adapters.rectools.SoftTargets
    named = model.get_config(simple_types=True)["lightning_module_type"]
    assert named == "softrec.adapters.rectools.SoftTargets", named

    for wrong in (
        lambda: model_on("pop+").fit(dataset(weight=2.0)),
        lambda: model_on("csn").fit(dataset()),
    ):
        try:
            wrong()
        except SoftrecError as error:
            print(error)
        else:
            raise AssertionError("that cannot work")


main()
