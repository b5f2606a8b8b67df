"""An exponential moving average of the weights, which is what is validated, kept and served."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from softrec.averages import add_step, trained_weights


class Averaging(Callback):
    """Averages the weights of all steps, the later ones more, beside the training; see `add_step`.

    At the end of an epoch the encoder gets the average, which is validated and, if it is the best
    one, saved; the next epoch goes on with the weights of the last step. Buffers, such as running
    means of batch norm, are those of the last step.

    Args:
        decay: d.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.apart: list[
            Tensor
        ] = []  # what the encoder does not have now: average, or last weights
        self.inside = False  # whether it has the average

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin with the weights as they are, or with those of a checkpoint."""
        weights = _weights(pl_module)
        if not self.apart:
            self.apart = [weight.clone() for weight in weights]
        self.apart = [part.to(weight) for part, weight in zip(self.apart, weights, strict=True)]

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on with the weights of the last step."""
        if self.inside:
            self._exchange(pl_module)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add the weights of this step."""
        self.steps += 1
        add_step(self.apart, _weights(pl_module), self.decay, self.steps)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let the average be validated and saved."""
        self._exchange(pl_module)

    @torch.no_grad()
    def _exchange(self, module: L.LightningModule) -> None:
        for weight, part in zip(_weights(module), self.apart, strict=True):
            kept = weight.clone()
            weight.copy_(part)
            part.copy_(kept)
        self.inside = not self.inside

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training needs besides the weights of the encoder."""
        return {"steps": self.steps, "apart": self.apart, "inside": self.inside}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the weights of a checkpoint."""
        self.steps, self.apart = state_dict["steps"], list(state_dict["apart"])
        self.inside = state_dict["inside"]


def _weights(module: L.LightningModule) -> list[Tensor]:
    """Return the trained weights of the encoder, without their gradients."""
    encoder = module.encoder
    assert isinstance(encoder, nn.Module)
    return trained_weights(encoder)
