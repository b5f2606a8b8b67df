"""The training step for Lightning."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import lightning as L
import torch
from torch import Tensor

from softrec import parallel
from softrec.errors import DivergedError
from softrec.objective import Objective
from softrec.parallel.tables import Part, parts_of
from softrec.training.budget import Budget
from softrec.training.checkpoints import add_rows, keep_rows
from softrec.training.lines import Listener
from softrec.training.optimizers import LazyAdam, OptimizerName
from softrec.training.processes import average_rows, clip_together, share
from softrec.training.random_states import RandomStates, get_rng, start_rng
from softrec.training.schedule import Schedule
from softrec.types import LOG_TEMPERATURE, Batch, Encoder

CONSTANT = Schedule()
Validate = Callable[[Encoder], dict[str, float]]


class SoftTargetModule(L.LightningModule):
    """An encoder with its objective and its validation, of any kind, for Lightning.

    Args:
        encoder: the model.
        objective: the objective to minimise.
        validate: returns the metrics of an encoder on the validation part, by name.
        lr: learning rate of Adam.
        weight_decay: L2 penalty of Adam, except on biases.
        betas: of Adam.
        optimizer: "adam"; "adamw", whose decay is no part of the gradient; or "sparse-adam":
            `LazyAdam`, with sparse gradients of long tables.
        schedule: how the learning rate changes.
        monitor: the validation metric that a schedule reads.
        lines: logs each epoch.
        budget: ends the training in time.
        folder: of the checkpoints, where the rows of tables in shards have files of their own.

    Raises:
        ValueError: if the optimiser is unknown, or is "sparse-adam" and `weight_decay` or the
            objective gives every row a gradient.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective,
        validate: Validate,
        *,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        optimizer: OptimizerName = "adam",
        schedule: Schedule = CONSTANT,
        monitor: str = "",
        lines: Listener | None = None,
        budget: Budget | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        if optimizer not in get_args(OptimizerName):
            raise ValueError(
                f"optimizer must be {' or '.join(get_args(OptimizerName))}, got {optimizer!r}"
            )
        if optimizer == "sparse-adam":
            if weight_decay:
                raise ValueError(
                    "sparse-adam does not update rows without a gradient, but L2 gives every row "
                    f"a gradient: weight_decay must be 0, got {weight_decay:g}"
                )
            if objective.every_item:
                raise ValueError(
                    "sparse-adam needs sampled or in-batch candidates, without soft: exact and "
                    "without l2, because with these every item has a gradient"
                )
            if not encoder.sparse:
                raise ValueError(
                    "sparse-adam needs tables that give sparse gradients: call "
                    "softrec.training.optimizers.mark_sparse(encoder)"
                )
        self.encoder = encoder
        self.objective = objective
        self.validate = validate
        self.lr = lr
        self.weight_decay = weight_decay
        self.betas = betas
        self.optimizer: OptimizerName = optimizer
        self.schedule, self.monitor = schedule, monitor
        self.lines, self.budget, self.folder = lines, budget, folder
        self.rows: str | None = None  # the file of the rows of the last checkpoint
        self.curve: list[dict[str, float]] = []
        self.trained_seconds = 0.0
        self._sums: dict[str, Tensor] = {}
        self._examples = 0
        self._resumed_rng: RandomStates | None = None
        self._clock = 0.0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one batch."""
        self.objective.in_epoch(self.current_epoch)
        value = self.objective(self.encoder, batch)
        loss = value.total.detach()
        if not bool(torch.isfinite(loss)):
            self._explain(float(loss), value.parts)
        # A batch without a total is the same in each process and counts once.
        rows = len(batch.label) if batch.total is not None or not parallel.part()[0] else 0
        for name, part in {"loss": loss, **{n: p.mean() for n, p in value.parts.items()}}.items():
            weighted = part.double() * rows
            self._sums[name] = self._sums[name] + weighted if name in self._sums else weighted
        self._examples += rows
        if self._shown():
            self.log("loss", loss, prog_bar=True, batch_size=len(batch.label))
        part = share(batch)
        return value.total if part == 1.0 else value.total * part

    def _shown(self) -> bool:
        """Return whether this step's loss is shown or written; otherwise it is not noted."""
        trainer = self.trainer
        every: Any = getattr(trainer, "log_every_n_steps", 1)
        due = (self.global_step + 1) % every == 0
        return due or trainer.progress_bar_callback is not None

    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Return the batch on a device, without Lightning's search for tensors inside of it."""
        return batch if batch.label.device == device else batch.to(device)

    def _check_weights(self) -> None:
        """Refuse weights that became NaN or infinite in the last step, before they are used."""
        bad = self._broken()
        if bad:
            raise DivergedError(
                f"after epoch {self.current_epoch + 1} some weights are NaN or infinite "
                f"({', '.join(bad)}); a lower --lr (now {self.lr:g}) usually fixes it"
            )

    def _broken(self) -> list[str]:
        named = self.encoder.named_parameters()
        return [name for name, part in named if not bool(torch.isfinite(part).all())]

    def _explain(self, loss: float, parts: dict[str, Tensor]) -> None:
        bad = self._broken()
        values = ", ".join(f"{name} {float(part.mean()):.4g}" for name, part in parts.items())
        where = f"; some parameters are NaN or infinite already: {', '.join(bad)}" if bad else ""
        raise DivergedError(
            f"the loss became {loss} in epoch {self.current_epoch + 1}, step {self.global_step} "
            f"({values}){where}; a lower --lr (now {self.lr:g}) usually fixes it, and a resumed "
            "run continues from the last checkpoint before this step"
        )

    def configure_optimizers(self) -> Any:
        """Return the optimiser, and the schedule of its learning rate if there is one."""
        optimizer = self._optimizer()
        scheduler = self.schedule.of(optimizer, self._steps(), f"valid/{self.monitor}")
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def _steps(self) -> int:
        """Return the steps that a schedule counts; 0 if it counts none."""
        if not self.schedule.counts:
            return 0
        steps = int(self.trainer.estimated_stepping_batches)
        epochs = self.trainer.max_epochs or 1
        return steps // epochs * (self.schedule.epochs or epochs)

    def _optimizer(self) -> torch.optim.Optimizer:
        """Return Adam, with L2 on all parameters except biases, or `LazyAdam` without L2."""
        others, biases = self._grouped()
        groups = [
            {"params": list(others.values()), "weight_decay": self.weight_decay},
            {"params": list(biases.values()), "weight_decay": 0.0},
        ]
        present = [group for group in groups if group["params"]]
        if self.optimizer == "sparse-adam":
            return LazyAdam(present, lr=self.lr, betas=self.betas)
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(present, lr=self.lr, betas=self.betas, fused=True)

    def _grouped(self) -> list[dict[str, torch.nn.Parameter]]:
        """Return the parameters that are not biases, and the biases, in the optimiser's order."""
        named = {n: p for n, p in self.encoder.named_parameters() if p.requires_grad}
        free = ("bias", LOG_TEMPERATURE)
        biases = {n: p for n, p in named.items() if n.rpartition(".")[2].startswith(free)}
        return [{n: p for n, p in named.items() if n not in biases}, biases]

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        """Do a step, and let the objective read the model before a checkpoint can be saved."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.objective.after_step()

    def on_after_backward(self) -> None:
        """Average the gradients that Lightning's strategy leaves to this module."""
        average_rows(self.encoder)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Limit the norm of the gradient; of tables in shards over all processes."""
        if gradient_clip_val is not None and self.encoder.catalogue is not None:
            clip_together(self.encoder, gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    # --- epochs ---

    def on_train_start(self) -> None:
        """Restore the random states of a resumed run; each process has its own."""
        self._clock = time.perf_counter()
        resumed = self._resumed_rng is not None
        start_rng(self._resumed_rng)
        if resumed:
            self._resumed_rng = None
            if self.lines is not None:
                self.lines.resumed(self.current_epoch + 1)

    def on_train_epoch_start(self) -> None:
        """Tell the objective that an epoch begins."""
        self.objective.begin_epoch(self.encoder, self.current_epoch)

    def on_train_epoch_end(self) -> None:
        """Validate, and add a row to the learning curve."""
        now = time.perf_counter()
        self.trained_seconds += now - self._clock
        self._check_weights()
        metrics = self.validate(self.encoder)
        self._clock = time.perf_counter()
        row = {"epoch": float(self.current_epoch + 1)}
        sums, examples = self._of_all()
        row |= {f"train/{n}": float(total) / examples for n, total in sums.items()}
        row |= {f"valid/{name}": value for name, value in metrics.items()}
        row |= {"seconds/train": self.trained_seconds, "seconds/validate": self._clock - now}
        self.trained_seconds = 0.0
        self.curve.append(row)
        self._sums, self._examples = {}, 0
        if self.lines is not None:
            self.lines.epoch(self.curve)
        budget = self.budget
        if budget is not None and parallel.by_first(lambda: budget.is_over(self.curve)):
            self.trainer.should_stop = True
        logged = {name: value for name, value in row.items() if name != "epoch"}
        self.log_dict(logged, prog_bar=False)

    def _of_all(self) -> tuple[dict[str, Tensor], int]:
        """Return the sums and the number of examples of all processes."""
        sums = {name: parallel.summed(total) for name, total in self._sums.items()}
        return sums, int(parallel.summed(torch.tensor(self._examples)))

    # --- exact resume ---

    def _tables(self) -> tuple[dict[str, Part], list[str]]:
        """Return the tables in shards, and all parameters in the optimiser's order, by name."""
        parts = {f"encoder.{name}": part for name, part in parts_of(self.encoder).items()}
        return parts, [f"encoder.{name}" for group in self._grouped() for name in group]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the random states and the sums of the unfinished epoch to the checkpoint."""
        sums, examples = self._of_all()
        checkpoint["softrec"] = {
            "rng": get_rng(),
            "curve": self.curve,
            "sums": dict(sums),
            "examples": examples,
            "trained_seconds": self.trained_seconds + time.perf_counter() - self._clock,
        }
        if self.folder is not None and parts_of(self.encoder):
            self.rows = keep_rows(self.folder, checkpoint, *self._tables())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load the random states and the sums of the unfinished epoch."""
        kept = checkpoint["softrec"]
        if self.folder is not None:
            add_rows(self.folder, checkpoint, *self._tables())
        self._resumed_rng = kept["rng"]
        self.curve = kept["curve"]
        self._sums, self._examples = kept["sums"], kept["examples"]
        if parallel.part()[0]:  # the sums of all parts go on in the first one
            self._sums = {name: torch.zeros_like(total) for name, total in self._sums.items()}
            self._examples = 0
        self.trained_seconds = kept["trained_seconds"]
