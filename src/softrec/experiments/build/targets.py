"""From the target section of a recipe to a source of soft targets, fitted on the training part.

What a source remembers of every training context is made once and kept as an artifact: the
vectors of a trained model, shared labels, neighbours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from softrec.data.batches import Examples
from softrec.data.splits import Split
from softrec.errors import RunError
from softrec.experiments.build.wiring import wired
from softrec.experiments.runs import Run, describe, open_run
from softrec.experiments.store.artifacts import artifact
from softrec.recipe.specs.base import Trained
from softrec.recipe.specs.losses import LossSpec
from softrec.recipe.specs.models import ModelSpec
from softrec.recipe.specs.targets import (
    CsnSpec,
    InterestSharingSpec,
    KdSpec,
    MixtureSpec,
    PopularitySpec,
    TargetSpec,
    UniformSpec,
)
from softrec.recipe.specs.training import TrainingSpec
from softrec.scoring import Scoring
from softrec.targets.build.contexts import (
    Advance,
    Contexts,
    NeighbourSource,
    RememberedSource,
    TeacherSource,
    best_of_teacher,
    context_vectors,
)
from softrec.targets.build.item2vec import item_vectors
from softrec.targets.build.neighbours import context_means, load, nearest, save
from softrec.targets.build.propagation import PropagatedLabels, propagate
from softrec.targets.mixture import MixtureSource
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.training.lines import shows_bar
from softrec.types import Encoder, ItemVectors, TargetSource

VECTORS, LABELS, NEIGHBOURS = "vectors.npy", "labels", "neighbours.npy"
MASS_KEPT = 0.95  # of shared labels, below which the cut is worth a word


class CutWarning(UserWarning):
    """A soft target was cut to a few items and lost more than a little by it."""


@dataclass(frozen=True)
class Training:
    """What a source may be fitted on, and the model that is trained towards it."""

    split: Split
    data: Examples
    spec: TrainingSpec
    model: ModelSpec
    encoder: Encoder
    scoring: Scoring
    progress: bool | None = None

    @property
    def shown(self) -> bool:
        """Return whether progress is shown."""
        return shows_bar(self.progress)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Return what the training contexts and their labels depend on."""
        chosen = ("windows", "length", "stride")
        return {
            "softrec": version("softrec"),
            "data": describe(self.split),
            **{name: getattr(self.spec, name) for name in chosen},
        }

    @cached_property
    def contexts(self) -> Contexts:
        """Return the numbering of the training contexts."""
        return Contexts(self.data)

    @contextmanager
    def bar(self, what: str) -> Iterator[Advance]:
        """Show a progress bar over the training contexts on the error stream."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                   TimeRemainingColumn())  # fmt: skip
        with Progress(*columns, transient=True, disable=not self.shown) as progress:
            task = progress.add_task(what, total=self.data.n_contexts)
            yield lambda count: progress.advance(task, count)


def build_source(spec: TargetSpec, training: Training) -> TargetSource:
    """Return the source of the soft target that `spec` names; the label alone has none.

    Raises:
        RunError: if a teacher is missing or belongs to other data.
        RecipeError: if nothing builds such a target.
    """
    return wired(TARGETS, type(spec), f"target: {spec.name}")(spec, training)


def about(source: TargetSource | None) -> dict[str, Any]:
    """Return what is worth knowing of how a source was made, as plain data: {} for most."""
    if isinstance(source, MixtureSource):
        parts = {f"part {place}": about(part) for place, part in enumerate(source.sources, 1)}
        return {name: facts for name, facts in parts.items() if facts}
    return dict(source.about) if isinstance(source, RememberedSource) else {}


def _uniform(spec: UniformSpec, training: Training) -> TargetSource:
    return UniformTarget(training.split.train.n_items)


def _popularity(spec: PopularitySpec, training: Training) -> TargetSource:
    counts = torch.from_numpy(training.split.train.item_counts)
    return PopularityTarget(popularity(counts, temperature=spec.temperature, scale=spec.scale))


def _mixture(spec: MixtureSpec, training: Training) -> TargetSource:
    return MixtureSource(
        tuple(build_source(part.target, training) for part in spec.of),
        tuple(part.share for part in spec.of),
    )


def _interest_sharing(spec: InterestSharingSpec, training: Training) -> TargetSource:
    teacher = _teacher(spec.teacher, training)
    settings = spec.model_dump(exclude={"name", "alpha", "teacher"})

    def make(folder: Path) -> None:
        _, stop = training.data.histories()
        labels = training.data.sequences.items[stop]
        vectors = _vectors(teacher, training)
        propagate(vectors, labels, progress=training.shown, **settings).save(folder / LABELS)

    facts = {**training.facts, "teacher": teacher.weights_fingerprint, "settings": settings}
    labels = PropagatedLabels.load(artifact("interest-sharing", facts, make) / LABELS)
    _tell_of_cuts(labels, spec)
    return RememberedSource(training.contexts, labels.items, labels.probs, about=labels.about)


def _tell_of_cuts(labels: PropagatedLabels, spec: InterestSharingSpec) -> None:
    if labels.mass_kept >= MASS_KEPT:
        return
    near = (
        f" and, in {labels.sparse_clusters} of {labels.clusters} clusters, sharing with the "
        "nearest neighbours only"
        if labels.sparse_clusters
        else ""
    )
    warnings.warn(
        f"interest-sharing keeps {labels.mass_kept:.1%} of the shared labels, and scales that up: "
        f"the cut to {spec.keep} items{near} takes the rest; a larger target.keep keeps more",
        CutWarning,
        stacklevel=2,
    )


def _csn(spec: CsnSpec, training: Training) -> TargetSource:
    facts: dict[str, Any] = {**training.facts, "k": spec.k, "seed": spec.seed, "of": "other users"}
    if spec.teacher is not None:
        teacher = _teacher(spec.teacher, training)
        facts["teacher"] = teacher.weights_fingerprint
        vectors = partial(_vectors, teacher, training)
    else:
        settings = {"dim": spec.dim, "epochs": spec.epochs, "window": spec.window}
        facts["item2vec"] = settings
        vectors = partial(_item2vec, spec.seed, settings, training)

    def make(folder: Path) -> None:
        owner = training.contexts.users
        found = nearest(vectors(), spec.k, owner=owner, seed=spec.seed, progress=training.shown)
        save(found, folder / NEIGHBOURS)

    neighbours = load(artifact("neighbours", facts, make) / NEIGHBOURS)
    return NeighbourSource(
        training.contexts,
        neighbours,
        training.encoder,
        spec.temperature,
        training.spec.padding,
        training.scoring,
    )


def _kd(spec: KdSpec, training: Training) -> TargetSource:
    teacher = _teacher(spec.teacher, training)
    try:
        spec.check_teacher(teacher.recipe.model.name, training.model.name)
    except ValueError as error:
        raise RunError(f"{teacher.folder}: {error}") from error
    vectors, items = _vectors(teacher, training), _items(teacher)
    scoring = _scoring(teacher.recipe.loss)
    if spec.top is None:
        return TeacherSource(training.contexts, vectors, items, spec.temperature, scoring)
    k = min(spec.top, len(items.vectors))

    def make(folder: Path) -> None:
        with training.bar("best items of the teacher") as advance:
            best_of_teacher(vectors, items, spec.temperature, k, folder, advance, scoring)

    facts = {**training.facts, "teacher": teacher.weights_fingerprint, "k": k,
             "temperature": spec.temperature,
             "scoring": [scoring.kind, scoring.temperature]}  # fmt: skip
    folder = artifact("teacher-top", facts, make)
    best = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("items", "shares"))
    return RememberedSource(training.contexts, *best, n_items=len(items.vectors))


TARGETS: Mapping[type, Callable[[Any, Training], TargetSource]] = {
    UniformSpec: _uniform,
    PopularitySpec: _popularity,
    MixtureSpec: _mixture,
    InterestSharingSpec: _interest_sharing,
    CsnSpec: _csn,
    KdSpec: _kd,
}


# --- trained models ---


def _teacher(folder: Trained, training: Training) -> Run:
    """Return a finished run, after a check that it knows the same items from the same data."""
    assert isinstance(folder, str)  # recipes of runs have been resolved
    run = open_run(folder)
    own, given = run.facts["data"], describe(training.split)
    if own["fingerprint"] != given["fingerprint"]:
        raise RunError(
            f"the teacher in {folder} was trained on other items ({own['items']:,} of them, here "
            f"are {given['items']:,}); train it on the same data, cleaning and split"
        )
    run.check_data(training.split)
    return run


def _scoring(loss: LossSpec) -> Scoring:
    """Return the scores a model was trained with."""
    return Scoring(loss.score, loss.score_temperature)


def _items(teacher: Run) -> ItemVectors:
    """Return the teacher's item vectors, in float32 and without gradient."""
    items = teacher.encoder().items()
    bias = None if items.bias is None else items.bias.detach().float()
    return ItemVectors(items.vectors.detach().float(), bias)


def _vectors(teacher: Run, training: Training) -> np.ndarray:
    """Return the teacher's vectors of all training contexts, a memory map."""

    def make(folder: Path) -> None:
        encoder = teacher.encoder()
        if torch.cuda.is_available():
            encoder.cuda()
        with training.bar("vectors of the teacher") as advance:
            context_vectors(
                encoder,
                training.data,
                folder / VECTORS,
                length=teacher.recipe.training.length,
                scoring=_scoring(teacher.recipe.loss),
                advance=advance,
            )

    facts = {**training.facts, "teacher": teacher.weights_fingerprint}
    return np.load(artifact("teacher-vectors", facts, make) / VECTORS, mmap_mode="r")


def _item2vec(seed: int, settings: dict[str, Any], training: Training) -> np.ndarray:
    """Return the mean item2vec vector of every training context, (C, D)."""
    train = training.split.train
    vectors = item_vectors(train.sequences, train.n_items, seed=seed, **settings)
    return context_means(training.data.sequences.items, *training.data.histories(), vectors)
