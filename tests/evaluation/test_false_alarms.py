"""The interval over users and trainings is as often wrong as it says, on made runs."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks are no part of softrec

from benchmarks import aa


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("case", aa.CASES, ids=lambda case: case.name)
def test_about_five_percent_of_equal_variants_look_different(case, seeds):
    """Of 300, a binomial at 5 % has fewer than 4 or more than 28 once in 1,000 times or less."""
    found = aa.false_alarms_of_made(case, seeds, 300, 300, ["users and seeds"])
    assert 4 <= 300 * found["users and seeds"] <= 28


@pytest.mark.slow
def test_users_alone_mistake_training_noise_for_a_gain():
    found = aa.false_alarms_of_made(aa.CASES[3], 3, 300, 200, ["users alone", "users and seeds"])
    assert found["users alone"] > 0.4
    assert found["users and seeds"] < 0.08


def test_made_variants_have_one_mean_and_mostly_zeros():
    rng = np.random.default_rng(0)
    a, b = aa.made(aa.CASES[2], 5, 200_000, rng)
    assert a.mean() == pytest.approx(b.mean(), abs=0.002)
    assert 0.3 < np.mean(a > 0) < 0.4
    assert np.mean((a > 0) & (b > 0)) > 0.2  # the users of both are the same


def test_real_runs_are_drawn_in_groups_without_a_run_in_common(tmp_path):
    for seed in range(6):
        folder = tmp_path / f"gru4rec-seed{seed}"
        folder.mkdir()
        pl.DataFrame({"ndcg@10": [float(seed), 1.0]}).write_parquet(folder / "per_user.parquet")
    values = aa.read("gru4rec", tmp_path)
    assert values[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    found = aa.false_alarms_of_real(values, 3, 50, ["users and seeds"])
    assert 0 <= found["users and seeds"] <= 0.1
    one = aa.false_alarms_of_real(values, 1, 5, ["users alone"])
    assert json.dumps(one)


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1, 4])
def test_the_bootstrap_is_too_careful_rather_than_too_bold(number):
    """6 % of 200 are 12; a binomial at 6 % has more than 24 once in 1,000 times."""
    found = aa.false_alarms_of_made(aa.CASES[number], 3, 200, 200, ["two-way bootstrap"])
    assert 200 * found["two-way bootstrap"] <= 24


@pytest.mark.slow
def test_percentiles_alone_are_wrong_too_often():
    names = ["percentiles", "two-way bootstrap"]
    found = aa.false_alarms_of_made(aa.CASES[4], 3, 200, 300, names)
    assert found["percentiles"] > 0.1 > 0.07 > found["two-way bootstrap"]
