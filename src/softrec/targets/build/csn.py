"""The settings of csn: the model's own prediction for a similar context is the soft target."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from softrec.settings import Alpha, Count, Rounds, Seed, Temperature, Trained, Width, setting
from softrec.targets.build.contexts import Contexts, NeighbourSource
from softrec.targets.build.item2vec import item_vectors
from softrec.targets.build.neighbours import context_means, load, nearest, save
from softrec.targets.settings import ALPHAS, FLATTER, HALF, TEACHER, TEMPERATURES, HalfSettings
from softrec.training_data import TrainingData

NEIGHBOURS = "neighbours.npy"


class CsnSettings(HalfSettings, name="csn"):
    """The model's prediction for a similar context (SoftRec); half of the target is the label."""

    alpha: Alpha = setting(0.4, HALF, common=True, search=ALPHAS)
    temperature: Temperature = setting(1.0, FLATTER, common=True, search=TEMPERATURES)
    k: int = setting(10, "neighbours of each context", common=True, ge=1, le=10_000)
    teacher: Trained | None = setting(None, TEACHER, common=True)
    dim: Width = setting(128, "width of the vectors of item2vec, used without a teacher")
    epochs: Rounds = setting(10, "epochs of item2vec")
    window: Count | None = setting(None, "window of item2vec; by default the whole sequence")
    seed: Seed = setting(0, "seed of item2vec and of the search for neighbours")

    @property
    def with_prior(self) -> bool:
        """Return False: the prediction is of vectors, which do not have a prior."""
        return False

    @property
    def packages(self) -> tuple[str, ...]:
        """Return faiss, which finds neighbours, and gensim if item2vec is needed."""
        return ("faiss",) if self.teacher is not None else ("faiss", "gensim")

    def build(self, training: TrainingData) -> NeighbourSource:
        """Return a source with the neighbours of all contexts, computed now or from the cache."""
        facts: dict[str, Any] = {**training.facts, "k": self.k, "seed": self.seed}
        vectors, of = self._vectors(training)
        contexts = Contexts(training.data)

        def make(folder: Path) -> None:
            found = nearest(
                vectors(), self.k, owner=contexts.users, seed=self.seed, progress=training.shown
            )
            save(found, folder / NEIGHBOURS)

        facts |= {"of": "other users", **of}
        neighbours = load(training.artifact("neighbours", facts, make) / NEIGHBOURS)
        return NeighbourSource(
            contexts, neighbours, training.encoder, self.temperature, training.padding_side,
            training.scoring,
        )  # fmt: skip

    def _vectors(self, training: TrainingData) -> tuple[Callable[[], np.ndarray], dict[str, Any]]:
        """Return a function that makes the vectors of all contexts, and what they depend on."""
        if self.teacher is not None:
            teacher = training.teacher(self.teacher)
            return teacher.vectors, {"teacher": teacher.fingerprint}
        settings = {"dim": self.dim, "epochs": self.epochs, "window": self.window}
        return partial(_item2vec, self.seed, settings, training), {"item2vec": settings}


def _item2vec(seed: int, settings: dict[str, Any], training: TrainingData) -> np.ndarray:
    """Return the mean item2vec vector of every training context, (C, D)."""
    train = training.split.train
    vectors = item_vectors(train.sequences, train.n_items, seed=seed, **settings)
    return context_means(training.data.sequences.items, *training.data.histories(), vectors)
