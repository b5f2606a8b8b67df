"""Sampled negatives are drawn as they should be, and ranks among them equal plain loops."""

import tracemalloc
from math import log2

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from messages import refused
from softrec.data.interactions import Sequences
from softrec.data.splits import Cases
from softrec.errors import DataError
from softrec.evaluation.negatives import rank_among, sampled_negatives
from softrec.evaluation.protocol import rank_cases, score_cases
from softrec.limits import LIMITS
from softrec.types import Batch, Encoder, ItemVectors, Products, Vectors

some_known = st.lists(st.lists(st.integers(0, 8), max_size=12), min_size=1, max_size=9)


def random_known(n_users: int, n_items: int, longest: int, seed: int = 3) -> Sequences:
    rng = np.random.default_rng(seed)
    return Sequences.of(
        [rng.integers(0, n_items, rng.integers(0, longest)) for _ in range(n_users)]
    )


# --- drawing ---


@given(some_known, st.integers(0, 5), st.integers(1, 40), st.data())
def test_no_negative_is_known_and_all_are_items(lists, seed, number, data):
    known = Sequences.of(lists)
    users = np.array(data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=12)), dtype=int)
    drawn = sampled_negatives(10, known, users, number, seed)
    assert drawn.shape == (len(users), number)
    assert drawn.dtype == np.int32
    for user, row in zip(users, drawn.tolist(), strict=True):
        assert set(row) <= set(range(10)) - set(lists[user])


@pytest.mark.parametrize(
    "mine", [[], [0], [9], [0, 1, 2], [7, 8, 9], [3, 3, 5], list(range(9)), list(range(1, 10))]
)
def test_every_unknown_item_is_drawn_equally_often(mine):
    """Chi-square of 100,000 draws; the seed is fixed, so that it passes always or never."""
    known = Sequences.of([[1, 4], mine, [0]])
    counts = np.bincount(sampled_negatives(10, known, np.array([1]), 100_000, 0)[0], minlength=10)
    free = np.setdiff1d(np.arange(10), mine)
    assert counts.sum() == counts[free].sum() == 100_000
    expected = 100_000 / len(free)
    statistic = float(((counts[free] - expected) ** 2 / expected).sum())
    assert statistic <= chi2.ppf(0.999, max(len(free) - 1, 1))


def test_users_are_drawn_for_apart():
    """Pairs of draws of two users, and of one after the other, are as often as chance has it."""
    drawn = sampled_negatives(5, Sequences.of([[0], [0]]), np.array([0, 1]), 40_000, 1) - 1
    pairs = (drawn[0] * 4 + drawn[1], drawn[0][:-1:2] * 4 + drawn[0][1::2])
    for both in pairs:
        expected = len(both) / 16
        statistic = float(((np.bincount(both, minlength=16) - expected) ** 2 / expected).sum())
        assert statistic <= chi2.ppf(0.999, 15)


def test_the_seed_decides():
    known, users = random_known(600, 50, 20), np.arange(600)
    first = sampled_negatives(50, known, users, 30, 7)
    np.testing.assert_array_equal(sampled_negatives(50, known, users, 30, 7), first)
    assert (sampled_negatives(50, known, users, 30, 8) != first).mean() > 0.9
    assert len(np.unique(first, axis=0)) == 600  # no two users alike, in any block


@pytest.mark.parametrize("at_once", [1, 7, 256, 10_000])
def test_a_user_gets_the_same_whoever_else_is_asked(at_once):
    """So validation and test meet the same negatives, though some users have only one of them."""
    known = random_known(600, 50, 20)
    every = sampled_negatives(50, known, np.arange(600), 9, 2, per_stream=at_once)
    some = np.array([599, 3, 256, 3, 255, 0, 431])
    drawn = sampled_negatives(50, known, some, 9, 2, per_stream=at_once)
    np.testing.assert_array_equal(drawn, every[some])


def test_the_order_of_known_items_does_not_matter():
    forth, back = (Sequences.of([items]) for items in ([1, 5, 5, 2], [5, 2, 1]))
    drawn = [sampled_negatives(9, known, np.array([0]), 50, 0) for known in (forth, back)]
    np.testing.assert_array_equal(*drawn)


def test_one_item_left_is_drawn_all_the_time():
    known = Sequences.of([[0, 1, 3], []])
    assert sampled_negatives(4, known, np.array([0]), 6, 0).tolist() == [[2] * 6]


def test_who_took_all_items_is_named():
    known = Sequences.of([[0], [2, 0, 1, 1], [1]])
    with refused(DataError):
        sampled_negatives(3, known, np.array([2, 1]), 4, 0)
    assert sampled_negatives(3, known, np.array([2, 0]), 4, 0).shape == (2, 4)  # not asked


@pytest.mark.parametrize("number", [0, -1])
def test_there_must_be_negatives(number):
    with refused(ValueError):
        sampled_negatives(3, Sequences.of([[0]]), np.array([0]), number, 0)


