import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special

from evaluation.test_lists import Fixed
from messages import refused
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.errors import DataError, RecipeError
from softrec.evaluation.calibration import (
    calibration,
    calibration_error,
    case_blocks,
    fit_temperature,
    reliability,
)


def blocks_of(scores, size=7):
    table = torch.as_tensor(scores)

    def one_pass():
        for begin in range(0, len(table), size):
            yield slice(begin, min(begin + size, len(table))), table[begin : begin + size]

    return one_pass


def drawn(rng, cases, items, *, spread=2.0, true=1.0, several=False, masked=True):
    """Scores (C, N) float64, some at -inf, and relevant items drawn from softmax(scores / true)."""
    scores = spread * rng.standard_normal((cases, items))
    if masked:
        scores[rng.random((cases, items)) < 0.2] = -np.inf
        scores[:, 0] = 0.0
    p = special.softmax(scores / true, axis=1)
    rows = []
    for row in p:
        number = int(rng.integers(1, 4)) if several else 1
        rows.append(rng.choice(items, min(number, int((row > 0).sum())), replace=False, p=row))
    return scores, Sequences.of(rows)


def oracle(scores, relevant, temperature=1.0):
    """NLL, Brier, confidence, accuracy of each case, by whole tables in float64."""
    p = special.softmax(scores / temperature, axis=1)
    found = []
    for case, row in enumerate(p):
        best = np.flatnonzero(row == row.max())
        of_items = []
        for item in relevant[case]:
            one_hot = np.eye(len(row))[item]
            of_items.append(
                (
                    -special.log_softmax(scores[case] / temperature)[item],
                    ((row - one_hot) ** 2).sum(),
                    row.max(),
                    float(item in best) / len(best),
                )
            )
        found.append(np.mean(of_items, axis=0))
    return np.array(found)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
@pytest.mark.parametrize(("kind", "rel"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_measures_are_those_of_whole_tables(several, temperature, kind, rel):
    scores, relevant = drawn(np.random.default_rng(1), 60, 40, several=several)
    expected = oracle(scores, relevant, temperature)
    table = torch.as_tensor(scores).to(kind)
    found = calibration(blocks_of(table), relevant, temperature=temperature)
    assert found[1:5] == pytest.approx(expected.mean(axis=0), rel=rel)
    assert torch.equal(table, torch.as_tensor(scores).to(kind))  # as it was


def plain_ece(confidence, accuracy, edges):
    total = 0.0
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs(confidence[inside].mean() - accuracy[inside].mean())
            total += inside.mean() * gap
    return total


def test_expected_calibration_error_of_both_kinds_of_bins():
    scores, relevant = drawn(np.random.default_rng(2), 400, 12, spread=3)
    _, _, confidence, accuracy = oracle(scores, relevant).T
    found = calibration(blocks_of(scores), relevant, bins=10)
    assert found.ece_width == pytest.approx(plain_ece(confidence, accuracy, np.arange(11) / 10))
    ends = [0, *np.sort(confidence)[39::40]]
    assert found.ece_mass == pytest.approx(plain_ece(confidence, accuracy, ends))
    assert found.reliability_mass["n"].to_list() == [40] * 10
    assert found.reliability["n"].sum() == 400


def test_equal_confidences_are_in_one_bin_whatever_their_order():
    confidence = np.array([0.5] * 6 + [0.9] * 2)
    accuracy = np.array([1, 1, 1, 0, 0, 0, 1, 1.0])
    curve = reliability(confidence, accuracy, 4, equal_mass=True)
    assert curve.select("n", "accuracy").rows() == [(6, 0.5), (2, 1.0)]
    assert calibration_error(curve) == pytest.approx(0.25 * 0.1)


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 30), st.booleans())
def test_curves_keep_all_cases(seed, bins, cases, equal_mass):
    rng = np.random.default_rng(seed)
    confidence = rng.choice([0.0, 1.0, 0.25, rng.random()], cases)
    accuracy = rng.integers(2, size=cases).astype(float)
    curve = reliability(confidence, accuracy, bins, equal_mass=equal_mass)
    n = curve["n"].to_numpy()
    assert n.sum() == cases
    assert n.min() >= 1
    assert len(curve) <= bins
    assert (n @ curve["accuracy"].to_numpy()) / cases == pytest.approx(accuracy.mean())
    mean = curve["confidence"]  # a mean of equal values is one of them up to rounding
    assert ((mean >= curve["low"] - 1e-12) & (mean <= curve["high"] + 1e-12)).all()
    assert 0 <= calibration_error(curve) <= 1
    order = rng.permutation(cases)
    again = reliability(confidence[order], accuracy[order], bins, equal_mass=equal_mass)
    assert calibration_error(again) == pytest.approx(calibration_error(curve), abs=1e-12)


