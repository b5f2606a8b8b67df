"""The settings of training and evaluation in a recipe."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import field_validator, model_validator

from softrec.evaluation.metrics import metric_names, parse_metric
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
    setting,
)

NewRows = Literal["fresh", "neighbours"]
Refit = Literal["none", "valid", "all"]
PROCESSES = ("devices", "nodes", "shards")  # the fields that do not change what is trained
LONGEST_LIST = 100_000  # the largest cut-off of a metric


class TrainingSettings(Settings):
    """The training examples, the optimiser, and how long to train."""

    windows: Literal["last", "positions", "prefixes", "sliding", "interactions"] = setting(
        "positions",
        "which items of a sequence are predicted, see docs/data.md; interactions for models that "
        "read no history",
        common=True,
    )
    length: int = setting(
        50,
        "length of the longest history that a model reads, in items",
        common=True,
        ge=1,
        le=10_000,
    )
    stride: Count | None = setting(
        None,
        "for sliding windows: how many items apart two windows start; by default length",
        common=True,
    )
    padding_side: Literal["left", "right"] = setting(
        "right",
        "the padded side of a batch; it does not change the results of the models here",
        common=True,
    )
    start: Trained | None = setting(
        None, "a trained run or its recipe; the model is initialised with its weights", common=True
    )
    new_rows: NewRows = setting(
        "fresh",
        "with start: the first rows of users and items that it does not know: random, or the mean "
        "of the rows of their neighbours in the training part",
    )
    epochs: Rounds = setting(100, "maximum number of epochs", common=True)
    batch_size: int | None = setting(
        None,
        "examples (rows) in a batch, of all processes together; by default 128, or fewer if these "
        "have more than 768 labels",
        common=True,
        ge=1,
        le=10**7,
    )
    lr: Positive = setting(
        1e-3,
        "learning rate; some models have another default, see docs/models.md",
        common=True,
        search="1e-4..1e-2:log",
    )
    weight_decay: Weight = setting(
        0.0,
        "L2 penalty of Adam, except on biases",
        common=True,
        search="0,1e-7,1e-6,1e-5,1e-4",
    )
    optimizer: Literal["adam", "adamw", "sparse-adam"] = setting(
        "adam",
        "adamw: weight_decay is no part of the gradient; sparse-adam updates only the table rows "
        "that occur in a batch",
    )
    schedule: Literal["constant", "cosine", "plateau"] = setting(
        "constant",
        "the learning rate: cosine falls to 0 in the last of `epochs`, plateau is halved where "
        "validation no longer rises",
    )
    warmup: int = setting(0, "steps in which the learning rate rises to lr", ge=0, le=10**9)
    plateau: int = setting(
        3, "schedule plateau: epochs without improvement before the rate is halved", ge=1, le=10**6
    )
    clip: Positive | None = setting(
        None, "largest norm of the gradient of a step; by default it is not limited"
    )
    ema: Decay | None = setting(
        None,
        "decay of an exponential moving average of the weights, such as 0.999; the average is "
        "validated and kept; by default there is none",
    )
    betas: tuple[Decay, Decay] = setting((0.9, 0.999), "decay of Adam's two averages")
    minutes: Positive | None = setting(
        None,
        "how long trials, epochs and refit may take together, in whole epochs, at least one each; "
        "by default as long as they take",
        common=True,
    )
    patience: Rounds = setting(10, "epochs without improvement before it stops", common=True)
    monitor: Text = setting(
        "ndcg@10", "the validation metric that chooses the best epoch", common=True
    )
    refit: Refit = setting(
        "none",
        "train once more, for as many epochs as the best one took: valid, with the validation "
        "part, and the test is of these weights; or all, with the test part, too, for serving, and "
        "all metrics are of the training before",
        common=True,
    )
    precision: Literal["32-true", "bf16", "bf16-true", "64-true"] = setting(
        "32-true",
        "of the numbers in training: 32, 16 or 64 bits; bf16: 32 bits, products of 16 on a "
        "processor with AMX or AVX512-BF16",
        common=True,
    )
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = setting(
        "auto", "the device, in Lightning's terms", common=True
    )
    devices: int = setting(
        1,
        "processes that train together on a machine, each with a part of every batch, on a device "
        "or core of its own",
        common=True,
        ge=1,
        le=1024,
    )
    nodes: int = setting(
        1, "machines that train together, each with as many processes", common=True, ge=1, le=10_000
    )
    shards: int = setting(
        1,
        "parts of the item table, its gradient and its optimiser state, each in a process of its "
        "own; as many processes are started, or devices x nodes, a multiple of it",
        common=True,
        ge=1,
        le=1024,
    )
    deterministic: bool = setting(
        True,
        "on a CUDA device: the same numbers each time with the same seed, and after a kill; false "
        "is faster, and neither holds",
    )
    checkpoint_minutes: Positive = setting(
        5.0,
        "minutes between checkpoints; after a kill, at most this much work is lost",
        common=True,
    )
    checkpoint_steps: Count | None = setting(
        None, "steps between checkpoints, instead of minutes", common=True
    )

    @model_validator(mode="after")
    def _fits_together(self) -> TrainingSettings:
        if self.schedule == "plateau" and self.warmup:
            raise ValueError(
                f"schedule plateau has no warm-up, got warmup {self.warmup}; choose constant or "
                "cosine, or leave out warmup"
            )
        if self.schedule == "cosine" and self.minutes is not None:
            raise ValueError(
                f"schedule cosine falls to 0 in the last of {self.epochs} epochs, and minutes may "
                "end the training before; choose constant or plateau, or leave out minutes"
            )
        if self.clip is not None and self.optimizer == "sparse-adam":
            raise ValueError(
                "clip needs the gradients of all rows, which sparse-adam does not have; choose "
                "optimizer adam or adamw, or leave out clip"
            )
        return self


class EvaluationSettings(Settings):
    """The ranking of validation and test, and its metrics."""

    metrics: tuple[Text, ...] = setting(
        ("recall@10", "ndcg@10", "mrr@10", "recall@20", "ndcg@20"),
        "the metrics of each user's ranking; must contain training.monitor",
        common=True,
        max_length=100,
    )
    mask_seen: bool | None = setting(
        None,
        "true: items of the history are masked, and the task is to predict new ones; false: all "
        "items are ranked; by default true unless the log has repeats, see docs/data.md",
        common=True,
    )
    negatives: Count | None = setting(
        None, "rank among this many sampled items that are new to the user; by default among all"
    )
    negatives_seed: Seed = setting(0, "seed of that sample, the same in validation and test")
    calibration: bool = setting(
        False,
        "whether the softmax is measured at test, as trained and with a temperature fitted on "
        "validation: NLL, Brier score, calibration error; takes about ten rankings",
        common=True,
    )
    score: Literal["trained", "inner", "cosine", "euclidean"] = setting(
        "trained", "the score of the ranking; trained: the score of the loss"
    )

    @field_validator("metrics", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        """Accept "ndcg@5,recall@10" as a text or in a list."""
        parts = (value,) if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not all(isinstance(one, str) for one in parts):
            return value
        return tuple(metric_names(parts))

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for metric in metrics:
            _, cutoff = parse_metric(metric)
            if cutoff > LONGEST_LIST:
                raise ValueError(f"no list is longer than {LONGEST_LIST:,}, got {metric!r}")
        return metrics


class InterestSettings(Settings):
    """How TiMiRec learns to predict, from the history, the interest that the label belongs to."""

    weight: Weight = setting(1.0, "weight of the distillation loss; 0 leaves it out")
    temperature: Temperature = setting(
        0.5, "temperature of both distributions; the loss is multiplied by its square"
    )
    form: Literal["kl", "ce"] = setting("kl", "Kullback-Leibler divergence or cross-entropy")
    stop_gradient: bool = setting(
        True, "false: the distillation loss has a gradient for interests and items, too"
    )
