"""Calibration: can the softmax of a model be used as probabilities?

The softmax of the scores is taken as the distribution of the next item over the ranked items. If
seen items are left out of the ranking, their probability is 0 and the others sum to 1. It is
computed one block of cases at a time, and only four numbers per case are stored.

If a case has several relevant items, each of them is equally likely to be the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.errors import DataError, RecipeError
from softrec.evaluation.protocol import batches_of, seen_of
from softrec.retrieval import score_blocks
from softrec.types import Model, device_of, evaluating

Blocks = Callable[[], Iterator[tuple[slice, Tensor]]]
"""Starts one pass over (rows, scores (b, N)) of all cases; -inf for items that are not ranked."""

BINS = 15
LIMIT = math.log(1000)
STEP = 2.0  # the largest absolute logarithm of the temperature
TOLERANCE = 1e-4  # the largest error of the logarithm of the temperature
FLAT = 1e-8  # slope of the mean NLL in that logarithm, in nats, below which the search stops


def case_blocks(model: Model, cases: Cases, *, length: int, mask_seen: bool = True) -> Blocks:
    """Return a function that starts a pass over the scores; masked seen items have -inf.

    Args:
        model: an encoder or a scorer; used in evaluation mode, without gradients.
        cases: histories and relevant items.
        length: how many of the last items of a history the model reads.
        mask_seen: items of the history are not ranked; for cases with new relevant items only.
    """
    return partial(_case_blocks, model, cases, length, mask_seen)


def _case_blocks(
    model: Model, cases: Cases, length: int, mask_seen: bool
) -> Iterator[tuple[slice, Tensor]]:
    with evaluating(model), torch.inference_mode():
        score, device = model.scores(), device_of(model)
        for rows, batch in batches_of(cases, length, model):
            seen = seen_of(cases, rows, device) if mask_seen else None
            for inside, block in score_blocks(score(batch), seen):
                yield slice(rows.start + inside.start, rows.start + inside.stop), block


class Calibration(NamedTuple):
    """How good the probabilities of a model are, averaged over the cases."""

    temperature: float  # the scores are divided by it
    nll: float  # -log p of the relevant item, in nats
    brier: float  # sum over the items of (p - [relevant])^2
    confidence: float  # probability of the most probable item
    accuracy: float  # how often it is the relevant one
    ece_width: float  # expected calibration error, bins of equal width
    ece_mass: float  # expected calibration error, bins of equally many cases
    reliability: pl.DataFrame  # bins of equal width, see `reliability`
    reliability_mass: pl.DataFrame  # bins of equally many cases


def calibration(
    blocks: Blocks, relevant: Sequences, *, temperature: float = 1.0, bins: int = BINS
) -> Calibration:
    """Measure the calibration of softmax(scores / temperature) in one pass over the scores.

    nll = -log p_y,   brier = sum_i p_i^2 - 2 p_y + 1,
    ece = sum_b n_b / C |accuracy_b - confidence_b| over the bins b

    If m items have the same highest score, each counts as the most probable one with weight 1 / m.

    Args:
        blocks: the result of `case_blocks`.
        relevant: (C rows) the relevant items of each case.
        temperature: the result of `fit_temperature` on other cases; 1 does not change the scores.
        bins: the number of bins of the reliability curve.

    Raises:
        DataError: if a relevant item is not ranked, or a score is NaN or infinite.
        RecipeError: if temperature or number of bins is not positive.

    Reference:
        Guo, Pleiss, Sun and Weinberger, On calibration of modern neural networks, ICML 2017. Brier,
        Verification of forecasts expressed in terms of probability, Monthly Weather Review 1950.
    """
    if not (temperature > 0 and math.isfinite(temperature) and bins >= 1):
        raise RecipeError(
            "expected a positive temperature and at least one bin, but "
            f"got {temperature} and {bins}"
        )
    parts = [_judged(scores, relevant, rows, 1 / temperature) for rows, scores in blocks()]
    nll, brier, confidence, accuracy = np.concatenate(parts, axis=1)
    by_width = reliability(confidence, accuracy, bins)
    by_mass = reliability(confidence, accuracy, bins, equal_mass=True)
    return Calibration(
        temperature=temperature,
        nll=float(nll.mean()),
        brier=float(brier.mean()),
        confidence=float(confidence.mean()),
        accuracy=float(accuracy.mean()),
        ece_width=calibration_error(by_width),
        ece_mass=calibration_error(by_mass),
        reliability=by_width,
        reliability_mass=by_mass,
    )


def reliability(
    confidence: np.ndarray, accuracy: np.ndarray, bins: int = BINS, *, equal_mass: bool = False
) -> pl.DataFrame:
    """Return the reliability curve: a row for each bin of the confidence that has cases.

    Columns: the ends low and high, the number n of cases, and their mean confidence and accuracy.
    Bins of equal width are (low, high]. Bins of equally many cases end at values that occur, and
    equal values are in the same bin, so that the order of the cases does not matter.

    Args:
        confidence: (C,) the probability of the most probable item, in [0, 1].
        accuracy: (C,) whether that item is relevant, in [0, 1].
        bins: the largest number of bins.
        equal_mass: bins of equally many cases instead of bins of equal width.

    Example:
        >>> reliability(np.array([0.25, 0.5, 0.75]), np.array([0.0, 1.0, 1.0]), 2).rows()
        [(0.0, 0.5, 2, 0.375, 0.5), (0.5, 1.0, 1, 0.75, 1.0)]
    """
    if equal_mass:
        steps = np.arange(1, bins + 1) / bins
        upper = np.unique(np.quantile(confidence, steps, method="inverted_cdf"))
        lower = np.append(0.0, upper[:-1])
    else:
        upper = np.arange(1, bins + 1) / bins
        lower = np.arange(bins) / bins
    place = np.minimum(np.searchsorted(upper, confidence), len(upper) - 1)
    n = np.bincount(place, minlength=len(upper))
    some = np.flatnonzero(n)
    means = [
        np.bincount(place, weights=each, minlength=len(upper))[some] / n[some]
        for each in (confidence, accuracy)
    ]
    return pl.DataFrame(
        {
            "low": lower[some], "high": upper[some], "n": n[some],
            "confidence": means[0], "accuracy": means[1],
        }
    )  # fmt: skip


def calibration_error(curve: pl.DataFrame) -> float:
    """Return the expected calibration error sum_b n_b / C |accuracy_b - confidence_b|.

    Args:
        curve: the result of `reliability`.
    """
    n = curve["n"].to_numpy()
    gaps = np.abs(curve["accuracy"].to_numpy() - curve["confidence"].to_numpy())
    return float(n @ gaps / n.sum())


class Temperature(NamedTuple):
    """The temperature with the lowest mean NLL, and the number of passes over the scores."""

    value: float
    passes: int


def fit_temperature(blocks: Blocks, relevant: Sequences) -> Temperature:
    """Return the temperature T at which softmax(z / T) has the lowest mean NLL.

    The NLL is convex in b = 1 / T:  d/db = mean(E_p[z] - z_y),  d2/db2 = mean(Var_p(z)).  The zero
    of the first is found by Newton's method in log b, which keeps b positive, inside the bracket
    of the steps before. Each step is one pass over the scores.

    Args:
        blocks: the result of `case_blocks`, for validation cases.
        relevant: (C rows) the relevant items of each case.

    Returns:
        T in 1/1000 .. 1000. If the best T is outside, it is one of the ends, or a value close to
        it from which on the NLL hardly changes; so it is if each relevant item has the highest
        score, where the best T would be 0. T is 1 if all scores of each case are equal.

    Raises:
        DataError: if a relevant item is not ranked, or a score is NaN or infinite.
    """
    at, low, high = 0.0, -LIMIT, LIMIT  # bounds of log b
    passes = 0
    while True:
        passes += 1
        slope, curvature = _slopes(blocks, relevant, math.exp(at))
        if abs(slope) * math.exp(at) < FLAT:
            return Temperature(math.exp(-at), passes)
        low, high = (low, at) if slope > 0 else (at, high)
        steepness = curvature * math.exp(at)
        step = slope / steepness if abs(slope) < STEP * steepness else math.copysign(STEP, slope)
        following = at - step
        if not low < following < high:
            following = (low + high) / 2
        if abs(following - at) < TOLERANCE:
            return Temperature(math.exp(-following), passes)
        at = following


def _slopes(blocks: Blocks, relevant: Sequences, inverse: float) -> tuple[float, float]:
    """Return the first two derivatives of the mean NLL in the inverse temperature."""
    first = second = 0.0
    for rows, scores in blocks():
        z, own, case = _shifted(scores, relevant, rows)
        weights = (z * inverse).exp_()
        total = weights.sum(1)
        z.masked_fill_(z.isneginf(), 0)  # where the weight is 0
        mean = weights.mul_(z).sum(1) / total
        square = weights.mul_(z).sum(1) / total
        first += float((mean.double() - _mean(own.double(), case, len(z))).sum())
        second += float((square.double() - mean.double() ** 2).clamp_(min=0).sum())
    return first / len(relevant), second / len(relevant)


def _judged(scores: Tensor, relevant: Sequences, rows: slice, inverse: float) -> np.ndarray:
    """Return NLL, Brier score, confidence and accuracy of some cases, (4, b) float64."""
    z, own, case = _shifted(scores, relevant, rows)
    z.mul_(inverse)
    own = own.double() * inverse
    best = (z == 0).sum(1)  # the highest score is shifted to 0
    weights = z.exp_()
    total = weights.sum(1).double()
    squares = weights.square_().sum(1).double() / total**2
    hit = (own == 0).double()
    nll = total.log() - _mean(own, case, len(z))
    brier = squares - 2 * _mean(own.exp(), case, len(z)) / total + 1
    accuracy = _mean(hit, case, len(z)) / best
    return torch.stack([nll, brier, 1 / total, accuracy]).cpu().numpy()


def _shifted(scores: Tensor, relevant: Sequences, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores minus the highest of each row, those of the relevant items, and their rows."""
    highest = scores.amax(1, keepdim=True)
    z = scores.float() - highest if scores.dtype.itemsize < 4 else scores - highest
    offsets = relevant.offsets[rows.start : rows.stop + 1]
    case = torch.from_numpy(np.repeat(np.arange(len(z)), np.diff(offsets))).to(z.device)
    items = torch.from_numpy(relevant.items[offsets[0] : offsets[-1]]).to(z.device)
    own = z[case, items]
    wrong = ~own.isfinite()
    if wrong.any():
        number = int(case[wrong][0])
        raise DataError(
            f"the softmax needs finite scores, and relevant items that are ranked, but case "
            f"{rows.start + number} asks for item {int(items[wrong][0])} with score "
            f"{float(scores[number, items[wrong][0]])} of at most {float(highest[number])}; leave "
            "out cases that ask for seen items, and look at how the model was trained"
        )
    return z, own, case


def _mean(values: Tensor, case: Tensor, n_cases: int) -> Tensor:
    """Return the mean over the relevant items of each case."""
    total = values.new_zeros(n_cases).index_add_(0, case, values)
    number = values.new_zeros(n_cases).index_add_(0, case, torch.ones_like(values))
    return total / number
