"""SASRec of RecTools (0.19) on a soft target.

model = SASRecModel(
    ...,
    lightning_module_type=softrec.adapters.rectools.SoftTargets,
    lightning_module_kwargs={"target": "pop+", "settings": {"alpha": 0.4}},
)
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from torch import Tensor

from softrec.adapters.loss import CatalogueLoss
from softrec.errors import SoftrecError

PADDING = 0
NAME = "SoftTargets"


class OnSoftTargets:
    """What the Lightning module of RecTools does otherwise: the loss of a training step.

    The loss of validation stays that of the library, so that it can be compared over targets.
    Popularity is counted from the events of the training part.

    Args:
        *args: of the module.
        target: as for `softrec.adapters.CatalogueLoss`.
        settings: of the target, and its other arguments, such as `loss`.
        **kwargs: of the module.

    Raises:
        RecipeError: as `CatalogueLoss`.
        SoftrecError: if the loss of the model is not "softmax".
    """

    torch_model: Any
    data_preparator: Any
    logits_t: float
    verbose: int
    train_loss_name: str
    log: Any

    def __init__(
        self,
        *args: Any,
        target: str = "one-hot",
        settings: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if kwargs["loss"] != "softmax":
            raise SoftrecError(
                f"SASRecModel has loss={kwargs['loss']!r}, but soft targets need the softmax over "
                'all items; set loss="softmax"'
            )
        log = self.data_preparator.train_dataset
        items = log.interactions.df["item_id"].to_numpy()
        counts = np.bincount(items, minlength=log.item_id_map.size)
        self.soft_loss = CatalogueLoss(counts, target, padding=PADDING, **(settings or {}))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch.

        Raises:
            SoftrecError: if events have weights other than 1.
        """
        _check_weights(batch)
        model = self.torch_model
        items = model.item_model.get_all_embeddings()
        users = model.encode_sessions(batch, items)
        similarity = model.similarity_module
        if similarity.distance.value == "cosine":
            users, items = (similarity._get_embeddings_norm(one) for one in (users, items))
        loss = self.soft_loss(users / self.logits_t, items, batch["y"])
        self.log(
            self.train_loss_name, loss, on_step=False, on_epoch=True, prog_bar=self.verbose > 0
        )
        return loss


def _check_weights(batch: dict[str, Tensor]) -> None:
    weights = batch["yw"][batch["y"] != PADDING]
    if bool((weights != 1).any()):
        other = float(weights[weights != 1][0])
        raise SoftrecError(
            f"an event has the weight {other:g}, but the loss counts each label once; set "
            "the column weight of the interactions to 1"
        )


@cache
def _module() -> type:
    """Return the Lightning module of RecTools with these targets."""
    try:
        lightning = import_module("rectools.models.nn.transformers.lightning")
    except ImportError as error:
        raise SoftrecError(
            f"softrec.adapters.rectools needs RecTools, which cannot be imported ({error}); "
            'install it with: pip install "rectools[torch]"'
        ) from error
    bases = (OnSoftTargets, lightning.TransformerLightningModule)
    # RecTools writes the place of the class into its configuration, and imports it from there.
    return type(NAME, bases, {"__module__": __name__, "__doc__": OnSoftTargets.__doc__})


def __getattr__(name: str) -> Any:
    if name == NAME:
        return _module()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