def test_probabilities_that_are_true_are_calibrated():
    scores, relevant = drawn(np.random.default_rng(3), 10_000, 8)
    found = calibration(blocks_of(scores, 1000), relevant)
    assert found.ece_width < 0.02
    sharper = calibration(blocks_of(3 * scores, 1000), relevant)
    assert sharper.ece_width > 0.1
    assert sharper.nll > found.nll


def test_a_model_that_knows_nothing():
    relevant = Sequences.of([[0], [2], [3]])
    found = calibration(blocks_of(np.zeros((3, 4))), relevant)
    assert found[1:7] == pytest.approx((math.log(4), 0.75, 0.25, 0.25, 0.0, 0.0))
    assert fit_temperature(blocks_of(np.zeros((3, 4))), relevant) == (1.0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("spread", [0.05, 1.0, 3.0, 40.0])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_temperature_is_where_the_likelihood_is_highest(several, spread, kind):
    scores, relevant = drawn(np.random.default_rng(5), 150, 20, several=several)
    scores *= spread / 2
    best = optimize.minimize_scalar(
        lambda log: oracle(scores, relevant, math.exp(log))[:, 0].mean(),
        bounds=(-6, 6), method="bounded", options={"xatol": 1e-9},
    )  # fmt: skip
    value, passes = fit_temperature(blocks_of(torch.as_tensor(scores).to(kind)), relevant)
    assert value == pytest.approx(math.exp(best.x), rel=1e-4)
    assert passes <= 9


@pytest.mark.slow
@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_temperature_finds_what_the_items_were_drawn_with(true):
    scores, relevant = drawn(np.random.default_rng(7), 8000, 10, true=true)
    value, passes = fit_temperature(blocks_of(scores, 1000), relevant)
    assert value == pytest.approx(true, rel=0.06)
    assert passes <= 6


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.02, 50), st.floats(-100, 100))
def test_units_and_shifts(seed, scale, shift):
    """Scores of another unit have another temperature and the same probabilities."""
    scores, relevant = drawn(np.random.default_rng(seed), 25, 6)
    one = fit_temperature(blocks_of(scores), relevant).value
    other = fit_temperature(blocks_of(scale * scores + shift), relevant).value
    if 0.05 < one < 20:
        assert other == pytest.approx(scale * one, rel=1e-3)
        calibrated = calibration(blocks_of(scores), relevant, temperature=one)
        moved = calibration(blocks_of(scale * scores + shift), relevant, temperature=other)
        assert moved[1:5] == pytest.approx(calibrated[1:5], rel=1e-2, abs=1e-3)
        assert calibrated.nll <= calibration(blocks_of(scores), relevant).nll + 1e-9


def test_without_a_best_temperature_it_ends_at_the_limits():
    scores = np.array([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0]])
    right = fit_temperature(blocks_of(scores), Sequences.of([[0], [1]]))
    wrong = fit_temperature(blocks_of(scores), Sequences.of([[2], [0]]))
    assert 1e-3 <= right.value < 0.1  # from here on, nothing is gained
    assert calibration(
        blocks_of(scores), Sequences.of([[0], [1]]), temperature=right.value
    ).nll < 1e-8  # fmt: skip
    assert wrong.value == pytest.approx(1e3, rel=0.01)
    assert max(right.passes, wrong.passes) < 40


@pytest.mark.parametrize("mask_seen", [True, False])
def test_scores_of_cases_are_those_that_are_ranked(mask_seen, limit):
    rng = np.random.default_rng(0)
    table = rng.standard_normal((30, 9)).astype(np.float32)
    histories = [rng.choice(8, rng.integers(1, 6), replace=False) for _ in range(30)]
    cases = Cases(np.arange(30), Sequences.of(histories), Sequences.of([[8]] * 30))
    expected = table.copy()
    if mask_seen:
        for row, history in zip(expected, histories, strict=True):
            row[history] = -np.inf
    limit(encoded=12, scores=9 * 4 * 5)
    blocks = case_blocks(Fixed(table), cases, length=4, mask_seen=mask_seen)
    for _ in range(2):  # each pass is a new one
        found = np.full_like(expected, np.nan)
        sizes = []
        for rows, block in blocks():
            sizes.append(rows.stop - rows.start)
            found[rows] = block.numpy()
        np.testing.assert_array_equal(found, expected)
        assert max(sizes) == 5
    found = calibration(blocks, cases.relevant)
    assert found[1:5] == pytest.approx(oracle(expected, cases.relevant).mean(axis=0), rel=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("call", [calibration, fit_temperature])
def test_scores_that_are_no_numbers_are_refused(bad, call):
    scores = np.zeros((9, 3))
    scores[8, 1] = bad
    with refused(DataError):
        call(blocks_of(scores, 4), Sequences.of([[1]] * 9))


@pytest.mark.parametrize("wrong", [{"temperature": 0}, {"temperature": math.inf}, {"bins": 0}])
def test_settings_that_are_none(wrong):
    with refused(RecipeError):
        calibration(blocks_of(np.zeros((1, 2))), Sequences.of([[0]]), **wrong)
