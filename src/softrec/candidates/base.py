"""Candidates: items with counts and corrections; and the base classes of their settings."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor

from softrec.registry import Chosen, Registry
from softrec.settings import setting
from softrec.training_data import TrainingData
from softrec.types import Batch


class Candidates(NamedTuple):
    """The candidates of a batch, the same for all rows or sampled for each row.

    Candidates that are the same for all rows are distinct and ascending, (M,), and `hits` and
    `masked` say where a row differs. With (P, M), a candidate with count 0 is left out, and counts
    and corrections that are the same for all rows are (1, M).
    """

    items: Tensor  # (M,) or (P, M) int64
    counts: Tensor  # same shape, how often each was sampled
    correction: Tensor | None = None  # same shape, -log E_j; None without correction
    hits: Tensor | None = None  # (P,) how often the row's label counts as a negative; None: never
    masked: tuple[Tensor, Tensor] | None = None  # pairs (row, place among M) that are left out


class StepSize(NamedTuple):
    """The sizes of a training step's products with the items."""

    n_items: int  # N
    width: int  # D
    labels: int  # P, in the mean


class CandidateSource(Protocol):
    """Samples the candidates of a batch, with torch's global random numbers."""

    def __call__(self, batch: Batch) -> Candidates:
        """Return the candidates for `batch`."""
        ...


# --- in a recipe ---

CANDIDATES: Registry[type[CandidatesSettings]] = Registry("candidates", "softrec.candidates")


class CandidatesSettings(Chosen):
    """The settings of candidates in a recipe: a subclass has settings as fields, and `build`."""

    registry: ClassVar[Registry[Any]] = CANDIDATES

    def build(self, training: TrainingData, *, softmax: bool) -> CandidateSource | None:
        """Return the source of the candidates; None if they are all items.

        Args:
            training: the training part.
            softmax: whether the loss is a softmax loss.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method build(training, softmax)")

    def negatives_in(self, training: TrainingData, *, softmax: bool) -> int:
        """Return how many negatives of a row the sum of the softmax has, or estimates.

        Args:
            training: the training part.
            softmax: whether the loss is a softmax loss.
        """
        return training.n_items - 1

    def decided(self, step: StepSize) -> tuple[CandidatesSettings, str]:
        """Return the settings to use for a step of this size, and the reason, which may be ""."""
        return self, ""


class FullSettings(CandidatesSettings, name="full"):
    """All items."""

    def build(self, training: TrainingData, *, softmax: bool) -> None:
        """Return None, because nothing is sampled."""


class DrawnSettings(CandidatesSettings):
    """The settings of sampled and in-batch candidates, with the log Q correction."""

    correction: bool | None = setting(
        None,
        "correct scores for the expected count of a candidate (log Q correction); by default for "
        "softmax losses only",
    )
    soft: Literal["restricted", "exact"] = setting(
        "restricted",
        "the soft target restricted to the candidates, or exact over the whole catalogue",
    )

    def check_soft(self) -> None:
        """Refuse a soft target if rows leave out candidates to which it may give probability.

        Raises:
            ValueError: if they do; the message says how to fix it.
        """

    def corrects(self, *, softmax: bool) -> bool:
        """Return whether the scores are corrected."""
        return softmax if self.correction is None else self.correction

    def number_of(self, n_items: int) -> int | None:
        """Return how many items are sampled from a catalogue; None if it is not known before."""
        return None

    def negatives_in(self, training: TrainingData, *, softmax: bool) -> int:
        """Return all other items if scores are corrected, else as many as are sampled."""
        drawn, others = self.number_of(training.n_items), training.n_items - 1
        return others if drawn is None or self.corrects(softmax=softmax) else drawn
