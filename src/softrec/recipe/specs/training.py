"""How a model is trained and judged."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from softrec.evaluation.metrics import parse_metric
from softrec.settings import (
    Count,
    Decay,
    Positive,
    Rounds,
    Seed,
    Settings,
    Temperature,
    Text,
    Trained,
    Weight,
)

LONGEST_LIST = 100_000  # the largest cut-off of a metric


class TrainingSettings(Settings):
    """What is trained on, and how long."""

    windows: Literal["last", "positions", "prefixes", "sliding", "interactions"] = "positions"
    length: int = Field(default=50, ge=1, le=10_000, description="longest history a model reads")
    stride: Count | None = None
    padding_side: Literal["left", "right"] = "right"
    start: Trained | None = Field(
        default=None, description="a trained run or its recipe, whose weights come first"
    )
    epochs: Rounds = 100
    batch_size: int = Field(default=128, ge=1, le=10**7)
    lr: Positive = 1e-3
    weight_decay: Weight = 0.0
    optimizer: Literal["adam", "sparse-adam"] = Field(
        default="adam", description="sparse-adam moves only the rows of tables a batch touches"
    )
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    patience: Rounds = 5
    monitor: Text = "ndcg@10"
    precision: Literal["32-true", "bf16-true", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    checkpoint_minutes: Positive = 5.0
    checkpoint_steps: Count | None = None


class EvaluationSettings(Settings):
    """How a ranking is judged."""

    metrics: tuple[Text, ...] = Field(
        max_length=100, default=("recall@10", "ndcg@10", "mrr@10", "recall@20", "ndcg@20")
    )
    mask_seen: bool | None = Field(
        default=None,
        description="leave out items of the history, and cases that ask for them; by default "
        "unless the log has repeats",
    )
    negatives: Count | None = Field(
        default=None,
        description="rank among this many sampled items that are new to the user, not among all",
    )
    negatives_seed: Seed = 0
    score: Literal["trained", "inner", "cosine", "euclidean"] = Field(
        default="trained", description="how items are ranked; by default as the model was trained"
    )

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for metric in metrics:
            _, cutoff = parse_metric(metric)
            if cutoff > LONGEST_LIST:
                raise ValueError(f"no list is longer than {LONGEST_LIST:,}, got {metric!r}")
        return metrics


class InterestSettings(Settings):
    """TiMiRec: the interest that the label calls for is predicted from the history alone."""

    weight: Weight = Field(default=1.0, description="0: without distillation")
    temperature: Temperature = 0.5
    form: Literal["kl", "ce"] = "kl"
    stop_gradient: bool = Field(
        default=True, description="false: the interests and items learn from it, too"
    )
