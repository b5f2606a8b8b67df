"""The truth of the simulated shop is asked what evaluation asks."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from softrec.experiments import truth as module
from softrec.experiments.build.data import load_split
from softrec.experiments.build.shop import shop_of
from softrec.experiments.truth import lists, truth_of
from softrec.recipe.recipe import read_recipe
from softrec.simulation import next_item
from softrec.types import Encoder, ItemVectors, Vectors

SHOP = {"n_items": 40, "n_users": 80, "min_length": 4, "max_length": 12}


def asked(shop: dict | None = None, **sections: dict):
    """The recipe, the test cases and the truth for dials of the shop."""
    data = {"source": "shop", "shop": SHOP | (shop or {})} | sections.pop("data", {})
    evaluation = {"metrics": ["ndcg@10", "recall@5"]} | sections.pop("evaluation", {})
    recipe = read_recipe({"data": data, "evaluation": evaluation, **sections})
    split = load_split(recipe.data)
    cases = split.cases("test")
    return recipe, cases, *truth_of(recipe, split, cases)


def chances(recipe, cases, *, exposed: bool) -> np.ndarray:
    """The true distribution of the next item of each case, (C, N)."""
    shop = shop_of(recipe.data)
    return np.concatenate([p for _, p in next_item(shop, cases.history, exposed=exposed)])


@pytest.mark.parametrize("open_test", [True, False])
def test_the_ceiling_is_of_the_distribution_the_test_items_came_from(open_test):
    recipe, cases, truth, gap = asked({"open_test": open_test})
    assert gap == ""
    ceilings = {}
    for exposed in (False, True):
        p = chances(recipe, cases, exposed=exposed)
        gained = hit = 0.0
        for row, item in zip(p, cases.relevant.items, strict=True):
            rank = 1 + sum(other >= row[item] for n, other in enumerate(row) if n != item)
            gained += 1 / np.log2(rank + 1) if rank <= 10 else 0
            hit += rank <= 5
        ceilings[exposed] = {"ndcg@10": gained / len(p), "recall@5": hit / len(p)}
    assert ceilings[True]["ndcg@10"] != ceilings[False]["ndcg@10"]
    assert truth.best_metrics() == pytest.approx(ceilings[not open_test])


@pytest.mark.parametrize("open_test", [True, False])
def test_no_list_is_better_than_the_best_and_only_the_best_lacks_nothing(monkeypatch, open_test):
    recipe, cases, truth, _ = asked({"open_test": open_test})
    rng = np.random.default_rng(0)
    regret = {}
    for name, scores in {
        "exposed": chances(recipe, cases, exposed=True),
        "open": chances(recipe, cases, exposed=False),
        "any": rng.random((len(cases), 40)),
    }.items():
        listed = np.argsort(-scores, axis=1)[:, :10]
        monkeypatch.setattr(module, "lists", lambda run, cases, k, listed=listed: listed[:, :k])
        regret[name] = truth.regret([None])
    right, wrong = ("open", "exposed") if open_test else ("exposed", "open")
    assert regret[right] == pytest.approx({"recall@10": 0, "ndcg@10": 0})
    assert all(value > 1e-4 for value in regret[wrong].values())
    assert all(value > 0.05 for value in regret["any"].values())


def test_regret_is_a_mean_over_all_seeds(monkeypatch):
    recipe, cases, truth, _ = asked()
    p = chances(recipe, cases, exposed=False)
    best, worst = np.argsort(-p, axis=1)[:, :10], np.argsort(p, axis=1)[:, :10]
    monkeypatch.setattr(module, "lists", lambda run, cases, k: run[:, :k])
    alone = truth.regret([worst])
    assert truth.regret([best, worst]) == pytest.approx({k: v / 2 for k, v in alone.items()})
    taken = np.sort(p, axis=1)
    assert alone["recall@10"] == pytest.approx((taken[:, -10:] - taken[:, :10]).sum(1).mean())


class HighNumbers(Encoder):
    """Ranks items by their number, the highest first."""

    n_items = 40

    def items(self) -> ItemVectors:
        return ItemVectors(torch.arange(40.0)[:, None], None)

    def forward(self, batch, items=None):
        return Vectors(torch.ones(len(batch.label), 1), items or self.items())


@pytest.mark.parametrize("mask_seen", [True, False])
def test_lists_leave_the_history_out_as_the_evaluation_of_the_run_does(mask_seen):
    recipe, cases, _, _ = asked()
    run = SimpleNamespace(model=HighNumbers, recipe=recipe, mask_seen=mask_seen)
    for row, listed in enumerate(lists(run, cases, 10)):
        left = [n for n in range(39, -1, -1) if not mask_seen or n not in cases.history[row]]
        assert listed.tolist() == left[:10]


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"data": {"split": "user-ratio"}}, "only knows the next item: use --split leave-last-out"),
        ({"data": {"split": "time"}, "shop": {"times": True}}, "only knows the next item"),
        ({"evaluation": {"negatives": 5}}, "among sampled items"),
        ({"data": {"first_items": 2}}, "later items than the next one"),
    ],
)
def test_where_the_truth_is_not_known_the_reason_is_told(sections, reason):
    _, _, truth, gap = asked(**sections)
    assert truth is None
    assert reason in gap


def test_a_log_of_ones_own_has_no_truth_and_no_reason(tmp_path):
    recipe = read_recipe({"data": {"source": str(tmp_path / "log.csv")}})
    assert truth_of(recipe, None, None) == (None, "")  # pyright: ignore[reportArgumentType]
