"""SASRec of RePlay (0.22) on a soft target.

model = SasRec.from_params(schema, ...)
model = softrec.adapters.replay.train_on(model, counts, "pop+", alpha=0.4)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor, nn

from softrec.adapters.loss import CatalogueLoss, OwnTarget

Model = TypeVar("Model", bound=Any)


def train_on(
    model: Model, counts: Any, target: str | OwnTarget = "one-hot", **settings: Any
) -> Model:
    """Train a `replay.nn.sequential.SasRec` on a soft target, and return it.

    Its attribute `loss` is replaced, and nothing else. Where `target_padding_mask` is false, a
    label is left out.

    Args:
        model: of RePlay.
        counts: (N,) how often each item occurs in the training part, in the numbers of the
            schema: `np.bincount(item_ids, minlength=cardinality)`.
        target: as for `CatalogueLoss`.
        **settings: as for `CatalogueLoss`.

    Raises:
        RecipeError: as `CatalogueLoss`.
    """
    device = next(model.parameters()).device
    model.loss = ReplayLoss(CatalogueLoss(counts, target, **settings)).to(device)
    model.loss.logits_callback = model.get_logits
    return model


class ReplayLoss(nn.Module):
    """A `CatalogueLoss` with the arguments of RePlay's losses.

    Args:
        loss: over the items of the schema, without padding.
    """

    def __init__(self, loss: CatalogueLoss) -> None:
        super().__init__()
        self.loss = loss
        self.logits_callback: Callable[..., Tensor] | None = None  # set by the model

    def forward(
        self,
        model_embeddings: Tensor,
        feature_tensors: Any,
        positive_labels: Tensor,
        negative_labels: Any,
        padding_mask: Tensor,
        target_padding_mask: Tensor,
    ) -> Tensor:
        """Return the loss of a batch; each of several labels of a place counts alike.

        Args:
            model_embeddings: (B, L, D).
            feature_tensors: not used.
            positive_labels: (B, L, n) int64.
            negative_labels: not used: all other items are negatives.
            padding_mask: not used.
            target_padding_mask: (B, L, n) bool, the labels that count.
        """
        body: Any = self.logits_callback.__self__.body  # pyright: ignore
        users = model_embeddings[:, :, None].expand(*positive_labels.shape, -1)
        items = body.embedder.get_item_weights()
        return self.loss(users, items, positive_labels, real=target_padding_mask)
