"""Ranks in lists that are given: as a loop over each list finds them."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softrec.data.interactions import Sequences
from softrec.data.ranked_lists import RankedLists
from softrec.data.splits import Cases
from softrec.evaluation.given import ranks_in
from softrec.evaluation.metrics import evaluate
from softrec.limits import limited
from softrec.retrieval import NOT_RANKED

N = 8
ITEMS = range(N)
UNKNOWN = -1


@st.composite
def problems(draw):
    """Cases of users 0 .. 5 in any order, and lists of some of them and of others."""
    users = draw(st.permutations(range(6)))[: draw(st.integers(1, 5))]
    mask_seen = draw(st.booleans())
    relevant = [draw(st.lists(st.sampled_from(ITEMS), min_size=1, max_size=3, unique=True))
                for _ in users]  # fmt: skip
    history = [
        draw(st.lists(st.sampled_from([i for i in ITEMS if not (mask_seen and i in own)])))
        for own in relevant
    ]
    lists = {}
    for user in range(7):
        items = draw(st.lists(st.sampled_from(ITEMS), unique=True))
        for _ in range(draw(st.integers(0, 2))):
            items.insert(draw(st.integers(0, len(items))), UNKNOWN)
        scores = sorted((draw(st.integers(0, 3)) for _ in items), reverse=True)
        lists[user] = (items, scores)
    return users, history, relevant, lists, mask_seen, draw(st.booleans()), draw(st.integers(1, 9))


def by_hand(items, scores, history, relevant, mask_seen, k):
    """Return the rank of each relevant item, and the items listed up to k."""
    left = [(i, s) for i, s in zip(items, scores, strict=True)
            if not (mask_seen and i in history)]  # fmt: skip
    ranks = []
    for wanted in relevant:
        own = [s for i, s in left if i == wanted]
        ranks.append(sum(s >= own[0] for _, s in left) if own else NOT_RANKED)
    return ranks, [i for i, _ in left[:k] if i != UNKNOWN]


@given(problems())
def test_ranks_are_those_of_a_loop(problem):
    users, history, relevant, lists, mask_seen, scored, k = problem
    cases = Cases(np.array(users), Sequences.of(history), Sequences.of(relevant))
    flat = [(u, i, s) for u in sorted(lists) for i, s in zip(*lists[u], strict=True)]
    user, item, score = (np.array([row[c] for row in flat], dtype=np.int64) for c in range(3))
    found = ranks_in(
        RankedLists(user, item, score.astype(float) if scored else None, [], pl.Series()),
        cases, N, k, mask_seen=mask_seen,
    )  # fmt: skip
    wanted, listed = [], []
    for own, seen, asked in zip(users, history, relevant, strict=True):
        items, scores = lists[own]
        scores = scores if scored else range(len(items), 0, -1)
        ranks, first = by_hand(items, scores, seen, asked, mask_seen, k)
        wanted += ranks
        listed += first
    assert found.ranks.rank.tolist() == wanted
    assert found.listed.tolist() == np.bincount(np.array(listed, dtype=int), minlength=N).tolist()
    assert found.asked.tolist() == [bool(lists[own][0]) for own in users]


def test_blocks_of_cases_change_nothing():
    rng = np.random.default_rng(0)
    lists = [rng.permutation(20)[:9] for _ in range(30)]
    asked = rng.permutation(40)[:25]
    cases = Cases(asked, Sequences.of(rng.integers(0, 10, (25, 3))), Sequences.of([[15]] * 25))
    user, item = np.repeat(np.arange(30), 9), np.concatenate(lists)
    given_lists = RankedLists(user, item, rng.integers(0, 3, 270)[::-1] * 0.5, [], pl.Series())
    whole = ranks_in(given_lists, cases, 20, 9, mask_seen=True)
    with limited(cases=4):
        parts = ranks_in(given_lists, cases, 20, 9, mask_seen=True)
    assert parts.ranks.rank.tolist() == whole.ranks.rank.tolist()
    assert parts.listed.tolist() == whole.listed.tolist()
    assert parts[3:] == whole[3:]
    assert whole.seen > 0
    assert whole.tied > 0
    assert whole.short > 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # those of Numba and ranx are not ours
def test_metrics_of_lists_are_those_of_ranx():
    """Lists of several lengths and users without any, by raw ids, 10,000 cases."""
    ranx = pytest.importorskip("ranx", reason="needs Numba, which softrec does without")
    rng = np.random.default_rng(0)
    n_cases, n_items = 10_000, 60
    order = rng.permuted(np.tile(np.arange(n_items), (n_cases, 1)), axis=1)
    number, length = rng.integers(1, 5, n_cases), rng.integers(1, 31, n_cases)
    relevant = [rng.choice(n_items, n, replace=False) for n in number]
    qrels = ranx.Qrels({f"c{c:05}": {f"i{i}": 1 for i in own} for c, own in enumerate(relevant)})
    listed = {c: row[:n] for c, (row, n) in enumerate(zip(order, length, strict=True))}
    run = ranx.Run({
        f"c{c:05}": {f"i{i}": float(n_items - place) for place, i in enumerate(row)}
        for c, row in listed.items()
    })  # fmt: skip
    metrics = [f"{m}@{k}" for m in ("recall", "hit_rate", "ndcg", "mrr") for k in (1, 5, 10, 30)]
    expected = ranx.evaluate(qrels, run, metrics, return_mean=False)
    cases = Cases(np.arange(n_cases), Sequences.of([[]] * n_cases), Sequences.of(relevant))
    user = np.repeat(np.arange(n_cases), length)
    lists = RankedLists(user, np.concatenate(list(listed.values())), None, [], pl.Series())
    found = evaluate(ranks_in(lists, cases, n_items, 30, mask_seen=True).ranks, metrics)
    for metric in metrics:
        np.testing.assert_allclose(found[metric], expected[metric], atol=1e-12, err_msg=metric)
