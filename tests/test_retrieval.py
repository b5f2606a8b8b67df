import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.retrieval import (
    GROUP,
    NOT_RANKED,
    Seen,
    rank_and_top_k,
    rank_of,
    ranks_within,
    score_blocks,
    top_k,
)
from softrec.types import ItemVectors, Products

# Vectors of small whole numbers score exactly, so that ties are ties whatever the block size.
INF = math.inf


def whole(generator: np.random.Generator, *shape: int, spread: int = 3) -> torch.Tensor:
    return torch.from_numpy(generator.integers(-spread, spread + 1, shape).astype(np.float32))


def seen_lists(lists: list[list[int]]) -> Seen:
    offsets = np.cumsum([0, *map(len, lists)])
    flat = [item for items in lists for item in items]
    return Seen(torch.from_numpy(offsets), torch.tensor(flat, dtype=torch.int64))


def slow_scores(users, items, seen=None) -> list[list[float]]:
    """From the definition: the best interest, plus the bias, -inf where seen."""
    vectors = items.vectors.tolist()
    bias = [0.0] * len(vectors) if items.bias is None else items.bias.tolist()
    table = []
    for row, user in enumerate(users.tolist()):
        interests = user if users.dim() == 3 else [user]
        scores = [
            max(sum(a * b for a, b in zip(interest, vector, strict=True)) for interest in interests)
            + bias[number]
            for number, vector in enumerate(vectors)
        ]
        if seen is not None:
            for item in seen[row]:
                scores[item] = -INF
        table.append(scores)
    return table


def slow_rank(scores: list[float], label: int) -> int:
    """1 + how many others are at least as good; no number ranks last."""
    if math.isnan(scores[label]):
        return len(scores)
    return 1 + sum(score >= scores[label] for item, score in enumerate(scores) if item != label)


def problem(seed: int, n_users: int, n_items: int, interests: int | None, bias: bool):
    """Users, items and seen lists with many ties."""
    generator = np.random.default_rng(seed)
    shape = (n_users, 4) if interests is None else (n_users, interests, 4)
    users = whole(generator, *shape)
    items = ItemVectors(
        whole(generator, n_items, 4), whole(generator, n_items) / 2 if bias else None
    )
    lists = [
        generator.choice(
            n_items, generator.integers(0, max(1, n_items // 2)), replace=False
        ).tolist()
        for _ in range(n_users)
    ]
    label = torch.from_numpy(generator.integers(0, n_items, n_users))
    return users, items, lists, label


problems = st.builds(
    problem,
    st.integers(0, 10**6),
    st.integers(1, 6),
    st.sampled_from([1, 2, 9, 30]),
    st.sampled_from([None, 1, 3]),
    st.booleans(),
)


@pytest.fixture(params=[1, 4000, 48 * 2**20], ids=["one user", "a few", "all at once"])
def block_bytes(request, limit):
    limit(scores=request.param)


# --- the rank of one item ---


@given(problems, st.booleans())
def test_rank_of_equals_the_definition(problem, mask):
    users, items, lists, label = problem
    seen = lists if mask else None
    scores = slow_scores(users, items, seen)
    expected = [slow_rank(row, item) for row, item in zip(scores, label.tolist(), strict=True)]
    got = rank_of(Products(users, items), label, None if seen is None else seen_lists(seen))
    assert got.tolist() == expected
    assert got.dtype == torch.int64


def test_ties_count_against_the_label():
    items = ItemVectors(torch.zeros(5, 2))
    assert rank_of(Products(torch.ones(2, 2), items), torch.tensor([0, 3])).tolist() == [5, 5]


def within(scores, row, item, k, seen=None):
    return ranks_within(top_k(scores, min(k + 1, scores.n_items), seen), row, item, k)


def test_seen_items_leave_and_a_seen_label_ranks_last():
    """Kept in alone, it would have lost its rivals of the history, and rank 2 here, not 4."""
    items = ItemVectors(torch.tensor([[3.0], [2.0], [1.0], [0.0]]))
    seen = seen_lists([[0, 2], [0, 2]])
    ranks = rank_of(Products(torch.ones(2, 1), items), torch.tensor([2, 1]), seen)
    assert ranks.tolist() == [4, 1]
    pairs = torch.tensor([0, 1]), torch.tensor([2, 1])
    assert within(Products(torch.ones(2, 1), items), *pairs, 3, seen).tolist() == [
        NOT_RANKED,
        1,
    ]


@pytest.mark.parametrize("n_users", [1, 2, 5])
@pytest.mark.parametrize("interests", [None, 2])
def test_equal_vectors_score_alike_whatever_the_numbers(n_users, interests):
    """A model that collapsed wins nothing by rounding, one user at a time either."""
    draw = torch.Generator().manual_seed(n_users)
    for n_items in (2, 17, 101, 1031):
        for dim in (3, 16, 64, 100, 128):
            shape = (n_users, dim) if interests is None else (n_users, interests, dim)
            one = torch.randn(1, dim, generator=draw)
            label = torch.randint(0, n_items, (n_users,), generator=draw)
            items = ItemVectors(one.repeat(n_items, 1))
            ranks = rank_of(Products(torch.randn(shape, generator=draw), items), label)
            assert ranks.tolist() == [n_items] * n_users, (n_items, dim)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float32, torch.float64])
