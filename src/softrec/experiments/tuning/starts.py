"""The first trials of a search: the recipe itself, and settings computed from the training part.

Both formulas are heuristics of this project. They should only be in the right region, because the
search continues from there. They read only the training part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from softrec.data.splits import Split
from softrec.experiments.build.data import label_counts
from softrec.experiments.tuning.space import Space, is_hard, rounded
from softrec.targets.settings import TARGETS, HalfSettings
from softrec.targets.smoothing import PopularitySettings

GIVEN, OF_THE_DATA = "as given", "from the data"


class Start(NamedTuple):
    """Settings to try first, and where they come from."""

    settings: dict[str, Any]
    origin: str


def starts(space: Space, split: Split) -> list[Start]:
    """Return the first trials, in this order, equal settings once.

    1. The recipe itself, or the nearest settings in the space.
    2. For each soft target to try: the same with alpha from `alpha_of_counts` and, for pop+, the
       temperature from `temperature_of_skew`.

    Args:
        space: the space of the search.
        split: the data, of which the training part is read.
    """
    found = [Start(space.near({}), GIVEN)]
    # Items that only a held-out part contains would say what is in it.
    known = split.train.item_counts > 0
    mass = alpha_of_counts(label_counts(space.base, split.train)[known])
    temperature = temperature_of_skew(split.train.item_counts)
    for target in space.targets:
        if is_hard(target):
            continue
        values = {"target.alpha": rounded(_alpha(target, mass))}
        if target in PopularitySettings.names:
            values["target.temperature"] = rounded(temperature)
        found.append(Start(space.near(values, target), OF_THE_DATA))
    first: list[Start] = []
    for start in found:
        if start.settings not in [other.settings for other in first]:
            first.append(start)
    return first


def alpha_of_counts(counts: np.ndarray) -> float:
    """Return the mean over the items of 1 / (n_i + 1), a first weight of the soft target.

    Formula: an item that is a label n times has the weight n / (n + k) of its own labels and
    k / (n + k) of a prior that counts as k labels, here k = 1; alpha is the mean of the latter
    over the items of the training part. Those that are never a label count 1, so that alpha is
    at least their fraction.

    Source: a heuristic of this project. n / (n + k) is the usual weight of shrinkage to a prior
    (additive smoothing; Bell and Koren, "Scalable Collaborative Filtering with Jointly Derived
    Neighborhood Interpolation Weights", ICDM 2007, shrink similarities so); that its mean over
    the items is a good weight of a soft target is our guess.

    Args:
        counts: (n,) how often each item of the training part is a label of an epoch.

    Example:
        >>> alpha_of_counts(np.array([0, 1, 3, 9]))
        0.4625
    """
    return float(np.mean(1 / (np.asarray(counts, dtype=float) + 1)))


def temperature_of_skew(counts: np.ndarray) -> float:
    """Return max(1, b), where b is the slope of popularity by rank: log n ~ -b log rank.

    Formula: popularity at temperature T is in proportion to rank^(-b / T). At T = b it is in
    proportion to 1 / rank (Zipf's law); if b is at most 1, T is 1. b is fitted by least squares to
    the items that occur.

    Source: a heuristic of this project.

    Args:
        counts: (N,) how often each item occurs in the training part.

    Example:
        >>> ranks = np.arange(1, 101)
        >>> round(temperature_of_skew(1e6 / ranks**2), 6), temperature_of_skew(np.ones(9))
        (2.0, 1.0)
    """
    known = np.sort(np.asarray(counts, dtype=float)[np.asarray(counts) > 0])[::-1]
    if len(known) < 2:
        return 1.0
    rank = np.log(np.arange(1, len(known) + 1))
    rank -= rank.mean()
    slope = -float(rank @ np.log(known)) / float(rank @ rank)
    return max(1.0, slope)


def _alpha(target: str, mass: float) -> float:
    """Return the alpha for a weight of the soft part: twice the weight for pop+ and its kind."""
    return min(1.0, 2 * mass) if issubclass(TARGETS[target], HalfSettings) else mass
