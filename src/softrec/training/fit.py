"""Train an encoder, keep its best state, and be able to go on after a kill as if nothing happened.

The loop, devices, progress bar and loggers are Lightning's.
"""

from __future__ import annotations

import logging
import pickle
import signal
import time
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from softrec.data.batches import TrainingBatches
from softrec.errors import RunError, TrainingError
from softrec.objective import Objective
from softrec.training.lines import Lines, Tell, shows_bar
from softrec.training.module import SoftTargetModule, Validate
from softrec.training.optimizers import OptimizerName
from softrec.types import Encoder

BEST = "best.ckpt"
RESUME = "resume.ckpt"


@dataclass(frozen=True)
class Trained:
    """How a training went; the encoder itself now has its best weights."""

    curve: list[dict[str, float]]  # one row per epoch
    best_epoch: int  # counted from 1
    monitor: str
    stopped_early: bool

    @property
    def best(self) -> dict[str, float]:
        """Return the validation metrics of the best epoch."""
        row = self.curve[self.best_epoch - 1]
        return {n.removeprefix("valid/"): v for n, v in row.items() if n.startswith("valid/")}

    @property
    def seconds_per_epoch(self) -> float:
        """Return the median time of an epoch's training, without validation."""
        times = sorted(row["seconds/train"] for row in self.curve)
        return times[len(times) // 2]

    @property
    def seconds(self) -> float:
        """Return the time of all epochs, with validation."""
        return sum(row["seconds/train"] + row["seconds/validate"] for row in self.curve)


def fit(
    encoder: Encoder,
    objective: Objective,
    batches: TrainingBatches,
    validate: Validate,
    folder: Path,
    *,
    epochs: int = 100,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    betas: tuple[float, float] = (0.9, 0.999),
    optimizer: OptimizerName = "adam",
    monitor: str = "ndcg@10",
    patience: int = 5,
    checkpoint_minutes: float = 5.0,
    checkpoint_steps: int | None = None,
    precision: Any = "32-true",
    accelerator: str = "auto",
    progress: bool | None = None,
    tell: Tell | None = None,
) -> Trained:
    """Train `encoder` and leave it with the weights of its best epoch.

    If `folder` holds a checkpoint of an interrupted training, that goes on exactly where it
    stood: weights, optimiser, order of the data, random states, early stopping.

    Args:
        encoder: an `nn.Module`.
        objective: what it is trained towards.
        batches: shuffled training batches.
        validate: metrics of an encoder on the validation part, higher is better.
        folder: where checkpoints and logs go.
        epochs: at most.
        lr: learning rate of Adam.
        weight_decay: L2 of Adam, not on biases.
        betas: of Adam.
        optimizer: "adam", or "sparse-adam", which moves only those rows of the tables that a batch
            gives a gradient: for drawn candidates from a large catalogue, without weight decay.
        monitor: the validation metric that chooses the best epoch.
        patience: stop after this many epochs without improvement.
        checkpoint_minutes: how much work a kill may cost.
        checkpoint_steps: checkpoint every so many steps instead.
        precision: as Lightning takes it.
        accelerator: likewise.
        progress: show a bar; if None, in a terminal or notebook.
        tell: called with a line of text after each epoch.

    Raises:
        TrainingError: if the loss is no longer a number, or there is no such accelerator here.
        RunError: if the checkpoint to go on from is broken.
        ValueError: if `optimizer` is not known, or is "sparse-adam" where every row has a gradient.
    """
    module = SoftTargetModule(
        encoder, objective, validate, lr=lr, weight_decay=weight_decay, betas=betas,
        optimizer=optimizer, lines=Lines(tell, monitor, epochs) if tell else None,
    )  # fmt: skip
    best = ModelCheckpoint(
        folder, filename=Path(BEST).stem, monitor=f"valid/{monitor}", mode="max",
        save_on_train_epoch_end=True, save_weights_only=True, enable_version_counter=False,
    )  # fmt: skip
    resume = _ResumeCheckpoint(folder / RESUME, checkpoint_minutes, checkpoint_steps)
    stopping = EarlyStopping(
        f"valid/{monitor}", patience=patience, mode="max", check_on_train_epoch_end=True
    )
    callbacks: list[Callback] = [stopping, best, resume]
    show = shows_bar(progress)
    if show:
        callbacks.append(TQDMProgressBar(leave=False))
    with quiet():
        try:
            trainer = L.Trainer(
                accelerator=accelerator,
                devices=1,
                precision=precision,
                max_epochs=epochs,
                callbacks=callbacks,
                logger=[CSVLogger(folder, "logs"), TensorBoardLogger(folder, "tensorboard")],
                enable_progress_bar=show,
                enable_model_summary=False,
                log_every_n_steps=50,
                num_sanity_val_steps=0,
                limit_val_batches=0,
            )
        except (ValueError, MisconfigurationException) as error:
            raise TrainingError(f"accelerator {accelerator}: {error}; use cpu or auto") from error
        on_interrupt = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit(module, batches, ckpt_path=_begun(folder), weights_only=True)
        except SystemExit as stopped:  # how Lightning answers Ctrl-C, which it also switches off
            signal.signal(signal.SIGINT, on_interrupt)
            raise KeyboardInterrupt from stopped
    if not module.curve:
        raise RunError(f"no epoch was trained (epochs={epochs})")
    best_epoch = _load_best(encoder, folder / BEST)
    return Trained(module.curve, best_epoch, monitor, len(module.curve) < epochs)


def _begun(folder: Path) -> Path | None:
    """Return the checkpoint of an interrupted training, if there is one."""
    path = folder / RESUME
    if not path.exists():
        return None
    try:
        torch.load(path, weights_only=True, map_location="cpu", mmap=True)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise RunError(
            f"the checkpoint {path} of an interrupted run is broken; delete {folder} to start anew"
        ) from error
    return path


def _load_best(encoder: Encoder, path: Path) -> int:
    """Give `encoder` its best weights, and return their epoch, counted from 1."""
    kept = torch.load(path, weights_only=True, map_location="cpu")
    state = kept["state_dict"]
    own = {n.removeprefix("encoder."): v for n, v in state.items() if n.startswith("encoder.")}
    encoder.load_state_dict(own)  # pyright: ignore[reportAttributeAccessIssue]
    return kept["epoch"] + 1  # Lightning counts from 0


class _ResumeCheckpoint(Callback):
    """Saves everything a resumed run needs, every so often inside an epoch.

    Never after the last batch of an epoch, for Lightning would go on with the next epoch and leave
    out the validation between them; the save then waits for the next batch. Written beside the
    old one and then renamed, so that a kill while saving costs nothing.
    """

    def __init__(self, path: Path, minutes: float, steps: int | None) -> None:
        self.path = path
        self.every = timedelta(minutes=minutes).total_seconds()
        self.steps = steps
        self.saved_at = time.monotonic()
        self.saved_step = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.saved_step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        due = (
            trainer.global_step - self.saved_step >= self.steps
            if self.steps
            else time.monotonic() - self.saved_at > self.every
        )
        if due and not trainer.is_last_batch:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        fresh = self.path.with_suffix(".new.ckpt")
        trainer.save_checkpoint(fresh)
        fresh.replace(self.path)
        self.saved_at = time.monotonic()
        self.saved_step = trainer.global_step


class quiet:  # noqa: N801 - used like a function
    """A context in which Lightning does not tell what a user of softrec cannot act on."""

    def __enter__(self) -> None:
        self.loggers = [logging.getLogger(f"lightning.{n}") for n in ("pytorch", "fabric")]
        self.levels = [logger.level for logger in self.loggers]
        for logger in self.loggers:
            logger.setLevel(logging.ERROR)
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        for about in (
            "Checkpoint directory",
            "The number of training batches",
            "GPU available",
            "Experiment logs directory",
            "treespec, LeafSpec",  # how Lightning 2.6 uses torch 2.13
        ):
            warnings.filterwarnings("ignore", message=f".*{about}.*")

    def __exit__(self, *error: Any) -> None:
        self.warnings.__exit__(*error)
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)
