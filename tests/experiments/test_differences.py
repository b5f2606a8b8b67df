"""Differences of the variants of a comparison, from the users' tables of its runs."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from messages import refused
from softrec.errors import RunError
from softrec.evaluation.bootstrap import bootstrap
from softrec.evaluation.effects import effect
from softrec.evaluation.significance import crossed
from softrec.experiments.differences import differences

METRICS = ["ndcg@10", "recall@5"]
GAINS = {"ndcg@10": (0.0, 0.03, -0.02, 0.0), "recall@5": (0.0, 0.0, 0.01, 0.05)}
USERS = [f"user {n}" for n in range(60)]


def values_of(seeds: int) -> dict[str, list[np.ndarray]]:
    """For each metric the values of four variants, (seeds, users): the baseline and three."""
    rng = np.random.default_rng(5)
    users = rng.random(60)
    return {
        metric: [users + gain + 0.1 * rng.random((seeds, 60)) + 0.02 * rng.random((seeds, 1))
                 for gain in GAINS[metric]]
        for metric in METRICS
    }  # fmt: skip


def runs_of(values: dict[str, list[np.ndarray]], users: list[str] = USERS) -> list[list]:
    variants, seeds = len(values["ndcg@10"]), len(values["ndcg@10"][0])
    return [
        [
            SimpleNamespace(
                folder=Path(f"variant{v}-seed{s}"),
                per_user=pl.DataFrame({"user": users} | {m: values[m][v][s] for m in METRICS}),
            )
            for s in range(seeds)
        ]
        for v in range(variants)
    ]


@pytest.mark.parametrize("metric", METRICS)
def test_each_variant_is_compared_with_the_first_over_all_its_seeds(metric):
    values = values_of(3)
    found = differences(runs_of(values), METRICS, drawn=["ndcg@10"])
    assert len(found) == 3
    for variant, own in zip(found, values[metric][1:], strict=True):
        base, got = values[metric][0], variant[metric]
        gains = own.mean(axis=0) - base.mean(axis=0)
        assert got.mean == pytest.approx(gains.mean())
        assert got.relative == pytest.approx(gains.mean() / base.mean())
        assert (got.wins, got.ties, got.losses) == (
            (gains > 0).sum(),
            0,
            (gains < 0).sum(),
        )
        assert got.n == 60
        expected = crossed(base, own)
        assert (got.low, got.high, got.p) == (expected.low, expected.high, expected.p)
        rows = 1 + sum(each[metric].p_holm >= 0.05 for each in found if each is not variant)
        assert rows > 1  # others without evidence, for which it is corrected
        assert (got.effect, got.detectable) == effect(base, own, level=1 - 0.05 / rows)
        # A power of 80 % asks for more than half the interval, where 50 % are found.
        assert 1.2 < effect(base, own).detectable / ((got.high - got.low) / 2) < 1.6
        ends = (got.low_bootstrap, got.high_bootstrap)
        if metric == "ndcg@10":
            assert ends == bootstrap(base, own)
            assert ends[0] < got.mean < ends[1]
        else:
            assert all(map(math.isnan, ends))
        alone = stats.ttest_rel(own.mean(axis=0), base.mean(axis=0)).confidence_interval()
        assert (got.low_users, got.high_users) == pytest.approx((alone.low, alone.high))
        ranks = stats.wilcoxon(gains).pvalue
        assert got.p_wilcoxon == pytest.approx(ranks)


@pytest.mark.parametrize("metric", METRICS)
def test_p_values_are_corrected_over_the_variants_of_one_metric(metric):
    found = [variant[metric] for variant in differences(runs_of(values_of(3)), METRICS)]
    p = sorted(each.p for each in found)
    assert p[0] < 0.1
    steps = np.minimum(np.maximum.accumulate([3 * p[0], 2 * p[1], p[2]]), 1)
    assert sorted(each.p_holm for each in found) == pytest.approx(steps)
    assert all(each.p_holm >= each.p for each in found)


def test_rows_with_evidence_do_not_make_a_difference_harder_to_detect():
    values = values_of(3)
    base, other = values["ndcg@10"][:2]
    own = base[::-1]
    values["ndcg@10"] = [base, own, other + 5]
    found = differences(runs_of(values), ["ndcg@10"])
    assert found[1]["ndcg@10"].p_holm < 0.05 <= found[0]["ndcg@10"].p_holm
    assert found[0]["ndcg@10"].detectable == effect(base, own).detectable


def test_one_seed_leaves_users_only():
    for variant in differences(runs_of(values_of(1)), METRICS):
        got = variant["ndcg@10"]
        unknown = ("low", "high", "p", "p_holm", "detectable", "p_wilcoxon", "effect")
        assert all(math.isnan(getattr(got, key)) for key in unknown)
        assert got.low_users < got.mean < got.high_users


def test_users_in_another_order_are_refused():
    runs = runs_of(values_of(2))
    runs[2][1].per_user = runs[2][1].per_user.reverse()
    with refused(RunError):
        differences(runs, METRICS)


def test_the_baseline_alone_has_no_difference():
    assert differences(runs_of(values_of(2))[:1], METRICS) == []
