"""The best possible ranking of a simulated shop, and the difference of a model from it.

It uses the same cases as the evaluation, with seen items masked or not, and with the last event of
a user open or biased by exposure, as it was simulated.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from softrec.data.named import SHOP
from softrec.data.splits import Cases, Split
from softrec.evaluation.metrics import NOT_RANKED, Ranks, evaluate, parse_metric
from softrec.evaluation.protocol import batches_of, seen_of
from softrec.experiments.build.shop import shop_of
from softrec.experiments.runs import ranked
from softrec.experiments.train import Run
from softrec.recipe.recipe import Recipe
from softrec.retrieval import top_k
from softrec.simulation import Shop, best_items, best_ranks, expected_metrics
from softrec.types import device_of, evaluating

LONGEST = 10
"""The longest list that is compared with the truth."""


class Truth:
    """The best ranking of test cases, and the regret of the lists of a model.

    The regret is an expectation over the true distribution of the next item, so it does not depend
    on which item was drawn.

    Args:
        shop: the simulator.
        cases: the test cases; the relevant item of each is the next one.
        metrics: names such as "ndcg@10".
        exposed: whether the relevant items are biased by exposure, like the rest of the log.
    """

    def __init__(self, shop: Shop, cases: Cases, metrics: Sequence[str], *, exposed: bool) -> None:
        self.shop = shop
        self.cases = cases
        self.metrics = metrics
        self.exposed = exposed
        self.k = max(parse_metric(metric)[1] for metric in metrics)

    def best_metrics(self) -> dict[str, float]:
        """Return the test metrics of the best ranking, for the relevant items of the cases."""
        ranks = best_ranks(self.shop, self.cases, exposed=self.exposed)
        rank = np.where(ranks <= self.k, ranks, NOT_RANKED)
        one = np.arange(len(self.cases))
        table = evaluate(Ranks(one, rank, self.cases.relevant.lengths), self.metrics)
        return {name: float(np.mean(table[name].to_numpy())) for name in table.columns}

    def regret(self, runs: Sequence[Run]) -> dict[str, float]:
        """Return the regret: the best expected hit rate and NDCG minus the model's, over seeds."""
        k = min(self.k, LONGEST, self.shop.n_items)
        best = self._expected(best_items(self.shop, self.cases, k, exposed=self.exposed))
        own = np.mean([self._expected(lists(run, self.cases, k)) for run in runs], axis=0)
        hit, ndcg = (best - own).tolist()
        return {f"recall@{k}": hit, f"ndcg@{k}": ndcg}

    def _expected(self, items: np.ndarray) -> np.ndarray:
        """Return the mean expected hit rate and NDCG of a list for each case, (2,)."""
        found = expected_metrics(self.shop, self.cases, items, exposed=self.exposed)
        return np.array([found.hit.mean(), found.ndcg.mean()])


def truth_of(recipe: Recipe, split: Split, cases: Cases) -> tuple[Truth | None, str]:
    """Return the truth about the test cases of a recipe, or None with the reason.

    The reason is empty if the log is not simulated.
    """
    data = recipe.data
    if data.source != SHOP:
        return None, ""
    if recipe.evaluation.negatives is not None:
        return None, _without("items are ranked among sampled items, not among all")
    if data.split not in (None, "leave-last-out"):
        return None, _without("the simulator only knows the next item: use --split leave-last-out")
    if data.order != "log":
        return None, _without("the histories are in random order")
    if data.first_items is not None:
        return None, _without("it is asked for later items than the next one")
    shop = shop_of(data)
    if not split.train.items.raw.equals(shop.items.raw):
        return None, _without("some items of its catalogue are not in the log")
    exposed = not data.shop.get("open_test", True)
    return Truth(shop, cases, recipe.evaluation.metrics, exposed=exposed), ""


def _without(why: str) -> str:
    return f"The best possible ranking is not shown, because {why}."


def lists(run: Run, cases: Cases, k: int) -> np.ndarray:
    """Return the top k of a run for each case, (C, k); seen items masked as in its evaluation."""
    model = ranked(run.model(), run.recipe)
    found = []
    with evaluating(model), torch.no_grad():
        score, device = model.scores(), device_of(model)
        for rows, batch in batches_of(cases, run.recipe.training.length, model):
            seen = seen_of(cases, rows, device) if run.mask_seen else None
            found.append(top_k(score(batch), k, seen).items.cpu().numpy())
    return np.concatenate(found)
