"""The numbers of results: means over the seeds, and differences with their intervals.

An unknown number is NaN here and null in a file.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from softrec.evaluation.significance import seed_spread


def _known(value: Any) -> Any:
    return math.nan if value is None else value


def _written(value: float) -> float | None:
    return None if math.isnan(value) else value


Number = Annotated[float, BeforeValidator(_known), PlainSerializer(_written)]
"""A number that may be unknown."""


class Part(BaseModel):
    """A part of results: it does not change, and has no other fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SeedMean(Part):
    """A metric of a variant: its mean over the users, and over the seeds.

    Example:
        >>> SeedMean(mean=0.2, per_seed=(0.1, 0.3)).spread
        0.1414...
    """

    mean: Number
    per_seed: tuple[Number, ...]

    @property
    def spread(self) -> float:
        """Return the standard deviation over the seeds; NaN for one seed."""
        return seed_spread(self.per_seed)[1] if self.per_seed else math.nan


class Difference(Part):
    """How sure a difference from the baseline is."""

    low: Number  # ends of the interval over users and trainings
    high: Number
    low_users: Number  # ends of the interval over the users alone
    high_users: Number
    p: Number
    p_holm: Number  # corrected over all that is compared

    @property
    def interval(self) -> tuple[float, float]:
        """Return the interval over users and trainings or, with one seed, over users only."""
        if math.isnan(self.low):
            return self.low_users, self.high_users
        return self.low, self.high


class MetricDifference(Difference):
    """The difference of a variant from its baseline in one metric."""

    mean: Number
    relative: Number  # mean / the baseline's mean
    detectable: Number  # the smallest true difference that is found with a power of 80 %
    effect: Number = math.nan  # mean / sd of one user's difference between two trainings
    low_bootstrap: Number = math.nan  # ends of the bootstrap interval; only of the selection metric
    high_bootstrap: Number = math.nan
    p_wilcoxon: Number
    wins: int  # users for whom the variant is better
    ties: int
    losses: int
    n: int  # users


class SliceDifference(Difference):
    """The selection metric of a variant in a slice of the test cases, with its difference."""

    slicing: str  # the way to slice
    slice: str
    variant: str
    n: int  # cases
    mean: Number
    difference: Number  # from the baseline; NaN for the baseline itself
