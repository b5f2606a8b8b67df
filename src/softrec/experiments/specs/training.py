"""How a model is trained and judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from softrec.evaluation.metrics import parse_metric
from softrec.experiments.specs.base import Spec, Trained


class TrainingSpec(Spec):
    """What is trained on, and how long."""

    windows: Literal["last", "positions", "prefixes", "pieces", "interactions"] = "positions"
    length: int = Field(default=50, ge=1, description="longest history a model reads")
    stride: int | None = Field(default=None, ge=1)
    padding: Literal["left", "right"] = "right"
    start: Trained | None = Field(
        default=None, description="a trained run or its recipe, whose weights come first"
    )
    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=128, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    optimizer: Literal["adam", "sparse-adam"] = Field(
        default="adam", description="sparse-adam moves only the rows of tables a batch touches"
    )
    betas: tuple[float, float] = (0.9, 0.999)
    patience: int = Field(default=5, ge=1)
    monitor: str = "ndcg@10"
    precision: Literal["32-true", "bf16-true", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    checkpoint_steps: int | None = Field(default=None, ge=1)


class EvaluationSpec(Spec):
    """How a ranking is judged."""

    metrics: tuple[str, ...] = ("recall@10", "ndcg@10", "mrr@10", "recall@20", "ndcg@20")
    mask_seen: bool = True
    negatives: int | None = Field(
        default=None,
        ge=1,
        description="rank against so many drawn items a user never took, not against all",
    )
    negatives_seed: int = 0
    score: Literal["trained", "inner", "cosine", "euclidean"] = Field(
        default="trained", description="how items are ranked; by default as the model was trained"
    )

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for metric in metrics:
            parse_metric(metric)
        return metrics


class InterestSpec(Spec):
    """TiMiRec: the interest that the label calls for is foreseen from the history alone."""

    weight: float = Field(default=1.0, ge=0, description="0: without distillation")
    temperature: float = Field(default=0.5, gt=0)
    form: Literal["kl", "ce"] = "kl"
    stop_gradient: bool = Field(
        default=True, description="false: the interests and items learn from it, too"
    )