def test_ties_are_counted_exactly_in_every_precision(precision):
    """bfloat16 itself counts to 256."""
    items = ItemVectors(torch.cat([torch.zeros(1000, 1), torch.ones(3000, 1)]).to(precision))
    label = torch.tensor([0, 3999])
    assert rank_of(Products(torch.ones(2, 1, dtype=precision), items), label).tolist() == [
        4000,
        3000,
    ]


def test_a_catalogue_of_one_item():
    users, items = torch.ones(3, 2), ItemVectors(torch.ones(1, 2), torch.ones(1))
    only = torch.zeros(3, dtype=torch.int64)
    assert rank_of(Products(users, items), only).tolist() == [1, 1, 1]
    assert within(Products(users, items), torch.arange(3), only, 10).tolist() == [1, 1, 1]
    assert top_k(Products(users, items), 1).items.tolist() == [[0]] * 3


def test_scores_that_are_no_numbers_rank_last():
    items = ItemVectors(torch.tensor([[1.0], [math.nan], [0.5], [-2.0]]))
    users = torch.ones(4, 1)
    assert rank_of(Products(users, items), torch.arange(4)).tolist() == [1, 4, 2, 3]
    hopeless = torch.full((4, 1), math.nan)
    assert rank_of(Products(hopeless, items), torch.arange(4)).tolist() == [4] * 4


# --- the best items ---


def check_top(users, items, k, seen) -> None:
    scores = slow_scores(users, items, seen)
    best = top_k(Products(users, items), k, None if seen is None else seen_lists(seen))
    assert best.scores.shape == best.items.shape == (len(users), k)
    for row, table in enumerate(scores):
        assert best.scores[row].tolist() == sorted(table, reverse=True)[:k]
        chosen = best.items[row].tolist()
        assert [table[item] for item in chosen] == best.scores[row].tolist()
        assert len(set(chosen)) == k
        left = [item for item, score in enumerate(table) if score > -INF]
        wanted = sorted(left, key=lambda item: (-table[item], item))[:k]
        assert chosen[: len(wanted)] == wanted


@given(problems, st.booleans(), st.data())
def test_top_k_equals_the_definition(problem, mask, data):
    users, items, lists, _ = problem
    k = data.draw(st.integers(1, len(items.vectors)))
    check_top(users, items, k, lists if mask else None)


@pytest.mark.parametrize("interests", [None, 3])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(
    ("n_items", "k"),
    [
        (4 * GROUP, 1),  # the smallest catalogue that is searched by groups
        (8 * GROUP, 2),
        (8 * GROUP + 1, 2),
        (10 * GROUP - 1, 2),
        (50 * GROUP + 17, 10),
        (4 * GROUP - 1, 1),  # just too small
    ],
)
def test_top_k_by_groups_equals_the_definition(n_items, k, interests, mask):
    users, items, lists, _ = problem(n_items + k, 3, n_items, interests, True)
    check_top(users, items, k, lists if mask else None)


