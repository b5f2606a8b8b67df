"""How far from the target a prediction is."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from softrec.recipe.specs.base import Positive, Spec, Temperature, Weight


class _LossSpec(Spec):
    score: Literal["inner", "cosine", "euclidean"] = Field(
        default="inner", description="how a user and an item vector make a score"
    )
    score_temperature: Temperature = Field(
        default=1.0, description="scores are divided by it in training"
    )
    l2: Weight = Field(
        default=0.0, description="on the vectors a batch uses; weight_decay is on all"
    )


class MixedSpec(_LossSpec):
    """Cross-entropy with the soft target, the label in the denominator (SoftRec; SSM)."""

    name: Literal["mixed"] = "mixed"


class DecoupledSpec(_LossSpec):
    """DesoRec: label or not, and which other, with weights of their own."""

    name: Literal["decoupled"]
    balance: float | Literal["red-line"] = Field(
        default=0.5,
        description="the part of label or not (lambda2); red-line: what makes it the mixed loss "
        "in the mean",
    )

    @field_validator("balance")
    @classmethod
    def _a_share(cls, balance: float | Literal["red-line"]) -> float | Literal["red-line"]:
        if isinstance(balance, float) and not 0 <= balance <= 1:
            raise ValueError(f"expected a number from 0 to 1 or red-line, got {balance}")
        return balance


class SlSpec(_LossSpec):
    """SL: the softmax loss on cosines, the label not in the denominator."""

    name: Literal["sl"]
    score: Literal["inner", "cosine", "euclidean"] = "cosine"
    score_temperature: Temperature = 0.1


class BslSpec(SlSpec):
    """BSL: SL with another weight on the negatives, or another shape of the positives."""

    name: Literal["bsl"]  # pyright: ignore[reportIncompatibleVariableOverride]
    mode: Literal["reweight", "multi", "single", "bilateral"] = "reweight"
    exponent: float = Field(default=1.1, gt=0, le=1000, description="weight of the negatives (t2)")
    positive_temperature: Temperature = Field(
        default=0.1, description="of mode bilateral (tau1); score_temperature is its tau2"
    )


class BprSpec(_LossSpec):
    """BPR, or weighted-bpr, whose negatives count by their softmax."""

    name: Literal["bpr", "weighted-bpr"]


class BceSpec(_LossSpec):
    """Binary cross-entropy of the label and the mean negative; bce-sum sums the negatives."""

    name: Literal["bce", "bce-sum", "mse"]


class GbceSpec(_LossSpec):
    """gBCE of gSASRec: binary cross-entropy that knows how few negatives were drawn."""

    name: Literal["gbce"]
    calibration: float = Field(default=0.75, ge=0, le=1)


class CclSpec(_LossSpec):
    """CCL of SimpleX: negatives count above a margin only."""

    name: Literal["ccl"]
    score: Literal["inner", "cosine", "euclidean"] = "cosine"
    margin: float = Field(default=0.9, ge=-1, le=1)
    negative_weight: Positive = 150.0


class CmlSpec(_LossSpec):
    """CML: a hinge on squared distances within the unit ball."""

    name: Literal["cml"]
    score: Literal["inner", "cosine", "euclidean"] = "euclidean"
    margin: Positive = 0.5


LossSpec = Annotated[
    MixedSpec | DecoupledSpec | SlSpec | BslSpec | BprSpec | BceSpec | GbceSpec | CclSpec | CmlSpec,
    Field(discriminator="name"),
]
PAIRWISE = (BprSpec, BceSpec, GbceSpec, CclSpec, CmlSpec)
SOFTMAX = ("mixed", "decoupled", "sl", "bsl")
