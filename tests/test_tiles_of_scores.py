"""Rankings from tiles: what whole rows give, wherever the tiles begin and end."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softrec.retrieval import Seen, rank_and_top_k, rank_of, tiled, top_k, whole
from softrec.retrieval.best import Best, is_possible, place_of, sampled
from softrec.retrieval.tiles import BELOW, STEP, Tile, Tiles, in_threads, tile_of
from softrec.types import ItemVectors, Products

TINY = 4 * 3 * STEP  # bytes: tiles of a few rows and 16 items
LARGE = 11_003  # items from which on a sample gives a guess, in tiles of 16


def whole_numbers(seed, n_users, n_items, *, interests=None, bias=False, spread=3):
    """Scores that are exact, with many ties."""
    draw = np.random.default_rng(seed)

    def made(*shape):
        return torch.from_numpy(draw.integers(-spread, spread + 1, shape).astype(np.float32))

    users = made(n_users, 4) if interests is None else made(n_users, interests, 4)
    return Products(users, ItemVectors(made(n_items, 4), made(n_items) if bias else None))


def distinct(seed, n_users, n_items):
    """Scores of random order without ties: products of width 1."""
    order = torch.randperm(n_items, generator=torch.Generator().manual_seed(seed))
    users = torch.linspace(1, 2, n_users)[:, None]
    return Products(users, ItemVectors(order.float()[:, None]))


def some_seen(seed, n_users, n_items, most):
    draw = np.random.default_rng(seed)
    lists = [
        draw.choice(n_items, draw.integers(0, most + 1), replace=False) for _ in range(n_users)
    ]
    offsets = np.cumsum([0, *map(len, lists)])
    return Seen(torch.from_numpy(offsets), torch.from_numpy(np.concatenate(lists).astype(np.int64)))


@pytest.fixture(autouse=True)
def tiny(limit):
    limit(tile=TINY)


def ranks_by_tiles(scores, label, seen=None):
    tile = tile_of(scores)
    assert tile is not None
    return tiled.rank_of(scores, label, seen, tile)


def best_by_tiles(scores, k, seen=None):
    tile = tile_of(scores)
    assert tile is not None
    assert is_possible(k, scores.n_items, tile)
    return tiled.top_k(scores, k, seen, tile)


# --- the rank of one item ---


@given(
    st.integers(0, 10**6),
    st.integers(4, 12),
    st.sampled_from([160, 161, 175, 200]),
    st.sampled_from([None, 1, 3]),
    st.booleans(),
    st.booleans(),
)
def test_ranks_are_those_of_whole_rows(seed, n_users, n_items, interests, bias, mask):
    scores = whole_numbers(seed, n_users, n_items, interests=interests, bias=bias)
    seen = some_seen(seed, n_users, n_items, 40) if mask else None
    label = torch.from_numpy(np.random.default_rng(seed).integers(0, n_items, n_users))
    expected = whole.rank_of(scores, label, seen)
    assert torch.equal(ranks_by_tiles(scores, label, seen), expected)
    assert torch.equal(rank_of(scores, label, seen), expected)


@pytest.mark.parametrize("n_items", [160, 161, 175])
def test_a_label_in_any_tile(n_items):
    """Also in the last one, which reaches back over items that are counted before."""
    scores = Products(torch.ones(n_items, 1), ItemVectors(torch.arange(n_items).float()[:, None]))
    ranks = ranks_by_tiles(scores, torch.arange(n_items))
    assert ranks.tolist() == list(range(n_items, 0, -1))


def test_ties_in_other_tiles_count_against_the_label():
    scores = Products(torch.ones(5, 2), ItemVectors(torch.zeros(163, 2)))
    label = torch.tensor([0, 15, 16, 150, 162])
    assert ranks_by_tiles(scores, label).tolist() == [163] * 5


def test_seen_items_of_every_tile_are_left_out():
    n_items = 170
    scores = Products(torch.ones(3, 1), ItemVectors(-torch.arange(n_items).float()[:, None]))
    seen = Seen(torch.tensor([0, 4, 5, 8]), torch.tensor([2, 17, 100, 168, 20, 160, 169, 159]))
    label = torch.tensor([167, 21, 168])
    assert ranks_by_tiles(scores, label, seen).tolist() == [165, 21, 167]


def test_a_seen_label_ranks_last_and_no_number_is_counted():
    vectors = torch.arange(170).float()[:, None]
    vectors[[3, 40, 165]] = math.nan
    scores = Products(torch.ones(4, 1), ItemVectors(vectors))
    seen = Seen(torch.tensor([0, 1, 1, 1, 1]), torch.tensor([169]))
    label = torch.tensor([169, 169, 40, 165])
    assert ranks_by_tiles(scores, label, seen).tolist() == [167, 1, 170, 170]


@pytest.mark.parametrize("n_users", [4, 5, 31])
@pytest.mark.parametrize("dim", [3, 64, 100])
def test_equal_vectors_score_alike_in_all_tiles(n_users, dim, limit):
    draw = torch.Generator().manual_seed(dim)
    for numbers, n_items in ((48, 211), (1024, 4111), (4096, 9001)):
        limit(tile=4 * numbers)
        items = ItemVectors(torch.randn(1, dim, generator=draw).repeat(n_items, 1))
        scores = Products(torch.randn(n_users, dim, generator=draw), items)
        label = torch.randint(0, n_items, (n_users,), generator=draw)
        assert rank_of(scores, label).tolist() == [n_items] * n_users


class RoundedOtherwise(Products):
    """The scores of single items come from another product, as a library may have one."""

    def of_items(self, items):
        found = super().of_items(items)
        return found._replace(vectors=found.vectors * (1 + 2**-20))


def test_the_score_of_the_label_is_the_one_of_its_tile():
    users = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    vectors = torch.randn(1, 8, generator=torch.Generator().manual_seed(1)).repeat(170, 1)
    scores = RoundedOtherwise(users, ItemVectors(vectors))
    assert ranks_by_tiles(scores, torch.arange(6)).tolist() == [170] * 6


# --- the best items ---


def agrees(scores, k, seen=None):
    """Compare with whole rows; of equal scores, any item may be listed."""
    expected = whole.top_k(scores, k, seen)
    for best in (best_by_tiles(scores, k, seen), top_k(scores, k, seen)):
        assert torch.equal(best.scores, expected.scores)
        table = scores.fill(slice(0, len(scores)), torch.empty(len(scores), scores.n_items))
        if seen is not None:
            table[seen.of(slice(0, len(scores)))] = -math.inf
        real = best.scores > -math.inf
        assert torch.equal(table.gather(1, best.items)[real], best.scores[real])
        assert all(len(set(row)) == k for row in best.items.tolist())
    return best_by_tiles(scores, k, seen)


@pytest.mark.parametrize("k", [1, 7, 20])
@pytest.mark.parametrize("mask", [False, True])
def test_the_best_are_those_of_whole_rows(k, mask, limit):
    limit(tile=4 * 64 * STEP)
    n_items = LARGE if k < 20 else 40_001
    scores = distinct(k, 70, n_items)
    seen = some_seen(k, 70, n_items, n_items // 2) if mask else None
    best = agrees(scores, k, seen)
    assert torch.equal(best.items, whole.top_k(scores, k, seen).items)


@pytest.mark.parametrize(("interests", "bias"), [(None, True), (3, False), (3, True)])
def test_the_best_with_many_ties_interests_and_biases(interests, bias):
    agrees(whole_numbers(1, 9, LARGE, interests=interests, bias=bias, spread=50), 5)
    agrees(whole_numbers(1, 9, LARGE, interests=interests, bias=bias, spread=1), 5)


def test_the_best_in_the_last_tile_and_in_the_one_that_it_reaches_back_to():
    vectors = torch.zeros(LARGE, 1)
    vectors[-20:, 0] = torch.arange(20.0) + 1
    best = agrees(Products(torch.ones(3, 1), ItemVectors(vectors)), 6)
    assert best.items.tolist() == [list(range(LARGE - 1, LARGE - 7, -1))] * 3


def test_numbers_that_are_none_hide_no_item():
    """The maximum of their group is no number either."""
    scores = distinct(3, 4, LARGE)
    first = whole.top_k(scores, 3, None).items[0]
    groups = STEP // STEP  # the items of a tile of 16 are one group
    beside = first + torch.where(first % STEP == STEP - 1, -groups, groups)
    scores.items.vectors[beside] = math.nan
    best = best_by_tiles(scores, 3)
    assert best.items[0].tolist() == first.tolist()
    assert torch.equal(best.items, whole.top_k(scores, 3, None).items)


def test_a_guess_that_is_too_high_is_lowered():
    """The items of the sample are the best of all, but too few of them."""
    scores = distinct(5, 6, LARGE)
    tile = tile_of(scores)
    size = max(1, round(LARGE / 20 / tile.items)) * tile.items
    sample = torch.arange(size) * LARGE // size
    high = place_of(20, LARGE, size)
    scores.items.vectors[sample[: 2 * high]] += LARGE
    agrees(scores, 20)
    scores.items.vectors[sample] += 3 * LARGE
    agrees(scores, 5)


def test_a_user_who_has_seen_nearly_all():
    scores = distinct(7, 4, LARGE)
    items = torch.randperm(LARGE, generator=torch.Generator().manual_seed(7))[: LARGE - 3]
    seen = Seen(torch.tensor([0, 0, LARGE - 3, LARGE - 3, LARGE - 3]), items)
    best = best_by_tiles(scores, 5, seen)
    assert best.scores[1].isinf().tolist() == [False, False, False, True, True]
    assert torch.equal(best.scores, whole.top_k(scores, 5, seen).scores)


@pytest.mark.parametrize("mask", [False, True])
def test_one_pass_gives_both(mask):
    scores = distinct(11, 9, LARGE)
    label = torch.randint(0, LARGE, (9,), generator=torch.Generator().manual_seed(2))
    seen = some_seen(2, 9, LARGE, 500) if mask else None
    ranks, best = rank_and_top_k(scores, label, 4, seen)
    assert torch.equal(ranks, whole.rank_of(scores, label, seen))
    assert torch.equal(best.items, whole.top_k(scores, 4, seen).items)
    assert torch.equal(best.scores, whole.top_k(scores, 4, seen).scores)


# --- tiles and threads ---


def test_the_shape_of_a_tile(limit):
    limit(tile=2**20)

    def shape(rows, n_items, interests=None, dtype=torch.float32):
        users = torch.empty((rows, 4) if interests is None else (rows, interests, 4), dtype=dtype)
        return tile_of(Products(users, ItemVectors(torch.empty(n_items, 4, dtype=dtype))))

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert shape(60_000, 40_000) == Tile(256, 1024)
        assert shape(60_000, 40_000, interests=4) == Tile(64, 1024)
        assert shape(60_000, 40_000, dtype=torch.float64) == Tile(182, 720)
        assert shape(128, 40_000) == Tile(128, 2048)
        assert shape(60_000, 4097) == Tile(256, 1024)
        assert shape(60_000, 4096) is None  # 64 whole rows are a tile
        assert shape(20, 40_000) is None  # not more than whole rows take
        assert shape(60_000, 40_000, dtype=torch.bfloat16) is None
        torch.set_num_threads(2)
        assert shape(256, 40_000) is None  # torch's threads share whole rows
        limit(threads=2)
        assert shape(256, 40_000) == Tile(128, 2048)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 3])
def test_each_block_is_done_once_and_torch_keeps_its_threads(threads, limit):
    limit(threads=threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        done = []
        inside = []

        def work(parts):
            for part in parts:
                done.append((part.start, part.stop))
                inside.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))

        with torch.inference_mode():
            in_threads(work, 31, Tile(1, 16))
        assert sorted(done) == [(n, min(n + BELOW, 31)) for n in range(0, 31, BELOW)]
        assert set(inside) == {(1 if threads > 1 else torch.get_num_threads(), True)}
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_an_error_in_a_thread_is_raised(limit):
    limit(threads=2)

    def work(parts):
        raise RuntimeError(f"{next(parts)}")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError):
            in_threads(work, 31, Tile(4, 16))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_change_no_result(threads, limit):
    limit(threads=threads)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        scores = distinct(1, 50, LARGE)
        label = torch.arange(50) * 200
        ranks, best = rank_and_top_k(scores, label, 3)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(ranks, whole.rank_of(scores, label, None))
    assert torch.equal(best.items, whole.top_k(scores, 3, None).items)


def test_cells_by_tile():
    """Tiles of two rows and 16 items: rows 0 and 1 before row 2, then the next items."""
    scores = Products(torch.zeros(3, 1), ItemVectors(torch.zeros(40, 1)))
    row, item = torch.tensor([0, 0, 1, 1, 2]), torch.tensor([33, 3, 20, 39, 21])
    cells = Tiles(scores, None, Tile(2, 16)).by_tile(3, row, item)
    assert cells.order.tolist() == [1, 2, 4, 0, 3]
    places = [None if part is None else part.tolist() for part in cells.flat]
    assert places == [[3], None, [16 + 4], [5], [9, 16 + 15], None]


@pytest.mark.parametrize("n_rows", [1, 2, 3, 7])
def test_the_tiles_of_a_block_are_its_scores(n_rows):
    scores, seen = whole_numbers(0, 9, 45, bias=True), some_seen(0, 9, 45, 20)
    rows = slice(2, 2 + n_rows)
    expected = scores.fill(rows, torch.empty(n_rows, 45))
    expected[seen.of(rows)] = -math.inf
    found = torch.full((n_rows, 45), math.nan)
    tiles = Tiles(scores, seen, Tile(2, 16))
    for number, (place, tile) in enumerate(tiles.of(rows)):
        assert place.number == number
        assert torch.equal(place.flat.view_as(tile), tile)
        fresh = tiles.repeated[place.items]
        assert (tile[:, :fresh] == -math.inf).all()
        first = tiles.first[place.items]
        assert found[place.rows, first + fresh : first + 16].isnan().all()  # each cell once
        found[place.rows, first + fresh : first + 16] = tile[:, fresh:]
    assert torch.equal(found, expected)


def test_a_guess_that_many_items_reach_is_given_up():
    """All items have the same score: they would all be kept."""
    scores = Products(torch.ones(40, 1), ItemVectors(torch.zeros(LARGE, 1)))
    tile = tile_of(scores)
    sample = sampled(scores, tile)
    best = Best(2, Tiles(scores, None, tile), sample, 4)
    best.begin(slice(0, 40))
    for place, scored in best.tiles.of(slice(0, 40)):
        best.read(place, scored)
    kept = sum(part[3].size for part in best.found)
    expected = 4 * LARGE / sample.n_items  # a row
    assert kept / STEP < 4 * expected * 40 + tile.rows < 40 * LARGE / STEP
    assert not len(best.end()[0])
    assert (top_k(scores, 2).scores == 0).all()


def test_a_guess_of_minus_infinity_is_reached_by_none():
    """All items would reach it, those of the last tile twice."""
    scores = Products(
        torch.ones(5, 1), ItemVectors(torch.zeros(LARGE, 1), torch.full((LARGE,), -math.inf))
    )
    tile = tile_of(scores)
    best = Best(2, Tiles(scores, None, tile), sampled(scores, tile), 30)
    best.begin(slice(0, 5))
    for place, scored in best.tiles.of(slice(0, 5)):
        best.read(place, scored)
    assert not len(best.end()[0])