@pytest.mark.parametrize("levels", [1, 2, 40, 3000])
@pytest.mark.parametrize("n_items", [5, 9 * GROUP - 1, 90 * GROUP + 3])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_of_equal_scores_the_first_items_are_listed_whoever_else_is_asked_for(
    kind, n_items, levels
):
    draw = torch.Generator().manual_seed(levels)
    users = torch.eye(70, 5).to(kind)[torch.randint(0, 5, (70,), generator=draw)]
    vectors = torch.randint(0, levels, (n_items, 5), generator=draw).to(kind)
    vectors[torch.randint(0, n_items, (3,), generator=draw)] = math.nan
    items = ItemVectors(vectors)
    k = min(20, n_items)
    best = top_k(Products(users, items), k)
    scores = (users.nan_to_num() @ vectors.nan_to_num().T).masked_fill(vectors[:, 0].isnan(), -INF)
    wanted = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    real = best.scores > -INF
    assert torch.equal(best.items[real], wanted[real])
    for row in (0, 69):
        for few in (1, k // 2 or 1, k):
            alone = top_k(Products(users[row : row + 1], items), few)
            assert torch.equal(
                alone.items[real[row, None, :few]], wanted[row, :few][real[row, :few]]
            )


def test_top_k_finds_the_items_behind_the_last_whole_group():
    n_items = 8 * GROUP + 3
    vectors = torch.arange(n_items, dtype=torch.float32)[:, None]
    best = top_k(Products(torch.ones(1, 1), ItemVectors(vectors)), 2)
    assert best.items.tolist() == [[n_items - 1, n_items - 2]]


def test_top_k_of_one_group_that_holds_all_the_best():
    n_items = 40 * GROUP
    vectors = torch.zeros(n_items, 1)
    vectors[GROUP : GROUP + 10, 0] = torch.arange(10, 0, -1, dtype=torch.float32)
    best = top_k(Products(torch.ones(1, 1), ItemVectors(vectors)), 10)
    assert best.items.tolist() == [list(range(GROUP, GROUP + 10))]


@pytest.mark.parametrize("n_items", [6, 8 * GROUP + 5])
def test_top_k_with_fewer_items_left_than_asked_for(n_items):
    vectors = torch.arange(n_items, dtype=torch.float32)[:, None]
    seen = seen_lists([list(range(1, n_items)), []])
    best = top_k(Products(torch.ones(2, 1), ItemVectors(vectors)), 2, seen)
    assert best.scores.tolist() == [[0, -INF], [n_items - 1, n_items - 2]]
    assert best.items[0, 0] == 0
    assert best.items[0, 1] != 0


@pytest.mark.parametrize("n_items", [6, 8 * GROUP + 5])
def test_top_k_puts_scores_that_are_no_numbers_last(n_items):
    vectors = torch.arange(n_items, dtype=torch.float32)[:, None]
    vectors[[n_items - 1, 2]] = math.nan
    best = top_k(Products(torch.ones(2, 1), ItemVectors(vectors)), 2)
    assert best.items.tolist() == [[n_items - 2, n_items - 3]] * 2
    best = top_k(Products(torch.full((1, 1), math.nan), ItemVectors(vectors)), 2)
    assert best.scores.tolist() == [[-INF, -INF]]


@pytest.mark.parametrize("k", [0, 4, -1])
def test_top_k_of_none_or_of_more_than_there_are(k):
    with refused(ValueError):
        top_k(Products(torch.ones(1, 2), ItemVectors(torch.ones(3, 2))), k)


def test_no_users_have_no_ranking():
    users, items = torch.empty(0, 2), ItemVectors(torch.ones(3, 2))
    nothing = torch.empty(0, dtype=torch.int64)
    assert rank_of(Products(users, items), nothing).shape == (0,)
    assert top_k(Products(users, items), 2).items.shape == (0, 2)
    assert within(Products(users, items), nothing, nothing, 2).shape == (0,)


def test_parameters_are_ranked_without_gradients():
    vectors = torch.nn.Parameter(torch.eye(3))
    users = torch.nn.Parameter(torch.eye(3))
    best = top_k(Products(users, ItemVectors(vectors)), 1)
    assert best.items.flatten().tolist() == [0, 1, 2]
    assert not best.scores.requires_grad
    assert rank_of(Products(users, ItemVectors(vectors)), torch.arange(3)).tolist() == [1, 1, 1]


# --- several relevant items ---


@given(problems, st.integers(1, 35), st.booleans())
def test_ranks_within_equals_the_definition(problem, k, mask):
    users, items, lists, _label = problem
    generator = np.random.default_rng(len(lists))
    n_items = len(items.vectors)
    row, item = [], []
    for user in range(len(users)):
        count = generator.integers(1, n_items + 1)
        relevant = generator.choice(n_items, count, replace=False).tolist()
        row += [user] * count
        item += relevant
        lists[user] = [number for number in lists[user] if number not in relevant]
    scores = slow_scores(users, items, lists if mask else None)
    expected = [slow_rank(scores[user], number) for user, number in zip(row, item, strict=True)]
    got = within(
        Products(users, items),
        torch.tensor(row),
        torch.tensor(item),
        k,
        seen_lists(lists) if mask else None,
    )
    assert got.tolist() == [rank if rank <= k else NOT_RANKED for rank in expected]


@given(problems, st.integers(1, 35))
def test_ranks_within_equals_rank_of_for_one_relevant_item(problem, k):
    users, items, lists, label = problem
    lists = [
        [number for number in mine if number != wanted]
        for mine, wanted in zip(lists, label.tolist(), strict=True)
    ]
    alone = rank_of(Products(users, items), label, seen_lists(lists))
    found = within(Products(users, items), torch.arange(len(users)), label, k, seen_lists(lists))
    assert torch.equal(found, alone.masked_fill(alone > k, NOT_RANKED))


def test_a_relevant_item_whose_score_is_no_number_is_not_ranked():
    items = ItemVectors(torch.tensor([[1.0], [math.nan], [0.5]]))
    pairs = torch.zeros(3, dtype=torch.int64), torch.arange(3)
    assert within(Products(torch.ones(1, 1), items), *pairs, 2).tolist() == [1, NOT_RANKED, 2]
    assert within(Products(torch.ones(1, 1), items), *pairs, 3).tolist() == [1, 3, 2]


# --- both ways agree, whatever the blocks ---


@given(st.integers(0, 10**6), st.sampled_from([5, 30, 6 * GROUP]), st.data())
def test_a_label_is_among_the_k_best_iff_its_rank_is_at_most_k(seed, n_items, data):
    generator = np.random.default_rng(seed)
    # distinct scores for all items, so that there are no ties
    vectors = torch.from_numpy(generator.permutation(n_items).astype(np.float32))[:, None]
    users = torch.tensor([[1.0], [-2.0], [0.5]])
    label = torch.from_numpy(generator.integers(0, n_items, 3))
    k = data.draw(st.integers(1, n_items))
    ranks = rank_of(Products(users, ItemVectors(vectors)), label)
    best = top_k(Products(users, ItemVectors(vectors)), k)
    assert ((best.items == label[:, None]).any(1) == (ranks <= k)).all()


@pytest.mark.usefixtures("block_bytes")
@pytest.mark.parametrize("interests", [None, 2])
@pytest.mark.parametrize("n_items", [30, 9 * GROUP + 7])
def test_the_size_of_a_block_changes_nothing(n_items, interests):
    users, items, lists, label = problem(7, 23, n_items, interests, True)
    seen = seen_lists(lists)
    check_top(users, items, 2, lists)
    scores = slow_scores(users, items, lists)
    expected = [slow_rank(row, item) for row, item in zip(scores, label.tolist(), strict=True)]
    assert rank_of(Products(users, items), label, seen).tolist() == expected


@pytest.mark.usefixtures("block_bytes")
def test_blocks_cover_each_user_once():
    users, items, lists, _ = problem(3, 23, 30, None, False)
    expected = torch.tensor(slow_scores(users, items, lists))
    end = 0
    for rows, scores in score_blocks(Products(users, items), seen_lists(lists)):
        assert rows.start == end
        end = rows.stop
        assert torch.equal(scores, expected[rows])
    assert end == len(users)


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=6), st.data())
def test_seen_pairs_of_some_rows(lists, data):
    start = data.draw(st.integers(0, len(lists) - 1))
    stop = data.draw(st.integers(start, len(lists)))
    rows, items = seen_lists(lists).of(slice(start, stop))
    expected = [(row, item) for row, mine in enumerate(lists[start:stop]) for item in mine]
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == expected


