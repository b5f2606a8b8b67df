"""The results of a reproduction: published and own numbers, verdicts, and other models."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import polars as pl
from pydantic import Field

from softrec.errors import RunError, one_line
from softrec.files import write_text
from softrec.report.numbers import Number, Part, SeedMean

FORMAT = 1
"""The format of the file that is written."""
REACHED = 0.97
"""The smallest ratio to the published number that counts as reached."""
ABOVE = 1.03
"""The largest ratio to the published number that counts as reached."""

Verdict = Literal["reached", "above", "below", "other data", "not printed", "not run"]


def verdict_of(ratio: float) -> Verdict:
    """Return the verdict on the ratio of an own number to the published one.

    Example:
        >>> verdict_of(0.97), verdict_of(0.96), verdict_of(1.04)
        ('reached', 'below', 'above')
    """
    if ratio > ABOVE:
        return "above"
    return "reached" if ratio >= REACHED else "below"


class Measured(Part):
    """A published number, and the number of the same training here.

    Attributes:
        metric: softrec's name of the metric.
        published: the printed number; NaN if none was printed.
        here: the mean over the users and the trainings; None if none is finished.
        gain_published: the relative difference from the baseline of the table, as printed.
        gain_here: the relative difference from the baseline of our trainings.
        note: a note for the reader on this number only.
    """

    metric: str
    published: Number
    here: SeedMean | None = None
    gain_published: Number = math.nan
    gain_here: Number = math.nan
    note: str = ""

    @property
    def ratio(self) -> float:
        """Return the ratio of the own to the published number; NaN if one is unknown, or to 0."""
        if self.here is None or not self.published > 0:
            return math.nan
        return self.here.mean / self.published


class Row(Part):
    """A cell of a published table: a training with its metrics.

    Attributes:
        name: backbone and method, as printed.
        backbone: as printed.
        method: as printed.
        setting: as printed.
        command: the command for this training only; "" if there is no recipe.
        reason: why it was not run; "" if it was run.
        stand_in: other data that are used instead of those of the paper.
        note: a note for the reader.
        supposed: a possible cause of a difference, which was not proved.
        found: a cause of a difference that was found by a measurement.
        seeds: of the finished trainings.
        epochs: the best epoch and the number of epochs of each training.
        minutes: of all trainings; NaN if there is none.
        estimate: the estimated minutes of one training.
        measured: the published and the own number of each metric.
    """

    name: str
    backbone: str
    method: str
    setting: str
    command: str = ""
    reason: str = ""
    stand_in: str = ""
    note: str = ""
    supposed: str = ""
    found: str = ""
    seeds: tuple[int, ...] = ()
    epochs: tuple[tuple[int, int], ...] = ()
    minutes: Number = math.nan
    estimate: Number = math.nan
    measured: tuple[Measured, ...]

    def ratio(self, measured: Measured) -> float:
        """Return own by published; NaN if either is unknown, or on other data."""
        return math.nan if self.stand_in else measured.ratio

    def verdict(self, measured: Measured) -> Verdict:
        """Return the verdict on one of its numbers."""
        if not self.seeds:
            return "not run"
        if measured.here is None or math.isnan(measured.published):
            return "not printed"
        if self.stand_in:
            return "other data"
        if measured.published == 0:  # without a ratio
            return "above" if measured.here.mean > 0 else "reached"
        return verdict_of(measured.ratio)

    def cause(self, measured: Measured) -> str:
        """Return why a number is below the published one, if that is known."""
        if self.verdict(measured) != "below":
            return ""
        if self.found:
            return f"found: {self.found}"
        return f"supposed: {self.supposed}" if self.supposed else "the cause is not known"


class Beside(Part):
    """A model for comparison with a block: a simple baseline, or a model with today's defaults.

    Attributes:
        name: of the model.
        kind: counted, or trained with the defaults.
        test: the test metrics.
        valid: the validation metric by which the best is chosen.
        chosen: whether it is the best of its kind on validation.
        reason: why it was not run; "" if it was run.
    """

    name: str
    kind: Literal["simple", "defaults"]
    test: dict[str, SeedMean] = Field(default_factory=dict)
    valid: Number = math.nan
    chosen: bool = False
    reason: str = ""


class Block(Part):
    """The rows of a table on one data set, and the models for comparison."""

    table: str
    dataset: str
    source: str = ""  # the name of the data in softrec
    protocol: str = ""
    rows: tuple[Row, ...]
    beside: tuple[Beside, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """Return all metrics of its rows."""
        return list(dict.fromkeys(m.metric for row in self.rows for m in row.measured))


class Reproduction(Part):
    """The results of a reproduction of a paper."""

    format: int = FORMAT
    paper: str
    citation: str
    created: str
    command: str
    complete: bool
    versions: dict[str, str]
    blocks: tuple[Block, ...]

    def numbers(self) -> Iterator[tuple[Block, Row, Measured]]:
        """Yield each number with its row and block."""
        for block in self.blocks:
            for row in block.rows:
                yield from ((block, row, measured) for measured in row.measured)

    def counts(self) -> dict[Verdict, int]:
        """Return how many numbers have each verdict."""
        found: dict[Verdict, int] = dict.fromkeys(get_args(Verdict), 0)
        for _, row, measured in self.numbers():
            found[row.verdict(measured)] += 1
        return found

    def sentence(self) -> str:
        """Return the number of verdicts of each kind, in one line."""
        counts = self.counts()
        verdicts = ", ".join(f"{number:,} {name}" for name, number in counts.items() if number)
        return f"{self.paper}: of {sum(counts.values()):,} published numbers {verdicts}"

    def frame(self) -> pl.DataFrame:
        """Return a table with a row for each published number and for each model for comparison."""
        rows = [_flat(block, row, measured) for block, row, measured in self.numbers()]
        for block in self.blocks:
            for beside in block.beside:
                rows += _flat_beside(block, beside)
        return pl.DataFrame(rows, schema=SCHEMA, orient="row")


SCHEMA = {
    "table": pl.String, "dataset": pl.String, "kind": pl.String, "backbone": pl.String,
    "method": pl.String, "setting": pl.String, "metric": pl.String, "published": pl.Float64,
    "here": pl.Float64, "ratio": pl.Float64, "spread": pl.Float64, "seeds": pl.Int64,
    "gain_published": pl.Float64, "gain_here": pl.Float64, "verdict": pl.String,
    "reason": pl.String, "note": pl.String, "minutes": pl.Float64, "command": pl.String,
}  # fmt: skip


def _flat(block: Block, row: Row, measured: Measured) -> tuple[object, ...]:
    here = measured.here
    values = (
        measured.published, here.mean if here else math.nan, row.ratio(measured),
        here.spread if here else math.nan, len(row.seeds), measured.gain_published,
        measured.gain_here,
    )  # fmt: skip
    numbers = [None if isinstance(v, float) and math.isnan(v) else v for v in values]
    reason = row.reason or row.cause(measured) or row.stand_in
    note = "; ".join(part for part in (row.note, measured.note) if part)
    minutes = None if math.isnan(row.minutes) else row.minutes
    return (
        block.table, block.dataset, "published", row.backbone, row.method, row.setting,
        measured.metric, *numbers, row.verdict(measured), reason, note, minutes, row.command,
    )  # fmt: skip


def _flat_beside(block: Block, beside: Beside) -> list[tuple[object, ...]]:
    empty = {metric: None for metric in block.metrics}
    return [
        (
            block.table, block.dataset, beside.kind, beside.name, "", "", metric, None,
            mean.mean if mean else None, None, None, len(mean.per_seed) if mean else 0, None, None,
            "" if mean else "not run", beside.reason, "", None, "",
        )
        for metric, mean in (beside.test or empty).items()
    ]  # fmt: skip


def write_reproduction(found: Reproduction, path: Path) -> None:
    """Write the results as JSON."""
    write_text(path, found.model_dump_json(indent=1))


def read_reproduction(path: Path) -> Reproduction:
    """Return the results in a file of `write_reproduction`.

    Raises:
        RunError: if it is not such a file, or has another format.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(fields, dict) and fields.get("format", FORMAT) != FORMAT:
            raise RunError(
                f"{path} has format {fields['format']}, and this softrec reads {FORMAT}; run the "
                "reproduction again"
            )
        return Reproduction.model_validate(fields)
    except (OSError, ValueError) as error:
        reason = one_line(str(error), 150)
        raise RunError(f"{path} has no results of a reproduction: {reason}") from error
