"""What candidates are: items with counts and corrections, and their settings in a recipe."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor

from softrec.registry import Chosen, Registry
from softrec.settings import setting
from softrec.training_data import TrainingData
from softrec.types import Batch


class Candidates(NamedTuple):
    """The candidates of a batch, shared by its rows or drawn for each.

    Shared ones are distinct and ascending, (M,); `hits` and `masked` then say what a row sees
    otherwise. With (P, M), a count of 0 leaves a candidate out.
    """

    items: Tensor  # (M,) or (P, M) int64
    counts: Tensor  # same shape, how often each was drawn
    correction: Tensor | None = None  # same shape, -log E_j; None without correction
    hits: Tensor | None = None  # (P,) how often the row's label stays a negative; None: never
    masked: tuple[Tensor, Tensor] | None = None  # pairs (row, place among M) left out


class StepSize(NamedTuple):
    """What the products of a training step with the items are made of."""

    n_items: int  # N
    width: int  # D
    labels: int  # P, in the mean


class CandidateSource(Protocol):
    """Draws the candidates of a batch, by torch's global random numbers."""

    def __call__(self, batch: Batch) -> Candidates:
        """Return the negatives that the labels of `batch` are scored against."""
        ...


# --- in a recipe ---

CANDIDATES: Registry[type[CandidatesSettings]] = Registry("candidates", "softrec.candidates")


class CandidatesSettings(Chosen):
    """Candidates as a recipe names them: a subclass has settings as fields, and `build`."""

    registry: ClassVar[Registry[Any]] = CANDIDATES

    def build(self, training: TrainingData, *, softmax: bool) -> CandidateSource | None:
        """Return what draws the candidates of a batch; None where they are all items.

        Args:
            training: the training part.
            softmax: whether they are for a softmax loss.
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method build(training, softmax)")

    def decided(self, step: StepSize) -> tuple[CandidatesSettings, str]:
        """Return what is built for a step of this size, and the reason, "" where none is needed."""
        return self, ""


class FullSettings(CandidatesSettings, name="full"):
    """All items."""

    def build(self, training: TrainingData, *, softmax: bool) -> None:
        """Return None: nothing is drawn."""


class DrawnSettings(CandidatesSettings):
    """Candidates that are drawn, of which losses may be corrected for how likely each was."""

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
        """Refuse a soft target over candidates that a row leaves out.

        Raises:
            ValueError: with the remedy.
        """

    def corrects(self, *, softmax: bool) -> bool:
        """Return whether losses are corrected."""
        return softmax if self.correction is None else self.correction

    def number_of(self, n_items: int) -> int | None:
        """Return how many items are drawn of a catalogue; None if that is not known before."""
        return None
