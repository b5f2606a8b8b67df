"""Checkpoints, from which an interrupted training is resumed with the same results.

resume.ckpt       the whole state after some step
best.ckpt         the weights of the best epoch so far
checkpoints.json  the hashes of these files
trained.json      the learning curve; it exists when training is complete and only the test is left
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

from softrec import parallel
from softrec.data.batches import TrainingBatches
from softrec.errors import RunError
from softrec.files import read_facts, replacing, sha256_of, write_facts
from softrec.parallel.tables import Part, parts_of
from softrec.training.interruption import Interruption
from softrec.training.shards import KINDS, ROWS, forget_rows, give_rows, take_rows
from softrec.types import Encoder

BEST = "best.ckpt"
RESUME = "resume.ckpt"
HASHES = "checkpoints.json"
TRAINED = "trained.json"


def resumable(folder: Path) -> bool:
    """Return whether training can be resumed from `folder`."""
    return (folder / RESUME).exists() or (folder / TRAINED).exists()


def begun(folder: Path) -> Path | None:
    """Return the checkpoint of an interrupted training, if there is one.

    Raises:
        RunError: if it, or the file with the best weights, was changed.
    """
    if not (folder / RESUME).exists():
        return None
    if (folder / BEST).exists():
        _verified(folder, BEST)
    return _verified(folder, RESUME)


def finished(folder: Path) -> list[dict[str, float]] | None:
    """Return the learning curve of a complete training; None if it is not complete.

    Raises:
        RunError: if the file was changed.
    """
    if not (folder / TRAINED).exists():
        return None
    try:
        return read_facts(folder / TRAINED)["curve"]
    except (ValueError, KeyError) as error:
        raise _broken(folder, TRAINED) from error


def keep_finished(folder: Path, curve: list[dict[str, float]]) -> None:
    """Store that training is complete; after a kill, only the test is run again."""
    write_facts(folder / TRAINED, {"curve": curve})


def load_best(encoder: Encoder, folder: Path) -> int:
    """Load the best weights into `encoder`, and return their epoch, counted from 1.

    Raises:
        RunError: if the file was changed.
    """
    kept = torch.load(_verified(folder, BEST), weights_only=True, map_location="cpu")
    add_rows(folder, kept, {f"encoder.{n}": part for n, part in parts_of(encoder).items()}, [])
    state = kept["state_dict"]
    own = {n.removeprefix("encoder."): v for n, v in state.items() if n.startswith("encoder.")}
    encoder.load_state_dict(own)  # pyright: ignore[reportAttributeAccessIssue]
    return kept["epoch"] + 1  # Lightning counts from 0


def forget(folder: Path) -> None:
    """Remove the files that a finished run does not need."""
    # The resume checkpoint first: without the best weights it cannot be used.
    for name in (RESUME, TRAINED, BEST, HASHES):
        (folder / name).unlink(missing_ok=True)
    for kind in KINDS:
        forget_rows(folder, kind)
    for left in [
        *folder.glob("*.ckpt.*"),
        *folder.glob("*.json.*.part"),
    ]:  # left by a kill while saving
        left.unlink()


@contextmanager
def _noted(folder: Path, name: str) -> Iterator[Path]:
    """Yield a path for a new checkpoint, which then replaces the old one; its hash is stored.

    Both hashes are stored, so that they are correct before and after the renaming. Only the first
    process writes; what the others yield is not used.
    """
    if parallel.rank():
        yield folder / name
        return
    with replacing(folder / name) as fresh:
        yield fresh
        hashes = _hashes(folder)
        both = [sha256_of(fresh), *hashes.get(name, [])[:1]]
        write_facts(folder / HASHES, {**hashes, name: both})


def keep_rows(
    folder: Path, checkpoint: dict[str, Any], parts: Mapping[str, Part], order: Sequence[str]
) -> str:
    """Store the rows of tables in shards in a file, and its hash and name; return the name."""
    name = take_rows(checkpoint, parts, order, folder)

    def note() -> None:
        known = {n: own for n, own in _hashes(folder).items() if (folder / n).exists()}
        write_facts(folder / HASHES, {**known, name: [sha256_of(folder / name)]})

    parallel.by_first(note)
    checkpoint["softrec"][ROWS] = name
    return name


def add_rows(
    folder: Path, checkpoint: dict[str, Any], parts: Mapping[str, Part], order: Sequence[str]
) -> None:
    """Put the rows of tables in shards into a checkpoint that was loaded.

    Raises:
        RunError: if their file was changed.
    """
    name = checkpoint["softrec"].get(ROWS)
    if name is not None:
        parallel.by_first(lambda: _verified(folder, name))
    give_rows(checkpoint, parts, order, folder, name)


def _hashes(folder: Path) -> dict[str, list[str]]:
    try:
        return read_facts(folder / HASHES) if (folder / HASHES).exists() else {}
    except ValueError as error:
        raise _broken(folder, HASHES) from error


def _verified(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists() or sha256_of(path) not in _hashes(folder).get(name, []):
        raise _broken(folder, name)
    return path


def _broken(folder: Path, name: str) -> RunError:
    return RunError(
        f"the checkpoint {folder / name} of an interrupted run is damaged; delete {folder} to "
        "start again"
    )


def _rows_of(module: L.LightningModule) -> str | None:
    """Return the file of the rows of the last checkpoint, if there are tables in shards."""
    rows = module.rows
    assert rows is None or isinstance(rows, str)
    return rows


class BestCheckpoint(Checkpoint):
    """Saves the weights of the epoch with the highest `metric`; of equal ones, the first."""

    def __init__(self, folder: Path, metric: str) -> None:
        self.folder = folder
        self.metric = metric
        self.score: float | None = None

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the weights if they are the best ones so far."""
        score = float(trainer.callback_metrics[self.metric])
        score = -math.inf if math.isnan(score) else score
        if self.score is None or score > self.score:
            self.score = score
            with _noted(self.folder, BEST) as fresh:
                trainer.save_checkpoint(fresh, weights_only=True)
            forget_rows(self.folder, "best", _rows_of(pl_module))

    def state_dict(self) -> dict[str, Any]:
        """Return the best metric so far."""
        return {"score": self.score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the best metric so far."""
        self.score = state_dict["score"]


class ResumeCheckpoint(Checkpoint):
    """Saves everything that a resumed run needs, at regular intervals.

    It saves inside an epoch, or at its end after validation. It does not save between the last
    batch of an epoch and the validation, because Lightning would then resume with the next epoch
    and skip the validation. The position of the batches is stored here, because Lightning restores
    it only inside an epoch. A training that is asked to stop does so after a checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        batches: TrainingBatches,
        minutes: float,
        steps: int | None,
        interruption: Interruption,
    ) -> None:
        self.interruption = interruption
        self.folder = folder
        self.batches = batches
        self.every = timedelta(minutes=minutes).total_seconds()
        self.steps = steps
        self.saved_at = time.monotonic()
        self.saved_step = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the next batch."""
        return self.batches.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at that position."""
        self.batches.load_state_dict(state_dict)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Count steps and minutes from here."""
        self.saved_step = trainer.global_step
        self.interruption.listen()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save inside an epoch, if the interval has passed."""
        if self._due(trainer) and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save after validation, if the interval has passed."""
        # A checkpoint does not say that training stops here; trained.json does.
        if self._due(trainer) and not trainer.should_stop:
            self._save(trainer)

    def _due(self, trainer: L.Trainer) -> bool:
        if self.interruption.asked is not None:
            return True
        if self.steps:
            return trainer.global_step - self.saved_step >= self.steps
        due = time.monotonic() - self.saved_at > self.every
        return bool(parallel.from_first(torch.tensor(due)))  # all of them, or none

    def _save(self, trainer: L.Trainer) -> None:
        with _noted(self.folder, RESUME) as fresh:
            trainer.save_checkpoint(fresh)
        forget_rows(self.folder, "resume", _rows_of(trainer.lightning_module))
        if self.interruption.asked is not None:
            raise KeyboardInterrupt
        self.saved_at = time.monotonic()
        self.saved_step = trainer.global_step
