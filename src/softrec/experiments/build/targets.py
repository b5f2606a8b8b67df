"""The data that targets are fitted on: the training part of a recipe, teachers, and artifacts.

Results for all training contexts, such as a teacher's vectors, propagated labels or neighbours, are
computed once and stored as artifacts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from softrec.data.batches import Examples
from softrec.data.padding import Padding
from softrec.data.splits import Split
from softrec.errors import RunError
from softrec.experiments.build.model import events, table_scorer, training_events
from softrec.experiments.runs import Run, describe, open_run
from softrec.experiments.store.artifacts import artifact
from softrec.experiments.tables import tables_of
from softrec.losses.settings import LossSettings
from softrec.models.counted.folds import Folds, last_items, table_of
from softrec.progress import shows_bars
from softrec.recipe.specs.data import DataSettings
from softrec.recipe.specs.models import ModelSettings, is_counted
from softrec.recipe.specs.training import TrainingSettings
from softrec.scoring import Scoring
from softrec.serving.catalogue import Catalogue
from softrec.settings import Trained
from softrec.targets.build.contexts import RememberedSource, context_vectors, probabilities_in
from softrec.targets.build.scorers import best_of_scorer
from softrec.targets.mass import Mass
from softrec.targets.mixture import MixtureSource
from softrec.types import Batch, Encoder, ItemVectors, MassSource, Offset, Scorer, TargetSource

VECTORS = "vectors.npy"


@dataclass(frozen=True)
class Training:
    """The data that a source is fitted on, and the model to train: implements `TrainingData`."""

    split: Split
    data: Examples
    spec: TrainingSettings
    model: str
    encoder: Encoder
    scoring: Scoring
    log: DataSettings

    @property
    def n_items(self) -> int:
        """Return the size N of the catalogue."""
        return self.split.train.n_items

    @property
    def item_counts(self) -> Tensor:
        """Return how often each item occurs in the training part, (N,) float64."""
        return torch.from_numpy(self.split.train.item_counts).double()

    @property
    def label_counts(self) -> Tensor:
        """Return how often each item is a label in an epoch, as the windows are cut, (N,)."""
        return torch.from_numpy(self.data.label_counts(self.n_items)).double()

    @property
    def events(self) -> Tensor:
        """Return the events of the training part as (user, item), (2, E) int64."""
        return events(self.split.train)

    @property
    def padding_side(self) -> Padding:
        """Return the side on which histories are padded."""
        return self.spec.padding_side

    @property
    def shown(self) -> bool:
        """Return whether progress is shown."""
        return shows_bars()

    @property
    def facts(self) -> dict[str, Any]:
        """Return everything that training contexts and their labels depend on, as plain data."""
        return self._facts

    @cached_property
    def _facts(self) -> dict[str, Any]:
        chosen = ("windows", "length", "stride")
        return {
            "softrec": version("softrec"),
            "data": describe(self.split),
            **{name: getattr(self.spec, name) for name in chosen},
        }

    @contextmanager
    def bar(self, what: str) -> Iterator[Callable[[int], None]]:
        """Show a progress bar over the training contexts on the error stream."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, transient=True, disable=not self.shown) as progress:
            task = progress.add_task(what, total=self.data.n_contexts)
            yield lambda count: progress.advance(task, count)

    def artifact(self, kind: str, facts: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
        """Return the folder that `make` writes: from the cache, or made now."""
        return artifact(kind, facts, make)

    def item_table(self, path: str | None = None) -> pl.DataFrame | None:
        """Return a table of the items, by default that of the recipe, in the order of the items."""
        if path is None:
            table = tables_of(self.log, self.split).items
        else:
            table = Catalogue.read(path, column=self.log.item)
        return None if table is None else table.aligned(self.split.train.items)

    def together(
        self, model: Mapping[str, Any], *, last: int, items: int, folds: int
    ) -> Callable[[Batch], Offset]:
        """Return a function from a batch to what a counted model gives its histories."""
        spec, log = ModelSettings.model_validate(dict(model)), self.split.train
        make = partial(table_scorer, spec, log, self.spec.length)
        counts = Folds(make, folds, training_events(log))

        def found(batch: Batch) -> Offset:
            histories = last_items(batch, self.n_items, last)
            rows = counts.shares(histories, batch.prediction_user, items)
            return table_of(rows).to(batch.label.device)

        return found

    def teacher(self, run: Trained) -> TrainedTeacher:
        """Return a finished run, after checking that it has the same items from the same data.

        Raises:
            RunError: if there is no run, or it belongs to other data.
        """
        assert isinstance(run, str)  # recipes of runs have been resolved
        opened, split = open_run(run), self.split.judged or self.split
        own, given = opened.facts["data"], describe(split)
        if own["fingerprint"] != given["fingerprint"]:
            raise RunError(
                f"the teacher in {run} was trained on other items ({own['items']:,} items, but "
                f"this log has {given['items']:,}); train it on the same data, cleaning and split"
            )
        opened.check_data(split)
        if opened.refit != "none":
            raise RunError(
                f"the teacher in {run} was trained on events that judge this training "
                f"(training.refit: {opened.refit}); name a run without a refit"
            )
        if opened.recipe.prior is not None:
            raise RunError(
                f"the teacher in {run} has a prior, which is not in its vectors; name a run "
                "without a prior, or a counted model"
            )
        return TrainedTeacher(opened, self)


@dataclass(frozen=True)
class TrainedTeacher:
    """A finished run as a teacher: implements `Teacher`."""

    run: Run
    training: Training

    @property
    def folder(self) -> Path:
        """Return the folder of the run."""
        return self.run.folder

    @property
    def model(self) -> str:
        """Return the name of its model."""
        return self.run.recipe.model.name

    @property
    def fingerprint(self) -> str:
        """Return a short hash of its weights."""
        return self.run.weights_fingerprint

    @property
    def counted(self) -> bool:
        """Return whether it is a counted model, which has no vectors."""
        return is_counted(self.model)

    def best(self, k: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the k best items of all contexts, and their probabilities, (C, k) memory maps."""
        scorer, training = self.run.model(), self.training
        length = self.run.recipe.training.length
        assert isinstance(scorer, Scorer)

        def make(folder: Path) -> None:
            with training.bar("best items of the teacher") as advance:
                best_of_scorer(
                    scorer, training.data, temperature, k, folder, length=length, advance=advance
                )

        facts = {**training.facts, "teacher": self.fingerprint, "k": k, "temperature": temperature}
        folder = training.artifact("scorer-top", facts, make)
        files = (folder / "items.npy", probabilities_in(folder))
        items, probs = (np.load(file, mmap_mode="r") for file in files)
        return items, probs

    @property
    def scoring(self) -> Scoring:
        """Return the kind of score that it was trained with."""
        return Scoring(self.run.recipe.loss.score, self.run.temperature)

    def items(self) -> ItemVectors:
        """Return its item vectors, float32 and without gradient."""
        items = self.run.encoder().items()
        bias = None if items.bias is None else items.bias.detach().float()
        return ItemVectors(items.vectors.detach().float(), bias)

    def vectors(self) -> np.ndarray:
        """Return its vectors of all training contexts, (C, D) float32, as a memory map."""
        training = self.training

        def make(folder: Path) -> None:
            encoder = self.run.encoder()
            if torch.cuda.is_available():
                encoder.cuda()
            with training.bar("vectors of the teacher") as advance:
                context_vectors(
                    encoder,
                    training.data,
                    folder / VECTORS,
                    length=self.run.recipe.training.length,
                    scoring=self.scoring,
                    advance=advance,
                )

        facts = {**training.facts, "teacher": self.fingerprint}
        folder = training.artifact("teacher-vectors", facts, make)
        return np.load(folder / VECTORS, mmap_mode="r")


def scoring_of(loss: LossSettings) -> Scoring:
    """Return the kind of score that a model is trained with."""
    return Scoring(loss.score, loss.score_temperature)


def about(source: TargetSource | None) -> dict[str, Any]:
    """Return facts about a source for run.json, as plain data; for most sources {}."""
    if isinstance(source, MixtureSource):
        parts = {f"part {place}": about(part) for place, part in enumerate(source.sources, 1)}
        return {name: facts for name, facts in parts.items() if facts}
    return dict(source.about) if isinstance(source, RememberedSource) else {}


def about_weight(weight: float | MassSource) -> dict[str, Any]:
    """Return facts about the weights of examples for run.json, as plain data; {} for a number."""
    return dict(weight.about) if isinstance(weight, Mass) else {}
