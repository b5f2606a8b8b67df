"""Trackers: where the curve of a training goes, beside the run folder.

They are no part of a recipe, as a progress bar is none: the same recipe is the same run wherever
its curve goes. By default it goes into RUN/logs and, if TensorBoard is installed, RUN/tensorboard.

MLflow finds its server in MLFLOW_TRACKING_URI, the experiment in MLFLOW_EXPERIMENT_NAME; Weights
& Biases reads its own variables. Both call the run by its folder, get the recipe and the test
metrics, and an interrupted training goes on in the same run there.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from uuid import uuid4

from lightning.pytorch.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from softrec.errors import RecipeError, SoftrecError, no_such, one_line
from softrec.extras import has, require
from softrec.files import read_facts, write_facts

PROJECT = "softrec"
FILE = "trackers.json"
"""The file in a run folder that says which runs of trackers are those of this training."""
REMOTE = ("mlflow", "wandb")

_names: ContextVar[tuple[str, ...] | None] = ContextVar("softrec_trackers", default=None)
_about: ContextVar[Mapping[str, Any] | None] = ContextVar("softrec_about", default=None)


class _MLflow(MLFlowLogger):
    """Lightning's logger, with names of metrics as MLflow writes them: ndcg_at_10."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics of a step."""
        super().log_metrics({n.replace("@", "_at_"): v for n, v in metrics.items()}, step)


def _csv(folder: Path, _: Mapping[str, Any]) -> tuple[Logger, dict[str, Any]]:
    return CSVLogger(folder, "logs"), {}


def _tensorboard(folder: Path, _: Mapping[str, Any]) -> tuple[Logger, dict[str, Any]]:
    return TensorBoardLogger(folder, "tensorboard"), {}


def _mlflow(folder: Path, kept: Mapping[str, Any]) -> tuple[Logger, dict[str, Any]]:
    mlflow = require("mlflow", "the tracker mlflow")
    place = os.environ.get("MLFLOW_TRACKING_URI") or mlflow.get_tracking_uri()
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    known = kept["run"] if kept.get("place") == place else None
    try:
        with quiet():
            logger = _MLflow(name, called(folder), place, run_id=known)
            return logger, {"place": place, "run": logger.run_id}
    except (mlflow.exceptions.MlflowException, ImportError) as error:
        raise SoftrecError(
            f"MLflow cannot write to {place}: {one_line(str(error), 200)}; set MLFLOW_TRACKING_URI "
            "to the address of a server, such as http://127.0.0.1:5000"
        ) from error


def _wandb(folder: Path, kept: Mapping[str, Any]) -> tuple[Logger, dict[str, Any]]:
    run = kept.get("run") or uuid4().hex[:12]
    project = os.environ.get("WANDB_PROJECT", PROJECT)
    logger = WandbLogger(
        called(folder), str(folder), id=run, project=project, resume="allow"
    )  # fmt: skip
    return logger, {"run": run}


Make = Callable[[Path, Mapping[str, Any]], tuple[Logger, dict[str, Any]]]
TRACKERS: dict[str, Make] = {
    "csv": _csv, "mlflow": _mlflow, "tensorboard": _tensorboard, "wandb": _wandb,
}  # fmt: skip


@contextmanager
def tracking(names: str | Iterable[str] | None) -> Iterator[None]:
    """A context in which trainings log to these trackers; nothing else of them changes.

    Args:
        names: of "csv" (RUN/logs), "tensorboard" (RUN/tensorboard), "mlflow" and "wandb", a list or
            separated by commas; None for csv and, if it is installed, tensorboard.

    Raises:
        RecipeError: if there is no such tracker.
        SoftrecError: if its package is not installed; the message names the extra.

    Example:
        with softrec.tracking("csv,mlflow"):
            run = softrec.fit("clicks.csv", out="runs/first")
    """
    token = _names.set(None if names is None else checked(names))
    try:
        yield
    finally:
        _names.reset(token)


def chosen() -> tuple[str, ...] | None:
    """Return the names that `tracking` was given; None for the default."""
    return _names.get()


def checked(names: str | Iterable[str]) -> tuple[str, ...]:
    """Return the names of trackers, each once, after checking that they can be used."""
    parts = (names,) if isinstance(names, str) else names
    listed = dict.fromkeys(one.strip() for part in parts for one in part.split(","))
    for name in listed:
        if name not in TRACKERS:
            raise RecipeError(no_such("tracker", name, sorted(TRACKERS)))
        if name != "csv":
            require(name, f"the tracker {name}")
    return tuple(listed)


@contextmanager
def described(about: Mapping[str, Any]) -> Iterator[None]:
    """A context in which the trackers get `about`, the recipe of a training as plain data."""
    token = _about.set(about)
    try:
        yield
    finally:
        _about.reset(token)


def loggers(folder: Path) -> list[Logger]:
    """Return the loggers of a training in `folder`; a resumed one gets those that it had."""
    names = _names.get()
    if names is None:
        names = ("csv", *(["tensorboard"] if has("tensorboard") else []))
    kept = _kept(folder)
    made = {name: TRACKERS[name](folder, kept.get(name, {})) for name in names}
    now = kept | {name: facts for name, (_, facts) in made.items() if facts}
    if now != kept:
        write_facts(folder / FILE, now)
    for name, (logger, _) in made.items():
        if name in REMOTE and name not in kept:
            logger.log_hyperparams(dict(_about.get() or {}))
    return [logger for logger, _ in made.values()]


def log_test(folder: Path, metrics: Mapping[str, float]) -> None:
    """Log the test metrics of a finished training to the trackers that have runs of their own."""
    kept = _kept(folder)
    for name in _names.get() or ():
        if name in REMOTE and name in kept:
            logger, _ = TRACKERS[name](folder, kept[name])
            with quiet():
                logger.log_metrics({f"test/{metric}": value for metric, value in metrics.items()})
                logger.finalize("success")


def called(folder: Path) -> str:
    """Return how a tracker calls the run of a folder: by its name, and that of the folder above.

    Example:
        >>> called(Path("compared.part/runs/pop-seed0.part"))
        'compared/pop-seed0'
    """
    parts = [part.removesuffix(".part") for part in folder.parts if part not in ("runs", "/")]
    return "/".join(parts[-2:])


@contextmanager
def quiet() -> Iterator[None]:
    """A context without what MLflow and its packages say of their own future."""
    with warnings.catch_warnings():
        for kind in (FutureWarning, DeprecationWarning):
            warnings.simplefilter("ignore", kind)
        yield


def _kept(folder: Path) -> dict[str, Any]:
    try:
        return read_facts(folder / FILE)
    except (OSError, ValueError):
        return {}
