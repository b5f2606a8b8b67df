"""Trains an encoder, keeps its best weights, and resumes an interrupted training exactly.

The loop, devices, progress bar and loggers are Lightning's.
"""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, TQDMProgressBar

from softrec import parallel
from softrec.cuda import float32, repeatable
from softrec.data.batches import TrainingBatches
from softrec.errors import RunError, TrainingError
from softrec.objective import Objective
from softrec.progress import shows_bars
from softrec.training.alone import alone
from softrec.training.averaging import Averaging
from softrec.training.budget import Budget
from softrec.training.checkpoints import (
    BestCheckpoint,
    ResumeCheckpoint,
    begun,
    finished,
    keep_finished,
    load_best,
)
from softrec.training.interruption import Interruption
from softrec.training.lines import Lines, Listener
from softrec.training.module import CONSTANT, SoftTargetModule, Validate
from softrec.training.optimizers import OptimizerName
from softrec.training.precision import bf16_unit, exactly, of_trainer, products
from softrec.training.processes import EndsAtOnce, arguments
from softrec.training.schedule import Schedule
from softrec.training.trackers import loggers
from softrec.types import Encoder

NUMBERS = {"64-true": torch.float64, "bf16-true": torch.bfloat16}


@dataclass(frozen=True)
class TrainingResult:
    """The result of a training; the encoder itself has its best weights."""

    curve: list[dict[str, float]]  # one row per epoch
    best_epoch: int  # counted from 1
    monitor: str
    stopped_early: bool
    finished: dict[str, float] | None = None  # of a model that was changed after its best epoch

    @property
    def best(self) -> dict[str, float]:
        """Return the validation metrics of the finished model, else those of its best epoch."""
        if self.finished is not None:
            return self.finished
        row = self.curve[self.best_epoch - 1]
        return {n.removeprefix("valid/"): v for n, v in row.items() if n.startswith("valid/")}

    @property
    def seconds_per_epoch(self) -> float:
        """Return the median time of an epoch, without validation."""
        times = sorted(row["seconds/train"] for row in self.curve)
        return times[len(times) // 2]

    @property
    def seconds(self) -> float:
        """Return the time of all epochs, including validation."""
        return sum(row["seconds/train"] + row["seconds/validate"] for row in self.curve)


def train(
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
    schedule: Schedule = CONSTANT,
    clip: float | None = None,
    ema: float | None = None,
    monitor: str = "ndcg@10",
    patience: int = 5,
    checkpoint_minutes: float = 5.0,
    checkpoint_steps: int | None = None,
    precision: Any = "32-true",
    accelerator: str = "auto",
    deterministic: bool = True,
    budget: Budget | None = None,
    listener: Listener | None = None,
) -> TrainingResult:
    """Train `encoder` and leave it with the weights of its best epoch.

    If `folder` has a checkpoint of an interrupted training, it is resumed with the same weights,
    optimiser, order of the data, random states and early stopping. `softrec.progress` decides
    whether a progress bar is shown.

    Args:
        encoder: the model.
        objective: the objective to minimise.
        batches: shuffled training batches.
        validate: returns metrics of an encoder on the validation part; higher is better.
        folder: the folder for checkpoints and logs.
        epochs: the maximum number of epochs.
        lr: learning rate of Adam.
        weight_decay: L2 penalty of Adam, except on biases.
        betas: of Adam.
        optimizer: "adam", or "sparse-adam", which updates only those rows of the tables that have a
            gradient: for sampled candidates from a large catalogue, without weight decay.
        schedule: how the learning rate changes.
        clip: the largest norm of the gradient of a step; None: it is not limited.
        ema: the decay of an average of the weights, which is validated and kept; None: no average.
        monitor: the validation metric that chooses the best epoch.
        patience: stop after this many epochs without improvement.
        checkpoint_minutes: minutes between checkpoints.
        checkpoint_steps: steps between checkpoints, in place of minutes.
        precision: as in Lightning; "bf16" is float32 whose products have factors of bfloat16, on a
            processor with AMX or AVX512-BF16.
        accelerator: as in Lightning.
        deterministic: on a CUDA device, use only operations that give the same numbers each time;
            without it neither the same seed nor a resumed training does. A processor always does.
        budget: how long it may take; by default as long as it takes. Where it ends differs from
            machine to machine.
        listener: called after each epoch; it may end the training by raising an error. By default
            each epoch is a line of the logger `softrec.training.lines`.

    Raises:
        TrainingError: if the loss becomes NaN or infinite, there is no such accelerator, or an
            operation of a model cannot be repeated on it.
        RunError: if the checkpoint is broken.
        ValueError: if `optimizer` is unknown, or is "sparse-adam" and every row has a gradient.
    """
    curve = parallel.by_first(lambda: finished(folder))
    if curve is None:
        batches.part = parallel.part()
        with alone(), Interruption() as interruption:
            curve = _loop(
                encoder, objective, batches, validate, folder, epochs=epochs, lr=lr,
                weight_decay=weight_decay, betas=betas, optimizer=optimizer, schedule=schedule,
                clip=clip, ema=ema, monitor=monitor,
                patience=patience, checkpoint_minutes=checkpoint_minutes,
                checkpoint_steps=checkpoint_steps, precision=precision, accelerator=accelerator,
                deterministic=deterministic, budget=budget,
                listener=listener or Lines(monitor, epochs, budget and budget.seconds),
                interruption=interruption,
            )  # fmt: skip
            told = curve
            parallel.by_first(lambda: keep_finished(folder, told))
    best_epoch = load_best(encoder, folder)
    return TrainingResult(curve, best_epoch, monitor, len(curve) < epochs)


def _loop(
    encoder: Encoder,
    objective: Objective,
    batches: TrainingBatches,
    validate: Validate,
    folder: Path,
    *,
    epochs: int,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    optimizer: OptimizerName,
    schedule: Schedule,
    clip: float | None,
    ema: float | None,
    monitor: str,
    patience: int,
    checkpoint_minutes: float,
    checkpoint_steps: int | None,
    precision: Any,
    accelerator: str,
    deterministic: bool,
    budget: Budget | None,
    listener: Listener,
    interruption: Interruption,
) -> list[dict[str, float]]:
    """Train, and return the learning curve; the best weights are in `folder` then."""
    module = SoftTargetModule(
        encoder, objective, exactly(validate, precision), lr=lr, weight_decay=weight_decay,
        betas=betas, optimizer=optimizer, schedule=schedule, monitor=monitor, lines=listener,
        budget=budget, folder=folder,
    )  # fmt: skip
    stopping = EarlyStopping(
        f"valid/{monitor}", patience=patience, mode="max", check_on_train_epoch_end=True
    )
    best = BestCheckpoint(folder, f"valid/{monitor}")
    resume = ResumeCheckpoint(folder, batches, checkpoint_minutes, checkpoint_steps, interruption)
    averaging = [] if ema is None else [Averaging(ema)]
    with quiet():
        trainer = _trainer(
            [*averaging, stopping, best, resume], folder, epochs=epochs, clip=clip,
            precision=precision, accelerator=accelerator,
        )  # fmt: skip
        device = trainer.strategy.root_device
        if precision in NUMBERS:  # else a checkpoint would be rounded to the new model's numbers
            module.to(NUMBERS[precision])
        with _arithmetic(device, precision, deterministic):
            _fit(trainer, module, batches, parallel.by_first(lambda: begun(folder)))
    if not module.curve:
        raise RunError(f"no epoch was trained (epochs={epochs})")
    return module.curve


def _trainer(
    callbacks: Sequence[Callback],
    folder: Path,
    *,
    epochs: int,
    clip: float | None,
    precision: Any,
    accelerator: str,
) -> L.Trainer:
    show = shows_bars()
    bars = [TQDMProgressBar(leave=False)] if show else []
    ends = [EndsAtOnce()] if parallel.size() > 1 else []
    try:
        return L.Trainer(
            **arguments(accelerator),
            precision=of_trainer(precision),
            max_epochs=epochs,
            gradient_clip_val=clip,
            callbacks=[*callbacks, *bars, *ends],
            logger=loggers(folder) if parallel.rank() == 0 else False,
            enable_progress_bar=show,
            enable_model_summary=False,
            log_every_n_steps=50,
            num_sanity_val_steps=0,
            limit_val_batches=0,
        )
    except (ValueError, MisconfigurationException) as error:
        raise TrainingError(f"accelerator {accelerator}: {error}; use cpu or auto") from error


@contextmanager
def _arithmetic(device: torch.device, precision: Any, deterministic: bool) -> Iterator[None]:
    """A context in which a device computes as it is asked to."""
    with (
        repeatable(device) if deterministic else nullcontext(),
        float32(device),
        products(precision, device, bf16_unit()),
    ):
        yield


def _fit(
    trainer: L.Trainer, module: SoftTargetModule, batches: TrainingBatches, checkpoint: Path | None
) -> None:
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, batches, ckpt_path=checkpoint, weights_only=True)
    except SystemExit as stopped:  # what Lightning does after Ctrl-C, which it also disables
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from stopped


class quiet:  # noqa: N801 - used like a function
    """A context without messages of Lightning that a user of softrec cannot act on."""

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
            "The `srun` command is available",  # softrec.parallel.slurm finds its tasks
            "Experiment logs directory",
            "sync_dist=True",  # what is logged is the same in each process, or of one of them
            "treespec, LeafSpec",  # how Lightning 2.6 uses torch 2.13
        ):
            warnings.filterwarnings("ignore", message=f".*{about}.*")

    def __exit__(self, *error: Any) -> None:
        self.warnings.__exit__(*error)
        for logger, level in zip(self.loggers, self.levels, strict=True):
            logger.setLevel(level)
