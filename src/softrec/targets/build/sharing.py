"""The settings of interest-sharing (DesoRec): labels propagated among similar contexts."""

from __future__ import annotations

import warnings
from pathlib import Path

from softrec.settings import Alpha, Count, Decay, Positive, Rounds, Seed, Trained, setting
from softrec.targets.build.contexts import Contexts, RememberedSource
from softrec.targets.build.propagation import PropagatedLabels, propagate
from softrec.targets.settings import ALPHAS, TEACHER, WEIGHT, TargetSettings
from softrec.training_data import TrainingData

LABELS = "labels"
MASS_KEPT = 0.95  # fraction of the labels' probability; if less is kept, there is a warning


class CutWarning(UserWarning):
    """A soft target was cut to a few items and lost more than 5 % of its probability."""


class InterestSharingSettings(TargetSettings, name="interest-sharing"):
    """Labels propagated among training contexts that a base model finds similar (DesoRec)."""

    alpha: Alpha = setting(0.3, WEIGHT, common=True, search=ALPHAS)
    teacher: Trained = setting(text=TEACHER, common=True)
    clusters: Rounds = setting(16, "clusters of contexts; labels stay within one", common=True)
    tau: Positive = setting(
        2.0, "scale of the distance, larger is more similar", common=True, search="0.5..8:log"
    )
    damping: Decay = setting(0.5, "fraction of the labels that a round passes on")
    rounds: int | None = setting(
        20, "rounds of propagation; null: until it converges", ge=0, le=10**6
    )
    keep: Count = setting(300, "largest entries kept of each propagated label", common=True)
    neighbours: Count | None = setting(
        None,
        "propagate among this many nearest contexts only; by default among all, or 64 where a "
        "cluster is too large",
    )
    seed: Seed = setting(0, "seed of the clusters")

    @property
    def packages(self) -> tuple[str, ...]:
        """Return faiss, which finds clusters and neighbours."""
        return ("faiss",)

    @property
    def in_parts(self) -> bool:
        """Return True."""
        return True

    def build(self, training: TrainingData) -> RememberedSource:
        """Return the propagated labels, computed from the teacher's vectors or from the cache."""
        teacher = training.teacher(self.teacher)
        settings = self.model_dump(exclude={"name", "alpha", "mass", "teacher"})

        def make(folder: Path) -> None:
            _, stop = training.data.histories()
            labels = training.data.sequences.items[stop]
            made = propagate(teacher.vectors(), labels, progress=training.shown, **settings)
            made.save(folder / LABELS)

        facts = {**training.facts, "teacher": teacher.fingerprint, "settings": settings}
        folder = training.artifact(self.names[0], facts, make)
        labels = PropagatedLabels.load(folder / LABELS)
        self._warn_of_cuts(labels)
        contexts = Contexts(training.data)
        return RememberedSource(contexts, labels.items, labels.probs, about=labels.about)

    def _warn_of_cuts(self, labels: PropagatedLabels) -> None:
        if labels.mass_kept >= MASS_KEPT:
            return
        near = (
            f" and because {labels.sparse_clusters} of {labels.clusters} clusters propagate "
            "labels among the nearest neighbours only"
            if labels.sparse_clusters
            else ""
        )
        warnings.warn(
            f"{self.name} keeps {labels.mass_kept:.1%} of the propagated labels' probability, "
            f"because of the limit of {self.keep} items{near}, and rescales it to sum to 1; "
            "a larger target.keep keeps more",
            CutWarning,
            stacklevel=2,
        )
