"""Sequential models of RecBole (1.2) on a soft target.

model = SASRec(config, train_data.dataset).to(config["device"])
model = softrec.adapters.recbole.train_on(model, train_data, "pop+", alpha=0.4)
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from softrec.adapters.loss import CatalogueLoss, OwnTarget
from softrec.errors import SoftrecError

Model = TypeVar("Model", bound=Any)
PADDING = 0


def train_on(
    model: Model, train_data: Any, target: str | OwnTarget = "one-hot", **settings: Any
) -> Model:
    """Train a sequential model of RecBole on a soft target, and return it.

    Its `calculate_loss` is replaced, and nothing else. The model must compute its logits as
    `forward(item_seq, item_seq_len) @ item_embedding.weight.T`, as SASRec, GRU4Rec, NARM, STAMP
    and others do with `loss_type: CE`: at the first batch its own loss is compared with that.
    Popularity is counted from the labels of the training part.

    Args:
        model: with `loss_type: CE` and without negative samples.
        train_data: of `recbole.data.data_preparation`.
        target: as for `CatalogueLoss`.
        **settings: as for `CatalogueLoss`.

    Raises:
        RecipeError: as `CatalogueLoss`.
        SoftrecError: if the loss of the model is another one.
    """
    if getattr(model, "loss_type", None) != "CE":
        raise SoftrecError(
            f"{type(model).__name__} has the loss {getattr(model, 'loss_type', None)}, but soft "
            "targets need cross-entropy; set loss_type: CE and train_neg_sample_args: null"
        )
    labels = train_data.dataset.inter_feat[model.POS_ITEM_ID]
    counts = torch.bincount(labels.cpu(), minlength=model.n_items)
    device = model.item_embedding.weight.device
    soft = CatalogueLoss(counts, target, padding=PADDING, **settings).to(device)
    hard = CatalogueLoss(counts, padding=PADDING)
    own, checked = model.calculate_loss, False

    def calculate(loss: CatalogueLoss, interaction: Any) -> Tensor:
        users = model.forward(interaction[model.ITEM_SEQ], interaction[model.ITEM_SEQ_LEN])
        return loss(users, model.item_embedding.weight, interaction[model.POS_ITEM_ID])

    def calculate_loss(interaction: Any) -> Tensor:
        nonlocal checked
        if not checked:
            _check(model, own, lambda: calculate(hard, interaction), interaction)
            checked = True
        return calculate(soft, interaction)

    model.calculate_loss = calculate_loss
    return model


@torch.no_grad()
def _check(model: Any, own: Any, hard: Any, interaction: Any) -> None:
    """Refuse a model whose own loss on a batch is not the hard cross-entropy of its vectors."""
    training = model.training
    model.eval()  # without dropout, so that both see the same vectors
    theirs = float(own(interaction))
    try:
        ours = float(hard())
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise SoftrecError(f"{_OTHER.format(type(model).__name__)} ({error})") from error
    model.train(training)
    if abs(theirs - ours) > 1e-3 * max(1.0, abs(theirs)):
        raise SoftrecError(
            f"{_OTHER.format(type(model).__name__)} (its loss on the first batch is {theirs:.4f}, "
            f"that of these logits {ours:.4f})"
        )


_OTHER = (
    "the logits of {} are not forward(item_seq, item_seq_len) @ item_embedding.weight.T; use "
    "softrec.adapters.CatalogueLoss in its calculate_loss"
)
