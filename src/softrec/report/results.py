"""The results of a comparison: the content of a report as types, and its file results.json."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from softrec.errors import RunError, one_line, shown
from softrec.files import write_text
from softrec.report.numbers import MetricDifference, Number, Part, SeedMean, SliceDifference
from softrec.report.tuned import Tuned

FORMAT = 3
"""The format of the file that is written."""
READ = (1, 2, FORMAT)
"""The formats that are read. Format 1 has no slices, format 2 no searches. A file without a format
is older, and is read if its fields are the same."""
FORMER = {"soft_mass": "soft_weight"}  # fields of a variant


def _no_metrics(value: Any) -> Any:
    return {} if value is None else value


class Epoch(Part):
    """A point of a learning curve."""

    epoch: int  # counted from 1
    train_loss: Number
    valid: Annotated[dict[str, Number], BeforeValidator(_no_metrics)]  # by metric


class Training(Part):
    """One training of a variant."""

    seed: int
    best_epoch: int
    epochs: int
    seconds: Number
    seconds_per_epoch: Number
    peak_memory_mib: Number
    levelled_off: bool  # no epoch was better for as many epochs as `patience`, or as 10
    curve: tuple[Epoch, ...]


class Bin(Part):
    """Test cases of like probability of the most probable item, and how often it was right."""

    n: int
    confidence: Number
    accuracy: Number


class Calibrated(Part):
    """How good the softmax is at test, as trained and with a temperature of validation."""

    skipped: str = ""  # why it is not known: the scores are no logits
    temperature: SeedMean | None = None
    trained: dict[str, SeedMean] = Field(default_factory=dict)  # by measure
    scaled: dict[str, SeedMean] = Field(default_factory=dict)
    curves: tuple[tuple[Bin, ...], ...] = ()  # of each training, as trained
    curves_scaled: tuple[tuple[Bin, ...], ...] = ()


class Variant(Part):
    """A model with target and loss, trained with each seed; a simple baseline, counted once; lists.

    Lists of another system (kind "listed") have no trainings that are known of, and nothing was
    chosen on validation.
    """

    name: str
    kind: Literal["trained", "counted", "listed"] = "trained"
    target: dict[str, Any]  # its settings, as they are shown
    model: dict[str, Any] = Field(default_factory=dict)  # the same
    loss: dict[str, Any] = Field(default_factory=dict)
    windows: str = ""  # what it is trained on, of the sequences; "" if that is not known
    group: str = (
        ""  # the group of variants that differ only in target and loss; "" if there is one group
    )
    series: str = ""  # its name without the values of the grid
    # The values of the grid, by their place in a recipe.
    grid: dict[str, Any] = Field(default_factory=dict)
    baseline: str | None = None  # the name of the variant that it is compared with
    soft_weight: Number
    test: dict[str, SeedMean]  # by metric
    valid: dict[str, SeedMean]
    difference: dict[str, MetricDifference] | None  # None for a baseline
    runs: tuple[Training, ...]
    regret: dict[str, Number] | None  # by metric; only for simulated data
    # Measures of the lists at test, by their name.
    lists: dict[str, SeedMean] = Field(default_factory=dict)
    calibration: Calibrated | None = None  # where it was asked for
    tuned: Tuned | None = None  # where its settings were searched

    @property
    def seconds(self) -> float:
        """Return the mean time of a training over the runs; NaN if it is not known."""
        return _mean_known([run.seconds for run in self.runs])

    @property
    def seconds_per_epoch(self) -> float:
        """Return the mean time of an epoch over the runs."""
        return _mean_known([run.seconds_per_epoch for run in self.runs])

    @property
    def peak_memory_mib(self) -> float:
        """Return the mean peak memory over the runs."""
        return _mean_known([run.peak_memory_mib for run in self.runs])

    @property
    def trainings(self) -> int:
        """Return how often it was trained or, of lists, how many were given."""
        return len(self.runs) or max((len(each.per_seed) for each in self.test.values()), default=0)

    @property
    def rising(self) -> list[int]:
        """Return the seeds of the runs that had not levelled off when the epochs ended."""
        return [run.seed for run in self.runs if not run.levelled_off]

    def difference_in(self, metric: str) -> MetricDifference | None:
        """Return the difference from the baseline in a metric, if there is one."""
        return (self.difference or {}).get(metric)


class Simple(Part):
    """The best simple baseline compared with the best trained variant, both by validation."""

    counted: str  # their names
    trained: str
    difference: MetricDifference  # counted minus trained, in the selection metric at test


class Ceiling(Part):
    """The best metrics that any model could reach; only for simulated data."""

    name: str
    test: dict[str, Number]  # by metric


class Selection(Part):
    """How the best epoch is chosen: the metric, which also decides the verdict, and the part."""

    metric: str
    on: str


class Results(Part):
    """The content of results.json."""

    format: Literal[3] = FORMAT
    title: str
    command: str
    created: str
    versions: dict[str, str]
    seed_note: str
    data: dict[str, Any]  # settings, shown as they are
    model: dict[str, Any]
    budget: dict[str, Any]
    selection: Selection
    baseline: str  # the name of the first baseline, with which simple baselines are compared
    metrics: tuple[str, ...]
    variants: tuple[Variant, ...]
    ceiling: Ceiling | None
    simple: Simple | None = None  # where there are simple baselines
    slices: tuple[SliceDifference, ...] = ()
    # Notes on the data and on the task.
    evaluation: dict[str, Any] = Field(default_factory=dict)
    # The budget of the searches, where settings were searched.
    tuning: dict[str, Any] = Field(default_factory=dict)
    notes: tuple[str, ...]

    @property
    def baseline_variant(self) -> Variant:
        """Return the first baseline."""
        return self.variant(self.baseline)

    def baseline_of(self, variant: Variant) -> Variant:
        """Return the baseline of a variant; a baseline is its own."""
        return variant if variant.baseline is None else self.variant(variant.baseline)

    def variant(self, name: str) -> Variant:
        """Return the variant with the name of a baseline.

        Raises:
            RunError: if no variant has this name.
        """
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise RunError(
            f"expected a variant with the name of the baseline, {name!r}, but the "
            f"variants are {shown(variant.name for variant in self.variants)}; name one of them "
            "as the baseline"
        )

    @property
    def trained(self) -> list[Variant]:
        """Return the variants that are no simple baselines, the baseline among them."""
        return [variant for variant in self.variants if variant.kind != "counted"]

    @property
    def listed(self) -> list[Variant]:
        """Return the variants that are lists of other systems."""
        return [variant for variant in self.variants if variant.kind == "listed"]

    def on_other_windows(self, variant: Variant) -> bool:
        """Tell whether a variant is its baseline on other windows: it is no soft target."""
        return variant.windows != self.baseline_of(variant).windows

    @property
    def counted(self) -> list[Variant]:
        """Return the simple baselines."""
        return [variant for variant in self.variants if variant.kind == "counted"]

    @property
    def groups(self) -> list[str]:
        """Return the names of the groups, which are mostly models; [""] if there is one group."""
        return list(dict.fromkeys(variant.group for variant in self.trained))

    def of_group(self, group: str) -> list[Variant]:
        """Return the variants of a group, its baseline first."""
        return [variant for variant in self.trained if variant.group == group]

    @property
    def metrics_by_weight(self) -> list[str]:
        """Return the names of the metrics, the selection metric first."""
        return list(dict.fromkeys([self.selection.metric, *self.metrics]))

    @property
    def seeds(self) -> list[int]:
        """Return all seeds of the trainings."""
        return list(dict.fromkeys(run.seed for each in self.trained for run in each.runs))

    def ceiling_of(self, metric: str) -> float:
        """Return the best value of a metric that any model could reach; NaN if it is unknown."""
        return self.ceiling.test.get(metric, math.nan) if self.ceiling else math.nan

    def as_json(self) -> dict[str, Any]:
        """Return plain data, as in the file."""
        return self.model_dump(mode="json")


def is_condition(setting: str) -> bool:
    """Tell whether nobody chooses the value of a setting: it belongs to the data."""
    return setting.startswith("data.")


def write_results(results: Results, path: Path) -> None:
    """Write results.json."""
    write_text(path, json.dumps(results.as_json(), indent=1))


def _current(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a file of any format as they are now."""
    variants, first = plain.get("variants"), plain.get("baseline")
    if isinstance(variants, list):
        variants = [_current_variant(v, first) if isinstance(v, dict) else v for v in variants]
    return {**plain, "variants": variants, "format": FORMAT}


def _current_variant(variant: dict[str, Any], first: Any) -> dict[str, Any]:
    """Return the fields with their present names; one that names no baseline has the first."""
    own = {FORMER.get(name, name): value for name, value in variant.items()}
    return {"baseline": None if own.get("name") == first else first, **own}


def read_results(path: Path) -> Results:
    """Return the results in a file.

    Raises:
        RunError: if there is no such file, or this version of softrec cannot read it.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"expected the results of a comparison in {path}, but it cannot be read "
            f"({one_line(str(error), 120)}); give the folder of a finished comparison"
        ) from error
    kind = plain.get("format", READ[0]) if isinstance(plain, dict) else type(plain).__name__
    if kind not in READ:
        raise RunError(
            f"{path} has format {kind}, and this softrec reads {shown(READ)}; use the softrec that "
            "wrote it, or run the comparison again"
        )
    try:
        return Results.model_validate(_current(plain))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RunError(
            f"{path} holds no results of this softrec ({place}: {one_line(first['msg'], 80)}); run "
            "the comparison again"
        ) from error


def _mean_known(values: list[float]) -> float:
    known = [value for value in values if math.isfinite(value)]
    return sum(known) / len(known) if known else math.nan
