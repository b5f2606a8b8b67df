"""What every label is told from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from softrec.recipe.specs.base import Rounds, Spec


class FullSpec(Spec):
    """Every label is told from all items."""

    name: Literal["full"] = "full"


class SampledSpec(Spec):
    """Every label is told from a sample of the items."""

    name: Literal["sampled"]
    ratio: float | None = Field(default=None, gt=0, le=1, description="share of the items drawn")
    number: Rounds | None = Field(default=None, description="or how many are drawn")
    sampler: Literal["uniform", "popularity", "log-uniform"] = "uniform"
    per_row: bool = Field(default=False, description="draw for each row, not for the batch")
    mask_positives: bool = Field(
        default=False, description="draw only what the user did not take in training"
    )
    correction: bool | None = Field(
        default=None, description="logQ; by default for softmax losses and not for others"
    )
    soft: Literal["restricted", "exact"] = Field(
        default="restricted", description="what becomes of the soft target's other items"
    )

    @model_validator(mode="after")
    def _one_size(self) -> SampledSpec:
        if (self.ratio is None) == (self.number is None):
            raise ValueError("sampled candidates need a ratio (0.2) or a number (800), one of them")
        return self

    @model_validator(mode="after")
    def _of_each_user(self) -> SampledSpec:
        if self.mask_positives and not (self.per_row and self.sampler == "uniform"):
            raise ValueError(
                "mask_positives draws for each user from the items they did not take, evenly; it "
                "needs per_row: true and sampler: uniform"
            )
        return self

    def size(self, n_items: int) -> int:
        """Return how many items are drawn of a catalogue."""
        drawn = int((self.ratio or 0) * n_items) if self.number is None else self.number
        return max(1, drawn)


class InBatchSpec(Spec):
    """Every label is told from the other labels of the batch."""

    name: Literal["in-batch"]
    correction: bool | None = Field(default=None, description="for popularity, as in sampled")
    mask_hits: bool = Field(default=True, description="leave out copies of the label")
    mask_positives: bool = Field(default=False, description="leave out the user's other items")
    soft: Literal["restricted", "exact"] = "restricted"


CandidatesSpec = Annotated[FullSpec | SampledSpec | InBatchSpec, Field(discriminator="name")]
