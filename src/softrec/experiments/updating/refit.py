"""The last step of an update, if it is asked for: training once more, on the held-out events, too.

It takes as many epochs as the best one of the judged training, from the same first weights. Nothing
is left to judge it: the metrics of the run stay those of the judged training.
"""

from __future__ import annotations

import shutil
from dataclasses import replace

import polars as pl

from softrec.data.splits import Split
from softrec.experiments.build.model import build_model, training_events
from softrec.experiments.runs import Run
from softrec.experiments.store.folders import RUN
from softrec.experiments.store.integrity import sealed
from softrec.experiments.train import save_weights, training_of
from softrec.files import OWN, read_facts, replacing, write_facts
from softrec.recipe.specs.models import is_counted
from softrec.recipe.specs.prior import as_chosen
from softrec.types import Encoder, Model, Scorer

FOLDER = "refit"  # in the run folder, for checkpoints


class Steps:
    """Stands for a validation in which each epoch is better than the one before."""

    def __init__(self, metric: str) -> None:
        self.metric = metric
        self.done = 0

    def means(self, model: Model) -> dict[str, float]:
        """Return the number of the epoch as the metric."""
        return {self.metric: float(self.done + 1)}

    def resumed(self, epoch: int) -> None:
        """Continue to count at an epoch, counted from 1."""
        self.done = epoch - 1

    def epoch(self, curve: list[dict[str, float]]) -> None:
        """Count an epoch."""
        self.done = len(curve)


def refit(run: Run, split: Split) -> None:
    """Replace the weights of a run by those of a training on all events of `split`.

    Args:
        run: the judged run, in the folder of the work in progress.
        split: its data.
    """
    everything = replace(split, train=split.whole())
    model = _counted(run, everything) if is_counted(run.recipe.model.name) else _trained(
        run, everything
    )  # fmt: skip
    save_weights(run.folder, model)
    path = run.folder / "log.parquet"
    log = pl.read_parquet(path).with_columns(part=pl.lit("train").cast(pl.Categorical))
    with replacing(path) as fresh:
        log.write_parquet(fresh)
    facts = {n: value for n, value in read_facts(run.folder / RUN.result).items() if n != OWN}
    write_facts(
        run.folder / RUN.result,
        {**facts, "refit": True, "files": sealed(run.folder, facts["files"])},
    )
    shutil.rmtree(run.folder / FOLDER, ignore_errors=True)


def _trained(run: Run, split: Split) -> Encoder:
    recipe, epochs = run.recipe, run.facts["best_epoch"]
    spec = recipe.training.model_copy(update={"epochs": epochs, "patience": epochs})
    folder = run.folder / FOLDER
    folder.mkdir(exist_ok=True)
    steps = Steps(spec.monitor)
    as_it_is = {"training": spec, "prior": as_chosen(recipe.prior, run.facts)}
    fit = training_of(recipe.model_copy(update=as_it_is), split, steps, steps)
    model = fit(folder).model
    assert isinstance(model, Encoder)
    return model


def _counted(run: Run, split: Split) -> Scorer:
    model = build_model(run.model_settings, split.train, run.recipe.training.length, seed=0)
    assert isinstance(model, Scorer)
    model.fit(training_events(split.train))
    return model
