"""A recipe: all that makes a run, as data. Read from YAML or the command line, checked at once.

Nothing below `experiments/` ever sees a recipe; `build` turns it into plain arguments.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from softrec.errors import RecipeError
from softrec.evaluation.metrics import parse_metric
from softrec.models.caser import Caser
from softrec.models.deepfm import DeepFM
from softrec.models.gru4rec import GRU4Rec
from softrec.models.mf import MF
from softrec.models.nfm import NFM
from softrec.models.sasrec import SASRec
from softrec.models.youtubednn import YoutubeDNN

MODELS: dict[str, Any] = {
    "caser": Caser,
    "deepfm": DeepFM,
    "gru4rec": GRU4Rec,
    "mf": MF,
    "nfm": NFM,
    "sasrec": SASRec,
    "youtubednn": YoutubeDNN,
}
"""Recipe name -> backbone. A new backbone is entered here, and nowhere else."""


class _Spec(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSpec(_Spec):
    """Where the log is and how it is cleaned and split."""

    source: str = Field(description="a file, a folder of Parquet files, or a data set's name")
    valid: str | None = Field(
        default=None, description="a file with the validation part (split: given)"
    )
    test: str | None = Field(default=None, description="a file with the test part (split: given)")
    user: str | None = Field(default=None, description="column of the user")
    item: str | None = Field(default=None, description="column of the item")
    time: str | None = Field(default=None, description="column of the time")
    weight: str | None = Field(default=None, description="column of the rating or weight")
    header: bool = Field(
        default=True, description="whether CSV and TSV files start with column names"
    )
    text_ids: bool = Field(
        default=False, description="read ids as text even where they are numbers"
    )
    clean: tuple[str, ...] = Field(
        default=(),
        description="in order: drop-duplicates, min-weight=4, k-core=5, min-user=5, min-item=5",
    )
    split: Literal["leave-last-out", "time", "user-ratio", "given"] | None = Field(
        default=None,
        description="by default what the data set is known by, else leave-last-out",
    )
    short_users: Literal["error", "keep", "drop"] | None = Field(
        default=None,
        description="users too short for leave-last-out: train on them only, or drop them",
    )
    cold_items: Literal["error", "keep", "drop"] | None = Field(
        default=None,
        description="items never trained on: keep as misses, or drop their events",
    )
    valid_share: float = Field(default=0.1, gt=0, lt=1)
    test_share: float = Field(default=0.1, gt=0, lt=1)
    split_seed: int = Field(
        default=0, description="of a random split; all training seeds share one split"
    )
    shop: dict[str, Any] = Field(
        default_factory=dict, description="dials of the simulated shop (source: shop)")  # fmt: skip

    @field_validator("clean", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _given_files(self) -> DataSpec:
        files = self.valid is not None and self.test is not None
        if (self.split == "given") != files or (self.valid is None) != (self.test is None):
            raise ValueError("split: given and both files, valid and test, belong together")
        if self.clean and files:
            raise ValueError("cleaning would change given parts; clean the files before")
        return self


class ModelSpec(BaseModel):
    """A backbone by name, a preset of its settings, and settings of one's own."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str = "sasrec"
    preset: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return the arguments of the backbone: the preset's, overridden by one's own."""
        preset = MODELS[self.name].PRESETS[self.preset] if self.preset else {}
        return {**preset, **(self.__pydantic_extra__ or {})}

    @model_validator(mode="after")
    def _known(self) -> ModelSpec:
        if self.name not in MODELS:
            raise ValueError(f"no model {self.name!r}; there are {', '.join(MODELS)}")
        model = MODELS[self.name]
        if self.preset is not None and self.preset not in model.PRESETS:
            raise ValueError(
                f"{self.name} has no preset {self.preset!r}; it has {', '.join(model.PRESETS)}"
            )
        known = [n for n in inspect.signature(model).parameters if n not in ("n_items", "n_users")]
        for name in self.settings:
            if name not in known:
                raise ValueError(f"{self.name} has no setting {name!r}; it has {', '.join(known)}")
        self._check_types(model)
        return self

    def _check_types(self, model: Any) -> None:
        parameters = inspect.signature(model, eval_str=True).parameters
        for name, value in self.settings.items():
            try:
                TypeAdapter(parameters[name].annotation).validate_python(value)
            except ValidationError as error:
                text = error.errors()[0]["msg"]
                raise ValueError(f"{name} of {self.name}: {text}, got {value!r}") from error


Alpha = Annotated[float, Field(ge=0, le=1)]


class OneHotSpec(_Spec):
    """The label alone."""

    name: Literal["one-hot"] = "one-hot"

    @property
    def soft_mass(self) -> float:
        """Return the share of the target that is not on the label by construction."""
        return 0.0


class UniformSpec(_Spec):
    """Label smoothing: alpha of the mass, spread evenly."""

    name: Literal["uniform"]
    alpha: Alpha = 0.1

    @property
    def soft_mass(self) -> float:
        """Return alpha."""
        return self.alpha


class PopularitySpec(_Spec):
    """POP+: the target is (popularity + label) / 2 with weight alpha."""

    name: Literal["pop+"]
    alpha: Alpha = 0.4
    temperature: float = Field(default=1.0, gt=0)
    scale: Literal["log", "share", "count", "relative"] = "log"

    @property
    def soft_mass(self) -> float:
        """Return alpha / 2, for half of POP+'s target is the label."""
        return self.alpha / 2


