"""Neighbour lists: the nearest others by cosine, whatever the rows look like."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messages import refused
from softrec.data.batches import examples
from softrec.data.interactions import Sequences
from softrec.errors import DataError
from softrec.limits import limited
from softrec.targets.build.neighbours import context_means, first_hits, load, nearest, save


def cosines(vectors):
    """All cosines in float64; those with itself and with zero rows at -inf."""
    rows = np.asarray(vectors, dtype=np.float64)
    lengths = np.sqrt((rows**2).sum(axis=1))
    table = (rows @ rows.T) / np.maximum(np.outer(lengths, lengths), 1e-300)
    table[:, lengths == 0] = -np.inf
    np.fill_diagonal(table, -np.inf)
    return table


def random_rows(n_rows, dim, seed=0):
    return np.random.default_rng(seed).standard_normal((n_rows, dim)).astype(np.float32)


def clustered(n_rows=20_000, dim=32, n_clusters=100, seed=0):
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((n_clusters, dim))
    noise = draw.standard_normal((n_rows, dim))
    return (centres[draw.integers(n_clusters, size=n_rows)] + 0.5 * noise).astype(np.float32)


# --- the search ---


@given(
    n_rows=st.integers(2, 40),
    dim=st.integers(1, 5),
    k=st.integers(1, 8),
    seed=st.integers(0, 10_000),
    approximate=st.booleans(),
)
@settings(max_examples=60)
def test_lists_have_the_largest_cosines(n_rows, dim, k, seed, approximate):
    """So few rows make one list, so that the approximate search is exact, too, but for fp16."""
    vectors = random_rows(n_rows, dim, seed)
    lists = nearest(vectors, k, approximate=approximate)
    table = cosines(vectors)
    real = min(k, n_rows - 1)
    best = -np.sort(-table, axis=1)[:, :real]
    found = np.take_along_axis(table, lists.astype(np.int64), axis=1)
    np.testing.assert_allclose(found[:, :real], best, atol=3e-3 if approximate else 1e-6)
    assert lists.shape == (n_rows, k)
    assert lists.dtype == np.int32
    assert (lists != np.arange(n_rows)[:, None]).all()
    assert all(len(set(row)) == real for row in lists.tolist())


def test_lists_begin_with_the_nearest():
    vectors = random_rows(300, 8)
    expected = np.argsort(-cosines(vectors), axis=1)[:, :10]
    np.testing.assert_array_equal(nearest(vectors), expected)


def test_the_length_of_a_row_does_not_matter():
    vectors = random_rows(200, 6)
    scale = 2.0 ** np.random.default_rng(1).integers(-20, 20, size=(200, 1))
    np.testing.assert_array_equal(nearest(vectors * scale, 5), nearest(vectors, 5))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_squares_of_single_precision_do_not_over_or_underflow(scale):
    vectors = random_rows(50, 4)
    scaled = (vectors * np.float32(scale)).astype(np.float32)
    np.testing.assert_array_equal(nearest(scaled, 3), nearest(vectors, 3))


@pytest.mark.parametrize("approximate", [False, True])
def test_duplicates_leave_out_only_the_row_itself(approximate):
    vectors = np.repeat(random_rows(4, 5), 30, axis=0)
    lists = nearest(vectors, 7, approximate=approximate)
    own = np.arange(120)[:, None]
    assert (lists // 30 == own // 30).all(), "all are copies"
    assert (lists != own).all()
    assert all(len(set(row)) == 7 for row in lists.tolist())


@pytest.mark.parametrize("approximate", [False, True])
def test_zero_rows_are_their_own_neighbours_and_nobody_elses(approximate):
    vectors = random_rows(60, 4)
    zero = np.array([0, 17, 59])
    vectors[zero] = 0
    lists = nearest(vectors, 4, approximate=approximate)
    np.testing.assert_array_equal(lists[zero], np.repeat(zero[:, None], 4, axis=1))
    others = np.setdiff1d(np.arange(60), zero)
    assert not np.isin(lists[others], zero).any()
    if not approximate:
        expected = np.argsort(-cosines(vectors), axis=1)[others, :4]
        np.testing.assert_array_equal(lists[others], expected)


def test_fewer_others_are_repeated_in_turn():
    vectors = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    expected = [[1, 2, 1, 2, 1], [0, 2, 0, 2, 0], [1, 0, 1, 0, 1]]
    assert nearest(vectors, 5).tolist() == expected


def test_a_row_without_others_is_its_own_neighbour():
    assert nearest(np.ones((1, 3)), 2).tolist() == [[0, 0]]
    assert nearest(np.array([[0.0, 0.0], [1.0, 2.0]]), 2).tolist() == [[0, 0], [1, 1]]
    assert nearest(np.empty((0, 3)), 2).shape == (0, 2)


def test_hits_that_lack_the_row_itself_or_end_early():
    hits = np.array([[4, 0, 7], [5, 6, 7], [9, 2, -1], [3, -1, -1], [-1, -1, -1]])
    own = np.array([0, 1, 2, 3, 8])
    other = (hits != own[:, None]) & (hits >= 0)
    expected = [[4, 7], [5, 6], [9, 9], [3, 3], [8, 8]]
    assert first_hits(hits, other, own, 2).tolist() == expected


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    k=st.integers(1, 6),
    seed=st.integers(0, 10_000),
    approximate=st.booleans(),
)
@settings(max_examples=60)
def test_rows_of_the_same_owner_are_no_neighbours(sizes, k, seed, approximate):
    """Rows of an owner are nearly alike, so that they crowd the nearest places."""
    draw = np.random.default_rng(seed)
    owner = draw.permutation(np.repeat(np.arange(len(sizes)) * 7 - 3, sizes))
    centres = draw.standard_normal((len(sizes), 6))
    vectors = centres[(owner + 3) // 7] + 0.01 * draw.standard_normal((len(owner), 6))
    lists = nearest(vectors, k, owner=owner, approximate=approximate)
    table = np.where(owner[:, None] == owner, -np.inf, cosines(vectors))
    for row, listed in enumerate(lists.tolist()):
        others = int((owner != owner[row]).sum())
        if not others:
            assert listed == [row] * k
            continue
        real = min(k, others)
        best = -np.sort(-table[row])[:real]
        np.testing.assert_allclose(
            table[row, listed[:real]], best, atol=3e-3 if approximate else 1e-6
        )
        assert len(set(listed)) == real
        assert listed == [listed[place % real] for place in range(k)]


@pytest.mark.slow
def test_few_rows_are_asked_for_more_a_block_at_a_time(limit):
    """One owner has a hundred rows alike, the others one each."""
    vectors = random_rows(130, 4)
    vectors[:100] = vectors[0] + 1e-3 * vectors[:100]
    owner = np.maximum(np.arange(130), 99)
    whole = nearest(vectors, 3, owner=owner)
    assert (whole[:100] >= 100).all()
    for cells in (1, 50, 1000):
        limit(hits=cells)
        np.testing.assert_array_equal(nearest(vectors, 3, owner=owner), whole)


def test_rows_without_direction_do_not_move_the_owners():
    vectors = np.array([[0, 0], [1, 0], [1, 0.1], [1, 0.2], [0, 1]])
    owner = np.array([1, 2, 2, 3, 3])
    assert nearest(vectors, 1, owner=owner).tolist() == [[0], [3], [3], [2], [2]]


def test_every_row_has_an_owner():
    with refused(ValueError):
        nearest(random_rows(5, 2), owner=np.arange(4))


@pytest.mark.slow
def test_approximate_search_finds_most_on_clustered_rows():
    vectors = clustered()
    asked = np.arange(0, len(vectors), 40)
    found, exact = nearest(vectors, approximate=True)[asked], nearest(vectors)[asked]
    recall = (found[:, :, None] == exact[:, None]).any(axis=2).mean()
    assert recall >= 0.8
    assert recall < 1, "nothing was approximated"


def test_more_probes_find_more():
    vectors = random_rows(4_000, 16)
    exact = nearest(vectors)

    def recall(probes):
        found = nearest(vectors, approximate=True, probes=probes)
        return (found[:, :, None] == exact[:, None]).any(axis=2).mean()

    assert recall(1) + 0.1 < recall(8) < recall(100)


def test_same_seed_gives_the_same_lists():
    vectors = clustered(5_000)
    one, two = (nearest(vectors, approximate=True, probes=2, seed=s) for s in (3, 3))
    np.testing.assert_array_equal(one, two)
    assert (nearest(vectors, approximate=True, probes=2, seed=4) != one).any()


def test_many_rows_are_searched_approximately(limit):
    vectors = random_rows(2_000, 8)
    approximate, exact = (nearest(vectors, approximate=a, probes=1) for a in (True, False))
    assert (approximate != exact).any()
    np.testing.assert_array_equal(nearest(vectors, probes=1), exact)
    limit(exact_search=1_999)
    np.testing.assert_array_equal(nearest(vectors, probes=1), approximate)


@pytest.mark.parametrize("approximate", [False, True])
def test_blocks_change_nothing(limit, approximate):
    vectors = random_rows(500, 6)
    vectors[::7] = 0
    whole = nearest(vectors, 3, approximate=approximate)
    limit(contexts=64)
    np.testing.assert_array_equal(nearest(vectors, 3, approximate=approximate), whole)


def test_memory_map_is_searched_and_left_as_it_is(tmp_path):
    vectors = random_rows(100, 4)
    np.save(tmp_path / "vectors.npy", vectors)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    np.testing.assert_array_equal(nearest(mapped, 3), nearest(vectors, 3))
    np.testing.assert_array_equal(mapped, vectors)


def test_progress_is_shown_when_asked(capsys):
    nearest(random_rows(20, 3), 2)
    assert capsys.readouterr().out == ""
    nearest(random_rows(20, 3), 2, progress=True)
    assert "neighbours" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_refused(wrong):
    vectors = random_rows(20, 3)
    vectors[13, 1] = wrong
    with refused(ValueError):
        nearest(vectors)


@pytest.mark.parametrize(
    "arguments",
    [
        {"k": 0},
        {"probes": 0},
    ],
)
def test_arguments_without_meaning_are_refused(arguments):
    with refused(ValueError):
        nearest(random_rows(5, 2), **arguments)


def test_vectors_must_be_a_table():
    with refused(ValueError):
        nearest(np.ones(5))
    with refused(ValueError):
        nearest(np.ones((5, 2, 1)), 1)


# --- the means ---


def plain_means(items, start, stop, vectors):
    means = np.zeros((len(start), vectors.shape[1]))
    for row, (begin, end) in enumerate(zip(start, stop, strict=True)):
        for item in items[begin:end]:
            means[row] += vectors[item].astype(np.float64) / (end - begin)
    return means


@given(
    n_events=st.integers(0, 40),
    n_contexts=st.integers(0, 20),
    block=st.integers(1, 50),
    seed=st.integers(0, 10_000),
)
@settings(max_examples=80)
def test_means_are_those_of_a_loop(n_events, n_contexts, block, seed):
    """Histories in any order, overlapping, empty, and longer than a block."""
    draw = np.random.default_rng(seed)
    items = draw.integers(7, size=n_events)
    start, stop = np.sort(draw.integers(n_events + 1, size=(2, n_contexts)), axis=0)
    vectors = random_rows(7, 3, seed)
    with limited(contexts=block):
        means = context_means(items, start, stop, vectors)
    assert means.dtype == np.float32
    np.testing.assert_allclose(means, plain_means(items, start, stop, vectors), atol=1e-6)


def test_empty_history_and_unknown_items_give_exactly_zero():
    vectors = random_rows(4, 3)
    vectors[3] = 0
    items = np.array([0, 1, 3, 3, 2])
    means = context_means(items, np.array([2, 2, 0]), np.array([2, 4, 5]), vectors)
    assert means.any(axis=1).tolist() == [False, False, True]


def test_long_logs_keep_single_precision():
    """Running sums in single precision would be off by some 1e-3 here."""
    draw = np.random.default_rng(0)
    items = draw.integers(50, size=60_000)
    start = np.arange(59_990)
    vectors = 100 + random_rows(50, 4)
    chosen = np.arange(0, 59_990, 97)
    means = context_means(items, start, start + 10, vectors)[chosen]
    expected = plain_means(items, chosen, chosen + 10, vectors)
    np.testing.assert_allclose(means, expected, rtol=1e-6)


@pytest.mark.parametrize("windows", ["last", "positions", "prefixes", "sliding"])
def test_label_is_left_out(windows):
    """With unit vectors the mean is the share of each item in the history."""
    data = examples(Sequences.of([[0, 1, 2, 3], [4, 5]]), windows, 2, stride=1)
    means = context_means(data.sequences.items, *data.histories(), np.eye(6))
    histories = {
        "last": [[1, 2], [4]],
        "positions": [[1], [1, 2], [4]],
        "prefixes": [[0], [0, 1], [1, 2], [4]],
        "sliding": [[0], [0, 1], [1], [1, 2], [2], [4]],
    }[windows]
    shares = [np.bincount(items, minlength=6) / len(items) for items in histories]
    np.testing.assert_array_equal(means, shares)


def test_means_are_written_to_a_memory_map(tmp_path):
    items, start, stop = np.array([0, 1, 2]), np.array([0, 1]), np.array([2, 3])
    vectors = random_rows(3, 4)
    file = tmp_path / "means.npy"
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(2, 4))
    assert context_means(items, start, stop, vectors, out=out) is out
    out.flush()
    np.testing.assert_array_equal(np.load(file), context_means(items, start, stop, vectors))


@pytest.mark.parametrize(
    ("items", "start", "stop"),
    [
        ([0, 1], [0], [3]),
        ([0, 1], [-1], [1]),
        ([0, 1], [2], [1]),
        ([0, 5], [0], [1]),
        ([0, -1], [0], [1]),
        ([0, 1], [0, 1], [1]),
    ],
)
def test_histories_that_do_not_fit_are_refused(items, start, stop):
    given_arrays = (np.array(numbers) for numbers in (items, start, stop))
    out = np.empty((len(start), 2), dtype=np.float32)
    with refused(ValueError):
        context_means(*given_arrays, np.ones((3, 2)), out=out)


def test_out_of_another_shape_is_refused():
    with refused(ValueError):
        context_means(
            np.array([0]), np.array([0]), np.array([1]), np.ones((1, 2)), out=np.ones((2, 2))
        )


# --- the file ---


def test_saved_lists_are_loaded_as_a_memory_map(tmp_path):
    lists = nearest(random_rows(30, 3), 4)
    save(lists, tmp_path / "neighbours")
    loaded = load(tmp_path / "neighbours")
    assert isinstance(loaded, np.memmap)
    assert loaded.dtype == np.int32
    np.testing.assert_array_equal(loaded, lists)


def test_missing_file_is_told(tmp_path):
    with refused(DataError):
        load(tmp_path / "nothing.npy")


def test_other_files_are_told(tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").touch()
    np.save(tmp_path / "flat.npy", np.zeros(3, dtype=np.int32))
    np.save(tmp_path / "floats.npy", np.zeros((3, 2)))
    np.savez(tmp_path / "several.npz", np.zeros((3, 2)))
    for name in ("text.npy", "empty.npy", "flat.npy", "floats.npy", "several.npz"):
        with pytest.raises(DataError) as caught:  # with words of NumPy
            load(tmp_path / name)
        assert name in str(caught.value)
