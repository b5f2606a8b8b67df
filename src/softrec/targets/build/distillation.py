"""The settings of kd, skd and ckd: the prediction of a trained model is the soft target."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softrec.errors import RunError
from softrec.settings import Alpha, Count, Temperature, Trained, setting
from softrec.targets.build.contexts import (
    Contexts,
    RememberedSource,
    TeacherSource,
    best_of_teacher,
    probabilities_in,
)
from softrec.targets.settings import ALPHAS, FLATTER, HALF, TEACHER, TEMPERATURES, HalfSettings
from softrec.training_data import TrainingData

ANY, SAME, OTHER = "kd", "skd", "ckd"
TOP_OF_COUNTED = 100
"""How many items are stored per context of a counted teacher, which has no vectors."""


class DistillationSettings(HalfSettings, name=(ANY, SAME, OTHER)):
    """The prediction of a trained model; skd: of the same architecture, ckd: another, kd: any."""

    alpha: Alpha = setting(0.4, HALF, common=True, search=ALPHAS)
    temperature: Temperature = setting(1.0, FLATTER, common=True, search=TEMPERATURES)
    teacher: Trained = setting(
        text=f"{TEACHER}; or a counted model by its name, such as ease or item-knn(k=50)",
        common=True,
    )
    top: Count | None = setting(
        None,
        "keep this many best items, the remaining probability evenly on the others; by default "
        f"all, and {TOP_OF_COUNTED} of a teacher that is counted, such as item-knn",
        common=True,
    )

    @property
    def in_parts(self) -> bool:
        """Return whether the best items are kept; all of a teacher needs all of its vectors."""
        return self.top is not None

    def check_teacher(self, teacher: str, model: str) -> None:
        """Refuse a teacher whose architecture does not fit the name of the target."""
        if self.name == SAME and teacher != model:
            raise ValueError(
                f"{SAME} is distillation from the same architecture, but the teacher is a "
                f"{teacher} and the model is a {model}; use the target {OTHER} or {ANY}"
            )
        if self.name == OTHER and teacher == model:
            raise ValueError(
                f"{OTHER} is distillation across architectures, but the teacher is a {teacher}, "
                f"like the model; use the target {SAME} or {ANY}"
            )

    def build(self, training: TrainingData) -> TeacherSource | RememberedSource:
        """Return the teacher's predictions: its softmax, or only its best items if `top` is set."""
        teacher = training.teacher(self.teacher)
        try:
            self.check_teacher(teacher.model, training.model)
        except ValueError as error:
            raise RunError(f"{teacher.folder}: {error}") from error
        contexts = Contexts(training.data)
        if teacher.counted:
            k = min(self.top or TOP_OF_COUNTED, training.n_items)
            best = teacher.best(k, self.temperature)
            return RememberedSource(contexts, *best, n_items=training.n_items)
        vectors, items, scoring = teacher.vectors(), teacher.items(), teacher.scoring
        if self.top is None:
            return TeacherSource(contexts, vectors, items, self.temperature, scoring)
        k = min(self.top, len(items.vectors))

        def make(folder: Path) -> None:
            with training.bar("best items of the teacher") as advance:
                best_of_teacher(vectors, items, self.temperature, k, folder, advance, scoring)

        facts = {**training.facts, "teacher": teacher.fingerprint, "k": k,
                 "temperature": self.temperature,
                 "scoring": [scoring.kind, scoring.temperature]}  # fmt: skip
        folder = training.artifact("teacher-top", facts, make)
        best = np.load(folder / "items.npy", mmap_mode="r")
        probs = np.load(probabilities_in(folder), mmap_mode="r")
        return RememberedSource(contexts, best, probs, n_items=len(items.vectors))