class InterestSharingSpec(_Spec):
    """DesoRec's target: labels shared among training examples that a base model finds similar."""

    name: Literal["interest-sharing"]
    alpha: Alpha = Field(default=0.3, description="weight of the shared labels (lambda1)")
    teacher: str = Field(description="folder of a trained run, whose vectors tell who is similar")
    clusters: int = Field(default=16, ge=1)
    tau: float = Field(default=2.0, gt=0, description="distance at which similarity fades")
    damping: float = Field(default=0.5, ge=0, lt=1, description="share passed on in each round")
    rounds: int | None = Field(default=20, ge=0, description="null: until nothing changes")
    keep: int = Field(default=300, ge=1, description="items kept of each shared label")
    neighbours: int | None = Field(
        default=None, ge=1, description="share with so many nearest only; by default all or 64"
    )
    seed: int = 0

    @property
    def soft_mass(self) -> float:
        """Return alpha, of which the shared label gives half or more back to the label."""
        return self.alpha


class CsnSpec(_Spec):
    """CSN: the target is (prediction for a similar context + label) / 2 with weight alpha."""

    name: Literal["csn"]
    alpha: Alpha = 0.4
    temperature: float = Field(default=1.0, gt=0)
    k: int = Field(default=10, ge=1, description="neighbours of each context")
    teacher: str | None = Field(
        default=None, description="a trained run that tells who is similar, instead of item2vec"
    )
    dim: int = Field(default=128, ge=1, description="of item2vec")
    epochs: int = Field(default=10, ge=1, description="of item2vec")
    window: int | None = Field(default=None, ge=1, description="of item2vec; null: the sequence")
    seed: int = 0

    @property
    def soft_mass(self) -> float:
        """Return alpha / 2, for half of CSN's target is the label."""
        return self.alpha / 2


class KdSpec(_Spec):
    """SKD, CKD: the target is (prediction of a teacher + label) / 2 with weight alpha."""

    name: Literal["kd", "skd", "ckd"]
    alpha: Alpha = 0.4
    temperature: float = Field(default=1.0, gt=0)
    teacher: str = Field(description="folder of a trained run")
    top: int | None = Field(
        default=None, ge=1, description="only the best so many, the rest spread evenly"
    )

    @property
    def soft_mass(self) -> float:
        """Return alpha / 2, for half of the target is the label."""
        return self.alpha / 2


class ShareSpec(_Spec):
    """One part of a mixture."""

    share: float = Field(gt=0, le=1)
    target: Annotated[
        UniformSpec | PopularitySpec | InterestSharingSpec | CsnSpec | KdSpec,
        Field(discriminator="name"),
    ]


class MixtureSpec(_Spec):
    """Several soft targets in one; alpha is the mass of all together."""

    name: Literal["mixture"]
    alpha: Alpha = 0.2
    of: tuple[ShareSpec, ...] = Field(min_length=1)

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


