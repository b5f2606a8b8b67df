"""What a model is trained towards."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from softrec.recipe.specs.base import (
    Alpha,
    Count,
    Decay,
    Positive,
    Rounds,
    Seed,
    Spec,
    Temperature,
    Trained,
    Width,
)


class OneHotSpec(Spec):
    """The label alone."""

    name: Literal["one-hot"] = "one-hot"

    @property
    def soft_mass(self) -> float:
        """Return the share of the target that is not on the label by construction."""
        return 0.0


class UniformSpec(Spec):
    """Label smoothing: alpha of the mass, spread evenly."""

    name: Literal["uniform"]
    alpha: Alpha = 0.1

    @property
    def soft_mass(self) -> float:
        """Return alpha."""
        return self.alpha


class PopularitySpec(Spec):
    """POP+: the target is (popularity + label) / 2 with weight alpha."""

    name: Literal["pop+"]
    alpha: Alpha = 0.4
    temperature: Temperature = 1.0
    scale: Literal["log", "share", "count", "relative"] = "log"

    @property
    def soft_mass(self) -> float:
        """Return alpha / 2, for half of POP+'s target is the label."""
        return self.alpha / 2


class InterestSharingSpec(Spec):
    """DesoRec's target: labels shared among training examples that a base model finds similar."""

    name: Literal["interest-sharing"]
    alpha: Alpha = Field(default=0.3, description="weight of the shared labels (lambda1)")
    teacher: Trained = Field(
        description="a trained run or its recipe, whose vectors tell who is similar"
    )
    clusters: Rounds = 16
    tau: Positive = Field(default=2.0, description="distance at which similarity fades")
    damping: Decay = Field(default=0.5, description="share passed on in each round")
    rounds: int | None = Field(
        default=20, ge=0, le=10**6, description="null: until nothing changes"
    )
    keep: Count = Field(default=300, description="items kept of each shared label")
    neighbours: Count | None = Field(
        default=None, description="share with so many nearest only; by default all or 64"
    )
    seed: Seed = 0

    @property
    def soft_mass(self) -> float:
        """Return alpha, of which the shared label gives half or more back to the label."""
        return self.alpha


class CsnSpec(Spec):
    """CSN: the target is (prediction for a similar context + label) / 2 with weight alpha."""

    name: Literal["csn"]
    alpha: Alpha = 0.4
    temperature: Temperature = 1.0
    k: int = Field(default=10, ge=1, le=10_000, description="neighbours of each context")
    teacher: Trained | None = Field(
        default=None, description="a trained run or its recipe, instead of item2vec"
    )
    dim: Width = Field(default=128, description="of item2vec")
    epochs: Rounds = Field(default=10, description="of item2vec")
    window: Count | None = Field(default=None, description="of item2vec; null: the sequence")
    seed: Seed = 0

    @property
    def soft_mass(self) -> float:
        """Return alpha / 2, for half of CSN's target is the label."""
        return self.alpha / 2


class KdSpec(Spec):
    """SKD, CKD: the target is (prediction of a teacher + label) / 2 with weight alpha."""

    name: Literal["kd", "skd", "ckd"]
    alpha: Alpha = 0.4
    temperature: Temperature = 1.0
    teacher: Trained = Field(description="a trained run or its recipe")
    top: Count | None = Field(
        default=None, description="only the best so many, the rest spread evenly"
    )

    @property
    def soft_mass(self) -> float:
        """Return alpha / 2, for half of the target is the label."""
        return self.alpha / 2

    def check_teacher(self, teacher: str, model: str) -> None:
        """Refuse a teacher whose model is not what the name of the target says.

        Raises:
            ValueError: if skd has another architecture, or ckd the same.
        """
        if self.name == "skd" and teacher != model:
            raise ValueError(
                f"skd is distillation from the same architecture, but the teacher is a {teacher} "
                f"and the model a {model}; use target ckd or kd"
            )
        if self.name == "ckd" and teacher == model:
            raise ValueError(
                f"ckd is distillation across architectures, but the teacher is a {teacher} too; "
                "use target skd or kd"
            )


class ShareSpec(Spec):
    """One part of a mixture."""

    share: float = Field(gt=0, le=1)
    target: Annotated[
        UniformSpec | PopularitySpec | InterestSharingSpec | CsnSpec | KdSpec,
        Field(discriminator="name"),
    ]


class MixtureSpec(Spec):
    """Several soft targets in one; alpha is the mass of all together."""

    name: Literal["mixture"]
    alpha: Alpha = 0.2
    of: tuple[ShareSpec, ...] = Field(min_length=1, max_length=100)

    @property
    def soft_mass(self) -> float:
        """Return alpha."""
        return self.alpha

    @model_validator(mode="after")
    def _sums_to_one(self) -> MixtureSpec:
        total = sum(part.share for part in self.of)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of a mixture sum to 1, these to {total:g}")
        return self


TargetSpec = Annotated[
    OneHotSpec
    | UniformSpec
    | PopularitySpec
    | InterestSharingSpec
    | CsnSpec
    | KdSpec
    | MixtureSpec,
    Field(discriminator="name"),
]
