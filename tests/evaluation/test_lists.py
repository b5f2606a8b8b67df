import math
from math import log2

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from messages import refused
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.errors import DataError, RecipeError
from softrec.evaluation import protocol
from softrec.evaluation.listed import Listed
from softrec.evaluation.lists import list_measures, listed_counts
from softrec.types import Batch, Encoder, ItemVectors, Vectors


class Fixed(Encoder):
    """Scores by heart: the score of item i for user u is table[u, i]."""

    def __init__(self, table) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.as_tensor(table, dtype=torch.float32))
        self.n_items = self.table.shape[1]

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        return Vectors(self.table[batch.user], items or self.items())

    def items(self) -> ItemVectors:
        return ItemVectors(torch.eye(self.n_items))


def cases_of(histories) -> Cases:
    n = len(histories)
    return Cases(np.arange(n), Sequences.of(histories), Sequences.of([[0]] * n))


@pytest.mark.parametrize("mask_seen", [True, False])
def test_counts_are_those_of_sorted_lists(mask_seen, limit):
    rng = np.random.default_rng(0)
    table = rng.permuted(np.tile(np.arange(20), (50, 1)), axis=1)
    histories = [rng.choice(20, rng.integers(1, 19), replace=False) for _ in range(50)]
    expected = np.zeros(20, dtype=int)
    for scores, history in zip(table, histories, strict=True):
        left = [i for i in range(20) if not (mask_seen and i in history)]
        for item in sorted(left, key=lambda i: -scores[i])[:6]:
            expected[item] += 1
    limit(encoded=16, scores=20 * 4 * 5)
    found = listed_counts(Fixed(table), cases_of(histories), 6, length=4, mask_seen=mask_seen)
    assert found.tolist() == expected.tolist()
    assert (expected.sum() < 300) == mask_seen  # where fewer than 6 items are left, lists are short


@pytest.mark.parametrize("mask_seen", [True, False])
@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("k", [1, 6, 30])
def test_lists_are_counted_while_cases_are_ranked(mask_seen, several, k, limit):
    """The ranks stay what they are, and the counts are those of lists made for themselves."""
    rng = np.random.default_rng(1)
    model = Fixed(rng.permuted(np.tile(np.arange(20), (50, 1)), axis=1))
    histories = [rng.choice(20, rng.integers(1, 16), replace=False) for _ in range(50)]
    left = [np.setdiff1d(np.arange(20), history) for history in histories]
    relevant = [rng.choice(own, 3 if several else 1, replace=False) for own in left]
    cases = Cases(np.arange(50), Sequences.of(histories), Sequences.of(relevant))
    limit(encoded=16)
    asked = {"length": 4, "k": 5, "mask_seen": mask_seen}
    listed = Listed(k, 20)
    ranks = protocol.rank_cases(model, cases, listed=listed, **asked)
    assert ranks.rank.tolist() == protocol.rank_cases(model, cases, **asked).rank.tolist()
    expected = listed_counts(model, cases, k, length=4, mask_seen=mask_seen)
    assert listed.counts.tolist() == expected.tolist()
    assert expected.sum() == sum(min(k, len(own) if mask_seen else 20) for own in left)


def plain(counts, events, head):
    """Each measure by the words of its definition."""
    n, listed = len(counts), [i for i, c in enumerate(counts) for _ in range(c)]
    popular = sorted(range(n), key=lambda i: (-events[i], i))[: math.ceil(head * n)]
    gaps = sum(abs(int(a) - int(b)) for a in counts for b in counts)
    return (
        len(set(listed)) / n,
        gaps / (2 * n * sum(counts)),  # Gini: half the mean difference, relative to the mean
        np.mean([events[i] for i in listed]),
        np.mean([-log2(max(events[i], 1) / sum(events)) for i in listed]),
        np.mean([i not in popular for i in listed]),
    )


def counts_of(n):
    return hnp.arrays(np.int64, n, elements=st.integers(0, 9))


both = st.integers(1, 12).flatmap(
    lambda n: st.tuples(
        counts_of(n).filter(lambda c: c.sum() > 0), counts_of(n).filter(lambda c: c.sum() > 0)
    )
)


@given(both, st.floats(0.01, 0.99))
def test_measures_are_those_of_their_definitions(pair, head):
    counts, events = pair
    found = list_measures(counts, events, head=head)
    assert found == pytest.approx(plain(counts.tolist(), events.tolist(), head), abs=1e-12)


@given(both, st.integers(0, 10**6))
def test_bounds_and_order(pair, seed):
    counts, events = pair
    n = len(counts)
    found = list_measures(counts, events)
    assert 1 / n <= found.coverage <= 1
    assert -1e-12 <= found.gini <= (n - 1) / n + 1e-12
    assert events.min() - 1e-12 <= found.popularity <= events.max() + 1e-12
    assert -1e-12 <= found.novelty <= log2(events.sum()) + 1e-12
    assert 0 <= found.tail_fraction <= 1
    order = np.random.default_rng(seed).permutation(n)
    moved = list_measures(counts[order], events[order])
    assert moved[:4] == pytest.approx(found[:4], abs=1e-12)
    apart = np.arange(n)[::-1]  # without ties the numbers of the items do not matter
    assert list_measures(counts[order], apart[order] + 1) == pytest.approx(
        list_measures(counts, apart + 1), abs=1e-12
    )


@given(both, st.integers(2, 50))
def test_more_of_the_same_lists_change_nothing(pair, times):
    counts, events = pair
    assert list_measures(times * counts, events) == pytest.approx(list_measures(counts, events))


def test_extremes():
    events = np.array([8, 4, 2, 1, 1])
    even = list_measures(np.full(5, 3), events)
    assert (even.coverage, even.gini) == (1.0, pytest.approx(0.0))
    one = list_measures(np.array([0, 0, 0, 7, 0]), events)
    assert one == pytest.approx((0.2, 0.8, 1.0, 4.0, 1.0))


def test_large_counts_do_not_overflow():
    counts = np.full(1000, 2**40)
    assert list_measures(counts, counts).gini == pytest.approx(0.0, abs=1e-9)


def test_nothing_listed():
    found = list_measures(np.zeros(3, dtype=int), np.ones(3, dtype=int))
    assert found.coverage == 0
    assert all(map(math.isnan, found[1:]))


@pytest.mark.parametrize(
    ("counts", "events"),
    [([1, 2], [1]), ([[1]], [[1]]), ([], []), ([1, -1], [1, 1]), ([1, 1], [0, 0])],
)
def test_what_are_no_counts(counts, events):
    with refused(DataError):
        list_measures(np.array(counts, dtype=int), np.array(events, dtype=int))


@pytest.mark.parametrize("head", [0, 1, -0.5, float("nan")])
def test_a_head_that_is_none(head):
    with refused(RecipeError):
        list_measures(np.array([1, 1]), np.array([1, 1]), head=head)