class _LossSpec(_Spec):
    score: Literal["inner", "cosine", "euclidean"] = Field(
        default="inner", description="how a user and an item vector make a score"
    )
    score_temperature: float = Field(
        default=1.0, gt=0, description="scores are divided by it in training"
    )
    l2: float = Field(
        default=0.0, ge=0, description="on the vectors a batch uses; weight_decay is on all"
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
    score_temperature: float = Field(default=0.1, gt=0)


class BslSpec(SlSpec):
    """BSL: SL with another weight on the negatives, or another shape of the positives."""

    name: Literal["bsl"]  # pyright: ignore[reportIncompatibleVariableOverride]
    mode: Literal["reweight", "multi", "single", "bilateral"] = "reweight"
    exponent: float = Field(default=1.1, gt=0, description="weight of the negatives (t2)")
    positive_temperature: float = Field(
        default=0.1, gt=0, description="of mode bilateral (tau1); score_temperature is its tau2"
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
    negative_weight: float = Field(default=150.0, gt=0)


class CmlSpec(_LossSpec):
    """CML: a hinge on squared distances within the unit ball."""

    name: Literal["cml"]
    score: Literal["inner", "cosine", "euclidean"] = "euclidean"
    margin: float = Field(default=0.5, gt=0)


LossSpec = Annotated[
    MixedSpec | DecoupledSpec | SlSpec | BslSpec | BprSpec | BceSpec | GbceSpec | CclSpec | CmlSpec,
    Field(discriminator="name"),
]
PAIRWISE = (BprSpec, BceSpec, GbceSpec, CclSpec, CmlSpec)


class FullSpec(_Spec):
    """Every label is told from all items."""

    name: Literal["full"] = "full"


class SampledSpec(_Spec):
    """Every label is told from a sample of the items."""

    name: Literal["sampled"]
    ratio: float | None = Field(default=None, gt=0, le=1, description="share of the items drawn")
    number: int | None = Field(default=None, ge=1, description="or how many are drawn")
    sampler: Literal["uniform", "popularity", "log-uniform"] = "uniform"
    per_row: bool = Field(default=False, description="draw for each row, not for the batch")
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

    def size(self, n_items: int) -> int:
        """Return how many items are drawn of a catalogue."""
        drawn = int((self.ratio or 0) * n_items) if self.number is None else self.number
        return max(1, drawn)


class InBatchSpec(_Spec):
    """Every label is told from the other labels of the batch."""

    name: Literal["in-batch"]
    correction: bool | None = Field(default=None, description="for popularity, as in sampled")
    mask_hits: bool = Field(default=True, description="leave out copies of the label")
    mask_positives: bool = Field(default=False, description="leave out the user's other items")
    soft: Literal["restricted", "exact"] = "restricted"


CandidatesSpec = Annotated[FullSpec | SampledSpec | InBatchSpec, Field(discriminator="name")]


class TrainingSpec(_Spec):
    """What is trained on, and how long."""

    windows: Literal["last", "positions", "prefixes", "pieces", "interactions"] = "positions"
    length: int = Field(default=50, ge=1, description="longest history a model reads")
    stride: int | None = Field(default=None, ge=1)
    padding: Literal["left", "right"] = "right"
    epochs: int = Field(default=100, ge=1)
    batch_size: int = Field(default=128, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    patience: int = Field(default=5, ge=1)
    monitor: str = "ndcg@10"
    precision: Literal["32-true", "bf16-true", "64-true"] = "32-true"
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    checkpoint_steps: int | None = Field(default=None, ge=1)


class EvaluationSpec(_Spec):
    """How a ranking is judged."""

    metrics: tuple[str, ...] = ("recall@10", "ndcg@10", "mrr@10", "recall@20", "ndcg@20")
    mask_seen: bool = True
    score: Literal["trained", "inner", "cosine", "euclidean"] = Field(
        default="trained", description="how items are ranked; by default as the model was trained"
    )

    @field_validator("metrics")
    @classmethod
    def _known(cls, metrics: tuple[str, ...]) -> tuple[str, ...]:
        for metric in metrics:
            parse_metric(metric)
        return metrics


class Recipe(_Spec):
    """Data x model x target x loss x candidates, a training budget and a seed."""

    data: DataSpec
    model: ModelSpec = ModelSpec()
    target: TargetSpec = OneHotSpec()
    loss: LossSpec = MixedSpec()
    candidates: CandidatesSpec = FullSpec()
    training: TrainingSpec = TrainingSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    seed: int = 0

    @property
    def ranking_score(self) -> Literal["inner", "cosine", "euclidean"]:
        """Return how items are scored in validation, test and service."""
        own = self.evaluation.score
        return self.loss.score if own == "trained" else own

    def _check_axes(self) -> None:
        """Refuse a target, a loss and candidates that make no sense together."""
        soft, loss, candidates = self.target.soft_mass > 0, self.loss, self.candidates
        if soft and isinstance(loss, PAIRWISE):
            raise ValueError(
                f"loss: {loss.name} compares the label with single items and has no place for a "
                f"soft target; choose target: one-hot, or a softmax loss ({', '.join(SOFTMAX)})"
            )
        if soft and isinstance(loss, BslSpec) and loss.mode in ("multi", "bilateral"):
            raise ValueError(
                f"bsl in mode {loss.mode} groups the labels of a user and has no place for a soft "
                "target; choose mode: reweight, or target: one-hot"
            )
        if isinstance(candidates, FullSpec):
            return
        if isinstance(loss, PAIRWISE) and candidates.correction:
            raise ValueError(
                f"candidates.correction belongs to softmax losses; loss: {loss.name} has no "
                "denominator to correct; leave it out"
            )
        if isinstance(loss, GbceSpec) and isinstance(candidates, InBatchSpec):
            raise ValueError(
                "gbce must know what share of the items is drawn, which in-batch candidates do "
                "not say; choose candidates: sampled"
            )
        if soft and candidates.soft == "exact" and not _shared(self.target):
            raise ValueError(
                "candidates.soft: exact needs a soft target that all rows share (uniform, pop+); "
                f"for {self.target.name} choose restricted"
            )
        if soft and isinstance(candidates, InBatchSpec) and candidates.mask_positives:
            raise ValueError(
                "a soft target may give mass to the items that mask_positives leaves out, and "
                "nothing would hold their scores down; choose mask_positives: false"
            )

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.loss.name == "decoupled" and self.target.soft_mass == 0:
            raise ValueError(
                "loss: decoupled separates label and rest of a soft target, but "
                "there is none (target: one-hot, or alpha 0); choose one with alpha "
                "above 0, or loss: mixed"
            )
        self._check_axes()
        if self.training.monitor not in self.evaluation.metrics:
            raise ValueError(
                f"training.monitor is {self.training.monitor}, which is not among "
                f"evaluation.metrics ({', '.join(self.evaluation.metrics)})"
            )
        own = self.model.settings.get("length")
        if own is not None and own < self.training.length:
            raise ValueError(
                f"the model reads {own} items, training.length is "
                f"{self.training.length}; make them equal"
            )
        return self


SOFTMAX = ("mixed", "decoupled", "sl", "bsl")


def _shared(target: TargetSpec) -> bool:
    """Tell whether all rows have the same soft target."""
    if isinstance(target, MixtureSpec):
        return all(_shared(part.target) for part in target.of)
    return isinstance(target, UniformSpec | PopularitySpec)


def read_recipe(fields: dict[str, Any], place: str = "the recipe") -> Recipe:
    """Return the checked recipe of nested plain data.

    Raises:
        RecipeError: naming the field, what came, and what would do.
    """
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise RecipeError(f"{place}: {_first(error)}") from error


SECTIONS: dict[str, type[BaseModel]] = {
    "": Recipe, "data": DataSpec, "training": TrainingSpec,
    "evaluation": EvaluationSpec, "target.one-hot": OneHotSpec, "target.uniform": UniformSpec,
    "target.pop+": PopularitySpec, "target.interest-sharing": InterestSharingSpec,
    "target.csn": CsnSpec, "target.kd": KdSpec, "target.skd": KdSpec, "target.ckd": KdSpec,
    "target.mixture": MixtureSpec,
    "loss.mixed": MixedSpec, "loss.decoupled": DecoupledSpec, "loss.sl": SlSpec,
    "loss.bsl": BslSpec, "loss.gbce": GbceSpec, "loss.ccl": CclSpec, "loss.cml": CmlSpec,
    "loss.bpr": BprSpec, "loss.weighted-bpr": BprSpec, "loss.bce": BceSpec,
    "loss.bce-sum": BceSpec, "loss.mse": BceSpec, "candidates.full": FullSpec,
    "candidates.sampled": SampledSpec, "candidates.in-batch": InBatchSpec,
}  # fmt: skip


_EXAMPLES = {"loss": "decoupled", "candidates": "sampled"}


def _first(error: ValidationError) -> str:
    """Return the first of pydantic's complaints in one line."""
    first = error.errors()[0]
    *path, last = (str(part) for part in first["loc"] or ("",))
    what = first["msg"].removeprefix("Value error, ").replace("\n", " ")
    if first["type"] == "union_tag_not_found":
        what = f"needs a name, as in `{last}: {{name: {_EXAMPLES.get(last, 'uniform')}, ...}}`"
    if first["type"] == "extra_forbidden" and ".".join(path) in SECTIONS:
        what = f"no such field; there are {', '.join(SECTIONS['.'.join(path)].model_fields)}"
    if first["type"] in ("model_type", "model_attributes_type"):
        what = f"expected fields below it, such as those of `{last}: {{name: value}}`"
    came = first.get("input")
    plain = isinstance(came, str | int | float | bool)
    where = ".".join([*path, last])
    return f"{where + ': ' if where else ''}{what}" + (f", got {came!r}" if plain else "")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the fields of a recipe file.

    Raises:
        RecipeError: if there is no such file or it is no YAML mapping.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise RecipeError(f"{path} is no valid YAML: {text}") from error
    if not isinstance(fields, dict):
        raise RecipeError(
            f"{path} must hold a mapping with data, model, target, ...; "
            f"it holds a {type(fields).__name__}"
        )
    return fields


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the dotted `changes` laid over it: {"training.lr": 0.01}."""
    result = {k: dict(v) if isinstance(v, dict) else v for k, v in base.items()}
    for dotted, value in changes.items():
        *path, last = dotted.split(".")
        here = result
        for part in path:
            below = here.get(part)
            here[part] = dict(below) if isinstance(below, dict) else {}
            here = here[part]
        here[last] = value
    return result