@given(problems, st.integers(1, 35), st.booleans(), st.booleans())
def test_one_pass_gives_the_ranks_and_the_best_items(problem, k, mask, broken):
    users, items, lists, label = problem
    if broken:  # a score that is no number stands in no list, and changes no rank
        users = users.clone()
        items = ItemVectors(items.vectors.clone(), items.bias)
        items.vectors[0] = math.nan
    scores, seen = Products(users, items), seen_lists(lists) if mask else None
    k = min(k, scores.n_items)
    ranks, best = rank_and_top_k(scores, label, k, seen)
    assert torch.equal(ranks, rank_of(scores, label, seen))
    alone = top_k(scores, k, seen)
    assert torch.equal(best.scores, alone.scores)
    assert torch.equal(best.items, alone.items)


@pytest.mark.parametrize("n_items", [3, 4 * GROUP * 3 - 1, 4 * GROUP * 3, 20 * GROUP + 5])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_one_user_gets_what_two_get(n_items, kind):
    """One user is served by other code; with numbers that are none, and seen items."""
    vectors = torch.randperm(n_items, generator=torch.Generator().manual_seed(1)).to(kind)[:, None]
    best = int(vectors.float().argmax())
    vectors[[best, (best + 7) % n_items]] = math.nan
    seen = [(best + 1) % n_items]
    users, items = torch.ones(2, 1, dtype=kind), ItemVectors(vectors)
    two = top_k(Products(users, items), 3, seen_lists([seen, seen]))
    one = top_k(Products(users[:1], items), 3, seen_lists([seen]))
    assert torch.equal(one.scores, two.scores[:1])
    assert one.scores.dtype == kind
    real = one.scores > -INF
    assert torch.equal(one.items[real], two.items[:1][real])