def test_drawing_needs_little_more_memory_than_its_result():
    known, users = random_known(3000, 5000, 30), np.arange(3000)
    tracemalloc.start()
    drawn = sampled_negatives(5000, known, users, 1000, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    one_block = 64 * 1000 * 8
    assert peak < drawn.nbytes + 6 * one_block  # as int64, all would be 2 x drawn.nbytes more
    assert 6 * one_block < 1.1 * drawn.nbytes


# --- ranking ---


def slow_ranks(users, vectors, bias, label, negatives) -> list[int]:
    """The definition, a number at a time in float64."""

    def score(user, item):
        interests = user if user.ndim == 2 else user[None]
        dots = [sum(float(a) * float(b) for a, b in zip(h, vectors[item])) for h in interests]  # noqa: B905
        return max(dots) + (0.0 if bias is None else float(bias[item]))

    return [
        1 + sum(score(user, item) >= score(user, mine) for item in others)
        for user, mine, others in zip(users, label, negatives, strict=True)
    ]


@pytest.mark.parametrize("block", [1, 2000, 2**21])
@pytest.mark.parametrize("interests", [0, 1, 3])
@pytest.mark.parametrize("with_bias", [False, True])
def test_ranks_equal_the_definition(limit, interests, with_bias, block):
    """Small whole numbers: many ties, and float32 is exact."""
    limit(negatives=block)
    rng = np.random.default_rng(interests)
    shape = (23, interests, 5) if interests else (23, 5)
    users, vectors = rng.integers(-2, 3, shape), rng.integers(-2, 3, (12, 5))
    bias = rng.integers(-2, 3, 12) if with_bias else None
    label, others = rng.integers(0, 12, 23), rng.integers(0, 12, (23, 40)).astype(np.int32)
    items = ItemVectors(
        torch.from_numpy(vectors).float(),
        None if bias is None else torch.from_numpy(bias).float(),
    )
    ranks = rank_among(
        Products(torch.from_numpy(users).float(), items),
        torch.from_numpy(label),
        torch.from_numpy(others),
    )
    assert ranks.dtype == torch.int64
    assert ranks.tolist() == slow_ranks(users, vectors, bias, label, others)


def test_a_negative_counts_as_often_as_it_was_drawn():
    items = ItemVectors(torch.tensor([[1.0], [2.0], [3.0]]))
    others = torch.tensor([[2, 2, 0, 2], [0, 0, 0, 0]], dtype=torch.int32)
    assert rank_among(Products(torch.ones(2, 1), items), torch.tensor([1, 1]), others).tolist() == [
        4,
        1,
    ]


@pytest.mark.parametrize("interests", [1, 4])
@pytest.mark.parametrize("number", [1, 4, 12, 63, 1000])
@pytest.mark.parametrize("dim", [1, 33, 64, 100])
def test_a_constant_model_ranks_last(dim, number, interests):
    """Equal vectors of any real numbers tie exactly, wherever they stand among the negatives."""
    torch.manual_seed(dim)
    items = ItemVectors(torch.randn(1, dim).repeat(20, 1), torch.full((20,), 0.3))
    users, others = torch.randn(3, interests, dim), torch.randint(1, 20, (3, number))
    assert (
        rank_among(Products(users, items), torch.zeros(3).long(), others).tolist()
        == [number + 1] * 3
    )


@pytest.mark.parametrize("interests", [1, 2])
def test_scores_that_are_no_numbers_rank_last(interests):
    vectors = torch.tensor([[1.0], [torch.nan], [0.5], [torch.inf], [-torch.inf]])
    others = torch.tensor([[1, 1, 2], [0, 1, 2], [0, 3, 2], [1, 2, 0]])
    label = torch.tensor([0, 1, 3, 4])
    ranks = rank_among(Products(torch.ones(4, interests, 1), ItemVectors(vectors)), label, others)
    assert ranks.tolist() == [1, 4, 2, 3]  # an infinite negative ties with an infinite label


class Largest(TorchDispatchMode):
    """Remembers the largest result of any operation, in bytes."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.bytes = max(self.bytes, result.numel() * result.element_size())
        return result


@pytest.mark.parametrize("interests", [1, 4])
def test_no_table_of_users_and_items_or_of_all_gathered_vectors_is_made(interests):
    torch.manual_seed(0)
    users, vectors = torch.randn(300, interests, 16), torch.randn(20_000, 16)
    label, others = torch.randint(0, 20_000, (300,)), torch.randint(0, 20_000, (300, 500)).int()
    with Largest() as largest:
        rank_among(Products(users, ItemVectors(vectors)), label, others)
    assert largest.bytes <= LIMITS.negatives < others.numel() * 4 * 16
    assert largest.bytes < 300 * 20_000 * 4


# --- the protocol ---


class Fixed(Encoder):
    """Scores by heart: the score of item i for user u is table[u, i]."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)
        self.n_items = table.shape[1]
        self.asked = 0

    def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
        self.asked += 1
        return Vectors(self.table[batch.user], items or self.items())

    def items(self) -> ItemVectors:
        return ItemVectors(torch.eye(self.n_items))


TABLE = torch.tensor([[9.0, 8.0, 7.0, 6.0, 5.0], [1.0, 5.0, 5.0, 2.0, 0.0]])
CASES = Cases(np.array([1, 0, 1]), Sequences.of([[3], [0, 1], [0]]), Sequences.of([[2], [3], [1]]))
OTHERS = np.array([[1, 1, 3, 0], [0, 4, 4, 2], [4, 3, 4, 0]], dtype=np.int32)


@pytest.mark.parametrize("at_once", [1, 2, 1024])
@pytest.mark.parametrize("mask_seen", [True, False])
def test_only_the_negatives_of_a_case_compete(limit, at_once, mask_seen):
    """Nothing is masked: item 0 of the second case is in its history and still stands above."""
    limit(encoded=at_once)
    table = score_cases(
        Fixed(TABLE),
        CASES,
        ["ndcg@3", "hit_rate@2"],
        length=5,
        mask_seen=mask_seen,
        negatives=OTHERS,
    )
    assert table.columns == ["rank", "ndcg@3", "hit_rate@2"]
    assert table["rank"].to_list() == [3, 3, 1]
    assert table["ndcg@3"].to_list() == pytest.approx([1 / log2(4), 1 / log2(4), 1], rel=1e-12)
    assert table["hit_rate@2"].to_list() == [0, 0, 1]
    ranks = rank_cases(Fixed(TABLE), CASES, length=5, k=1, negatives=OTHERS)
    assert ranks.rank.tolist() == [3, 3, 1]  # whatever k


def test_all_unknown_items_as_negatives_are_a_full_ranking():
    """With each unseen item drawn once the rank is that of the full ranking under a mask."""
    rng = np.random.default_rng(0)
    taken = [rng.permutation(12)[:4].tolist() for _ in range(20)]
    cases = Cases(
        np.arange(20),
        Sequences.of([items[:3] for items in taken]),
        Sequences.of([items[3:] for items in taken]),
    )
    others = np.array([sorted(set(range(12)) - set(items)) for items in taken])
    encoder = Fixed(torch.from_numpy(rng.integers(0, 5, (20, 12))).float())
    full = rank_cases(encoder, cases, length=3, k=5)
    sampled = rank_cases(encoder, cases, length=3, k=5, negatives=others)
    np.testing.assert_array_equal(sampled.rank, full.rank)
    assert len(set(full.rank.tolist())) > 3


def test_a_model_that_guesses_hits_as_theory_says():
    """Among 1000 negatives, 10 of 1001 places are hits: within 4 standard errors of 6000 cases."""

    class Guess(Encoder):
        n_items = 3000

        def __init__(self) -> None:
            super().__init__()
            self.generator = torch.Generator().manual_seed(1)
            self.vectors = torch.randn(3000, 8, generator=self.generator)

        def forward(self, batch: Batch, items: ItemVectors | None = None) -> Vectors:
            users = torch.randn(len(batch.user), 8, generator=self.generator)
            return Vectors(users, items or self.items())

        def items(self) -> ItemVectors:
            return ItemVectors(self.vectors)

    rng = np.random.default_rng(0)
    users, label = np.arange(6000), rng.integers(0, 3000, (6000, 1))
    cases = Cases(users, Sequences.of(rng.integers(0, 3000, (6000, 3))), Sequences.of(label))
    drawn = sampled_negatives(3000, cases.relevant, users, 1000, 0)
    table = score_cases(Guess(), cases, ["hit_rate@10", "ndcg@10"], length=3, negatives=drawn)
    chance = 10 / 1001
    error = (chance * (1 - chance) / 6000) ** 0.5
    assert abs(table["hit_rate@10"].to_numpy().mean() - chance) < 4 * error
    gains = np.array([1 / log2(rank + 1) for rank in range(1, 11)])
    spread = ((gains**2).sum() / 1001 - (gains.sum() / 1001) ** 2) ** 0.5
    assert abs(table["ndcg@10"].to_numpy().mean() - gains.sum() / 1001) < 4 * spread / 6000**0.5


def test_several_relevant_items_are_refused_before_any_work():
    cases = Cases(np.array([0, 1]), Sequences.of([[0], [1]]), Sequences.of([[2], [3, 4]]))
    encoder = Fixed(TABLE)
    with refused(DataError):
        rank_cases(encoder, cases, length=5, k=2, negatives=OTHERS[:2])
    assert encoder.asked == 0


@pytest.mark.parametrize("others", [OTHERS[:2], OTHERS[0]])
def test_each_case_needs_its_negatives(others):
    with refused(ValueError):
        score_cases(Fixed(TABLE), CASES, ["ndcg@3"], length=5, negatives=others)


def test_no_cases_give_an_empty_table():
    nobody = np.empty(0, dtype=np.int64)
    cases = Cases(nobody, Sequences.of([]), Sequences.of([]))
    drawn = sampled_negatives(5, Sequences.of([[1]]), nobody, 7, 0)
    assert drawn.shape == (0, 7)
    assert score_cases(Fixed(TABLE), cases, ["ndcg@3"], length=5, negatives=drawn).height == 0
