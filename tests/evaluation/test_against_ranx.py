"""The metrics are those of ranx, an independent library, on 10,000 random cases.

ranx needs Numba, so it is no dependency of the tests: `pip install ranx` runs them.
"""

import numpy as np
import pytest

from softrec.evaluation.metrics import Ranks, evaluate
from softrec.retrieval import NOT_RANKED

CASES, ITEMS, LISTED = 10_000, 60, 30
KINDS = ("recall", "hit_rate", "precision", "ndcg", "mrr")
METRICS = [f"{kind}@{k}" for kind in KINDS for k in (1, 5, 10, 30)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Numba and ranx are not ours
@pytest.mark.parametrize("single", [True, False], ids=["one relevant item", "several"])
def test_metrics_are_those_of_ranx(single):
    ranx = pytest.importorskip("ranx", reason="needs Numba, which softrec does without")
    rng = np.random.default_rng(0)
    order = rng.permuted(np.tile(np.arange(ITEMS), (CASES, 1)), axis=1)  # best first
    number = np.ones(CASES, dtype=int) if single else rng.integers(1, 41, CASES)
    relevant = [rng.choice(ITEMS, n, replace=False) for n in number]
    # ranx is given the lists by raw ids, softrec the ranks; only LISTED items are ranked.
    qrels = ranx.Qrels({f"c{c:05}": {f"i{i}": 1 for i in own} for c, own in enumerate(relevant)})
    run = ranx.Run(
        {
            f"c{c:05}": {f"i{i}": float(LISTED - place) for place, i in enumerate(row[:LISTED])}
            for c, row in enumerate(order)
        }
    )
    expected = ranx.evaluate(qrels, run, METRICS, return_mean=False)
    place = np.argsort(order, axis=1) + 1
    case = np.repeat(np.arange(CASES), number)
    rank = place[case, np.concatenate(relevant)]
    rank[rank > LISTED] = NOT_RANKED
    found = evaluate(Ranks(case, rank, number), METRICS)
    for metric in METRICS:  # ranx sorts the cases by their ids, which is their order
        np.testing.assert_allclose(found[metric], expected[metric], atol=1e-12, err_msg=metric)
