"""Interest sharing against the definition in float64, its limits, and its ways among each other."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from messages import refused
from softrec.errors import DataError
from softrec.targets.build.propagation import (
    PropagatedLabels,
    propagate,
    tables,
)
from softrec.targets.build.propagation import cluster as one_cluster
from softrec.targets.build.propagation.cluster import propagate_cluster
from softrec.targets.build.propagation.diffusion import Diffusion
from softrec.targets.build.propagation.kmeans import assign_clusters
from softrec.targets.build.propagation.nearest import nearest_transition
from softrec.targets.build.propagation.tables import spread_labels, transition

THREE = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
AAB = np.array([0, 0, 1])
# methods.md 2.14: tau 0.5, a 0.5, T = 20, and the third row of the fixed point
GOLDEN = [
    [0.9746128409, 0.0253871591],
    [0.9578215277, 0.0421784723],
    [0.4799115285, 0.5200884715],
]
GOLDEN_LIMIT = [0.4799115434, 0.5200884566]


def naive_weights(vectors, tau):
    """w by loops over pairs, in float64."""
    n = len(vectors)
    w = np.zeros((n, n))
    if n == 1:
        return np.ones((1, 1))
    for u in range(n):
        energy = [-math.dist(vectors[u].tolist(), vectors[v].tolist()) / tau for v in range(n)]
        top = max(energy[v] for v in range(n) if v != u)
        for v in range(n):
            if v != u:
                w[u, v] = math.exp(energy[v] - top)
        w[u] /= w[u].sum()
    return w


def naive(vectors, labels, tau, damping, rounds, n_labels=None):
    """q (n, L) by the recursion, or by inversion where rounds is None, in float64."""
    w = naive_weights(vectors, tau)
    first = np.eye(n_labels or labels.max() + 1)[labels]
    if rounds is None:
        return (1 - damping) * np.linalg.inv(np.eye(len(w)) - damping * w) @ first
    q = first
    for _ in range(rounds):
        q = damping * w @ q + (1 - damping) * first
    return q


def table(items, shares, n_labels):
    """Shares scattered to one column for each label."""
    q = np.zeros((len(items), n_labels))
    np.add.at(q, (np.arange(len(items))[:, None], items), shares)
    return q


def spread(vectors, labels, n_labels=None, **options):
    """q (n, L) as one cluster gives it."""
    found = propagate_cluster(vectors, labels, Diffusion(**options))
    return table(found.items, found.probs, n_labels or labels.max() + 1)


def drawn(n, n_labels, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, dim)).astype(np.float32)
    return vectors, rng.integers(n_labels, size=n)


@st.composite
def clusters(draw):
    n, dim = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    number = st.floats(-4, 4, width=32)
    rows = draw(st.lists(st.lists(number, min_size=dim, max_size=dim), min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    return np.array(rows, dtype=np.float32), np.array(labels)


# Golden values


@pytest.mark.parametrize("neighbours", [None, 2])
def test_golden_rounds(neighbours):
    got = spread(THREE, AAB, tau=0.5, damping=0.5, rounds=20, neighbours=neighbours)
    np.testing.assert_allclose(got, GOLDEN, atol=2e-7)


@pytest.mark.parametrize("neighbours", [None, 2])
def test_golden_fixed_point(neighbours):
    got = spread(THREE, AAB, tau=0.5, damping=0.5, rounds=None, neighbours=neighbours)
    np.testing.assert_allclose(got[2], GOLDEN_LIMIT, atol=2e-7)


def test_the_oracle_has_the_golden_values():
    np.testing.assert_allclose(naive(THREE, AAB, 0.5, 0.5, 20), GOLDEN, atol=5e-11)
    np.testing.assert_allclose(naive(THREE, AAB, 0.5, 0.5, None)[2], GOLDEN_LIMIT, atol=5e-11)


# Against the definition


@pytest.mark.slow
@given(
    clusters(),
    st.floats(0.05, 20),
    st.floats(0, 0.9),
    st.one_of(st.none(), st.integers(0, 25)),
    st.booleans(),
)
@settings(max_examples=150)
def test_equals_the_definition(cluster, tau, damping, rounds, sparse):
    vectors, labels = cluster
    got = spread(
        vectors,
        labels,
        5,
        tau=tau,
        damping=damping,
        rounds=rounds,
        neighbours=len(labels) if sparse else None,
    )
    expected = naive(vectors.astype(np.float64), labels, tau, damping, rounds, 5)
    # Two distances that agree to rounding may differ in float32 by 1e-7 of their size over tau.
    np.testing.assert_allclose(got, expected, atol=3e-6 / min(tau, 1))


@pytest.mark.slow
def test_the_solve_that_stands_in_is_as_close_as_promised():
    vectors, labels = drawn(tables.SMALL + 80, 50)
    assert 0.5**20 <= tables.SAME < 0.5**19
    expected = naive(vectors.astype(np.float64), labels, 0.5, 0.5, 20)
    got = spread(vectors, labels, tau=0.5, rounds=20)
    rounding = 1e-6
    assert np.abs(got - expected).max() <= 0.5**20 + rounding
    assert np.abs(got - expected).sum(1).max() <= 2 * 0.5**20 + 5 * rounding
    limit = naive(vectors.astype(np.float64), labels, 0.5, 0.5, None)
    np.testing.assert_allclose(got, limit, atol=rounding)


def test_few_rounds_of_a_large_cluster_are_exact():
    vectors, labels = drawn(tables.SMALL + 80, 50)
    expected = naive(vectors.astype(np.float64), labels, 0.5, 0.5, 3)
    np.testing.assert_allclose(spread(vectors, labels, tau=0.5, rounds=3), expected, atol=2e-7)


def test_small_distances_far_from_the_origin_survive():
    near = np.array([[0.0], [0.25], [1.0], [3.0]]) + np.array([[2.0**15, -(2.0**15)]])
    vectors, labels = near.astype(np.float32), np.arange(4)
    assert (vectors == near).all()
    expected = naive(near, labels, 0.1, 0.5, 20)
    for neighbours in (None, 3):
        got = spread(vectors, labels, tau=0.1, neighbours=neighbours)
        np.testing.assert_allclose(got, expected, atol=1e-6)


# Properties


@given(clusters(), st.floats(0.01, 1e4))
@settings(max_examples=50)
def test_weights_are_distributions_over_others(cluster, tau):
    vectors, _ = cluster
    w = transition(vectors, tau).numpy()
    np.testing.assert_allclose(w.sum(1), 1, atol=1e-6)
    assert (w >= 0).all()
    if len(w) > 1:
        assert (w.diagonal() == 0).all()


@pytest.mark.parametrize("rounds", [1, 2, 7, None])
@pytest.mark.parametrize("neighbours", [None, 5])
def test_rows_are_distributions_that_hold_to_their_label(rounds, neighbours):
    vectors, labels = drawn(60, 7)
    for damping in (0.2, 0.5, 0.8):
        options = {"tau": 0.5, "damping": damping, "rounds": rounds, "neighbours": neighbours}
        q = spread(vectors, labels, **options)
        np.testing.assert_allclose(q.sum(1), 1, atol=2e-6)
        own = q[np.arange(60), labels]
        assert (own >= 1 - damping - 1e-6).all()
        found = propagate_cluster(vectors, labels, Diffusion(**options))
        np.testing.assert_allclose(found.label_prob, own, atol=1e-7)
        assert (np.diff(found.probs, axis=1) <= 0).all()


@pytest.mark.parametrize(
    "options", [{"rounds": 0}, {"damping": 0.0}, {"damping": 0.0, "rounds": None}]
)
@pytest.mark.parametrize("neighbours", [None, 3])
def test_without_rounds_or_damping_labels_stay(options, neighbours):
    vectors, labels = drawn(20, 6)
    q = spread(vectors, labels, neighbours=neighbours, **options)
    np.testing.assert_array_equal(q, np.eye(6)[labels])


@pytest.mark.parametrize("neighbours", [None, 3])
def test_equal_labels_and_single_examples_keep_everything(neighbours):
    vectors, _ = drawn(9, 2)
    together = propagate(vectors, np.full(9, 4), clusters=1, neighbours=neighbours)
    single = propagate(vectors[:1], np.array([4]), clusters=16, neighbours=neighbours)
    for soft in (together, single):
        assert soft.items.tolist() == [[4]] * len(soft.items)
        assert soft.probs.tolist() == [[1.0]] * len(soft.items)
        assert soft.mean_label_prob == soft.mass_kept == 1
        assert soft.clusters == 1


@pytest.mark.parametrize("rounds", [1, 4, 8])
def test_rounds_approach_the_fixed_point(rounds):
    vectors, labels = drawn(40, 40)
    labels = np.arange(40)
    distance = np.abs(spread(vectors, labels, rounds=rounds) - spread(vectors, labels, rounds=None))
    assert 0 < distance.max() <= 0.5**rounds + 1e-6
    assert distance.sum(1).max() <= 2 * 0.5**rounds + 1e-6


def test_infinite_temperature_has_a_closed_form():
    vectors, labels = drawn(30, 5)
    n, a = 30, 0.6
    counts = np.bincount(labels, minlength=5)
    c = 1 + a / (n - 1)
    expected = (1 - a) / c * (np.eye(5)[labels] + a / ((n - 1) * (1 - a)) * counts)
    got = spread(vectors, labels, tau=1e9, damping=a, rounds=None)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_zero_temperature_copies_the_nearest():
    vectors, _ = drawn(30, 1)
    labels = np.arange(30)
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    np.fill_diagonal(apart, np.inf)
    expected = (np.eye(30) + np.eye(30)[apart.argmin(1)]) / 2
    for neighbours in (None, 4):
        got = spread(vectors, labels, tau=1e-6, damping=0.5, rounds=1, neighbours=neighbours)
        np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("rounds", [3, None])
@pytest.mark.parametrize("neighbours", [None, 6])
def test_order_of_the_examples_does_not_matter(rounds, neighbours):
    vectors, labels = drawn(50, 8)
    order = np.random.default_rng(1).permutation(50)
    options = {"tau": 0.4, "rounds": rounds, "neighbours": neighbours}
    got = spread(vectors[order], labels[order], 8, **options)
    np.testing.assert_allclose(got, spread(vectors, labels, 8, **options)[order], atol=1e-6)


def test_names_of_the_labels_do_not_matter():
    vectors, labels = drawn(50, 8)
    named = propagate_cluster(vectors, labels * 1000 + 7, Diffusion(tau=0.4))
    plain = propagate_cluster(vectors, labels, Diffusion(tau=0.4))
    np.testing.assert_array_equal(named.items, plain.items * 1000 + 7)
    np.testing.assert_array_equal(named.probs, plain.probs)


# Neighbours


@pytest.mark.parametrize("rounds", [2, 20])
def test_all_neighbours_are_everybody(rounds):
    vectors, labels = drawn(200, 30)
    full = spread(vectors, labels, rounds=rounds)
    cut = spread(vectors, labels, rounds=rounds, neighbours=199)
    np.testing.assert_allclose(cut, full, atol=1e-6)


def test_neighbours_are_the_nearest_others():
    vectors, labels = drawn(80, 9)
    near, weights = nearest_transition(vectors, 0.7, 5)
    apart = np.linalg.norm(vectors[:, None].astype(np.float64) - vectors, axis=2)
    np.fill_diagonal(apart, np.inf)
    order = np.argsort(apart, axis=1)[:, :5]
    assert (np.sort(near, 1) == np.sort(order, 1)).all()
    expected = np.exp(-np.take_along_axis(apart, near, 1) / 0.7)
    np.testing.assert_allclose(weights, expected / expected.sum(1, keepdims=True), atol=1e-6)
    w = np.zeros((80, 80))
    np.put_along_axis(w, near, weights, 1)
    q = first = np.eye(9)[labels]
    for _ in range(6):
        q = 0.5 * w @ q + 0.5 * first
    got = spread(vectors, labels, tau=0.7, rounds=6, neighbours=5)
    np.testing.assert_allclose(got, q, atol=1e-6)


def test_doubles_are_never_their_own_neighbours():
    vectors = np.zeros((12, 2), dtype=np.float32)
    near, weights = nearest_transition(vectors, 1.0, 4)
    assert (near != np.arange(12)[:, None]).all()
    assert all(len(set(row)) == 4 for row in near.tolist())
    np.testing.assert_allclose(weights, 0.25)


def test_cut_rows_are_lower_bounds():
    vectors, _ = drawn(150, 1)
    labels = np.arange(150) // 2
    full = spread(vectors, labels, rounds=10, neighbours=12)
    found = propagate_cluster(vectors, labels, Diffusion(rounds=10, neighbours=12, keep=9))
    cut = table(found.items, found.probs, 75)
    assert (cut <= full + 1e-6).all()
    assert 0.5 < cut.sum(1).mean() < 0.999
    assert (found.label_prob >= 0.5).all()
    soft = propagate(vectors, labels, clusters=1, rounds=10, neighbours=12, keep=9)
    assert soft.mass_kept == pytest.approx(cut.sum(1).mean(), abs=1e-6)
    np.testing.assert_allclose(soft.probs.sum(1), 1, atol=1e-6)


def test_clusters_too_large_for_tables_use_neighbours(limit):
    vectors, labels = drawn(100, 10)
    limit(cluster=8 * 100 * (100 + 10))
    assert propagate(vectors, labels, clusters=1).sparse_clusters == 0
    limit(cluster=8 * 100 * (100 + 10) - 1)
    soft = propagate(vectors, labels, clusters=1)
    assert soft.sparse_clusters == 1
    asked = propagate(vectors, labels, clusters=1, neighbours=one_cluster.NEIGHBOURS)
    np.testing.assert_array_equal(soft.probs, asked.probs)


def test_approximate_search_finds_most_neighbours(limit):
    vectors, _ = drawn(2000, 1, dim=8)
    exact, _ = nearest_transition(vectors, 1.0, 10)
    limit(exact_search=1999)
    near, weights = nearest_transition(vectors, 1.0, 10)
    found = [len(set(a) & set(b)) for a, b in zip(exact.tolist(), near.tolist(), strict=True)]
    assert np.mean(found) > 8
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


def test_blocks_do_not_change_the_result(limit):
    vectors, labels = drawn(90, 20)
    whole = [spread(vectors, labels, tau=0.5, neighbours=m) for m in (None, 8)]
    limit(spread=500)
    split = [spread(vectors, labels, tau=0.5, neighbours=m) for m in (None, 8)]
    np.testing.assert_allclose(split, whole, atol=1e-6)


# The whole, with clusters and the cut


def test_each_cluster_is_propagated_by_itself():
    vectors, labels = drawn(300, 40)
    of_row = assign_clusters(vectors, 5, seed=3)
    soft = propagate(vectors, labels, clusters=5, tau=0.5, keep=40, seed=3)
    assert soft.clusters == len(np.unique(of_row)) == 5
    got = table(soft.items, soft.probs, 40)
    own = []
    for number in range(5):
        rows = of_row == number
        expected = naive(vectors[rows].astype(np.float64), labels[rows], 0.5, 0.5, 20, 40)
        np.testing.assert_allclose(got[rows], expected, atol=1e-6)
        own.append(expected[np.arange(rows.sum()), labels[rows]])
    assert soft.mean_label_prob == pytest.approx(np.concatenate(own).mean(), abs=1e-6)
    assert soft.mass_kept == pytest.approx(1, abs=1e-6)


def test_the_largest_are_kept_and_scaled():
    vectors, labels = drawn(60, 20)
    q = naive(vectors.astype(np.float64), labels, 1.0, 0.5, 20, 20)
    best = np.argsort(-q, axis=1)[:, :4]
    kept = np.take_along_axis(q, best, 1)
    soft = propagate(vectors, labels, clusters=1, tau=1.0, keep=4)
    np.testing.assert_array_equal(soft.items, best)
    np.testing.assert_allclose(soft.probs, kept / kept.sum(1, keepdims=True), atol=1e-6)
    assert soft.mass_kept == pytest.approx(kept.sum(1).mean(), abs=1e-6)
    assert soft.items.dtype == np.int32
    assert soft.probs.dtype == np.float32


def test_short_rows_are_filled_up_with_their_own_label():
    vectors = np.array([[0], [0.1], [0.2], [50], [50.1]], dtype=np.float32)
    soft = propagate(vectors, np.array([1, 2, 3, 8, 9]), clusters=2, keep=10)
    assert soft.items.shape == (5, 3)
    assert soft.items[3:].tolist() == [[8, 9, 8], [9, 8, 9]]
    assert (soft.probs[3:, 2] == 0).all()
    assert (soft.probs[:3] > 0).all()


def test_places_without_a_share_name_the_own_label():
    vectors = np.array([[0], [1], [900]], dtype=np.float32)
    soft = propagate(vectors, np.array([5, 6, 7]), clusters=1, tau=0.5)
    assert soft.items[0].tolist() == [5, 6, 5]
    assert soft.probs[0, 2] == 0


def test_kmeans_finds_separate_groups_and_depends_on_the_seed_alone(capfd):
    rng = np.random.default_rng(0)
    centre = np.repeat(np.arange(3), 20)
    vectors = (centre[:, None] * 100 + rng.normal(size=(60, 4))).astype(np.float32)
    found = {seed: assign_clusters(vectors, 3, seed) for seed in range(5)}
    assert any(
        len(set(zip(of.tolist(), centre.tolist(), strict=True))) == 3 for of in found.values()
    )
    np.testing.assert_array_equal(found[0], assign_clusters(vectors, 3, 0))
    assert any((found[0] != of).any() for of in found.values())
    assert capfd.readouterr() == ("", "")


def test_kmeans_ends_where_every_vector_is_with_its_nearest_mean():
    vectors, _ = drawn(2000, 1)
    of_row = assign_clusters(vectors, 4, seed=0)
    means = np.stack([vectors[of_row == c].mean(0, dtype=np.float64) for c in range(4)])
    nearest = np.linalg.norm(vectors[:, None] - means, axis=2).argmin(1)
    assert (nearest == of_row).mean() > 0.995


def test_more_clusters_than_examples():
    vectors, labels = drawn(5, 5)
    soft = propagate(vectors, labels, clusters=100)
    assert soft.clusters == 5
    np.testing.assert_array_equal(soft.items, labels[:, None])


def test_memory_maps_and_other_floats_are_taken(tmp_path):
    vectors, labels = drawn(50, 6)
    np.save(tmp_path / "x.npy", vectors)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = propagate(vectors, labels, clusters=3)
    for kind in (mapped, vectors.astype(np.float64), np.asfortranarray(vectors)):
        soft = propagate(kind, labels, clusters=3)
        np.testing.assert_array_equal(soft.items, expected.items)
        np.testing.assert_array_equal(soft.probs, expected.probs)


def test_inputs_are_left_alone():
    vectors, labels = drawn(50, 6)
    before = vectors.copy(), labels.copy()
    for neighbours in (None, 4):
        propagate(vectors, labels, clusters=1, neighbours=neighbours)
    np.testing.assert_array_equal(vectors, before[0])
    np.testing.assert_array_equal(labels, before[1])


def test_progress_is_shown_on_request(capsys):
    vectors, labels = drawn(20, 6)
    propagate(vectors, labels, clusters=2)
    assert capsys.readouterr().out == ""
    propagate(vectors, labels, clusters=2, progress=True)
    assert "Propagating" in capsys.readouterr().out


def test_spread_labels_takes_any_number_of_rounds():
    vectors, labels = drawn(10, 4)
    many = spread_labels(transition(vectors, 1.0), labels, 4, 0.5, 10**9)
    limit = spread_labels(transition(vectors, 1.0), labels, 4, 0.5, None)
    np.testing.assert_allclose(many, limit, atol=1e-6)


@pytest.mark.parametrize(("spread", "dtype"), [(0.1, torch.float32), (40.0, torch.float64)])
def test_no_subnormal_numbers_in_a_solve_of_single_precision(spread, dtype, monkeypatch):
    """Far examples weigh less than 1e-38; products with such numbers are far slower."""
    vectors, labels = drawn(40, 4)
    w = transition(vectors * np.float32(spread), 0.25)
    solved = []
    solve = torch.linalg.solve
    monkeypatch.setattr(torch.linalg, "solve", lambda a, b: solved.append(a.dtype) or solve(a, b))
    first = torch.zeros(40, 4, dtype=torch.float64)
    first[torch.arange(40), torch.from_numpy(labels)] = 0.5
    expected = solve(torch.eye(40).double() - 0.5 * w.double(), first)
    found = spread_labels(w, labels, 4, 0.5, None)
    assert solved == [dtype]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)


# Files


def test_saved_labels_come_back(tmp_path):
    vectors, labels = drawn(50, 6)
    soft = propagate(vectors, labels, clusters=3, tau=0.3)
    path = tmp_path / "new" / "soft"
    soft.save(path)
    back = PropagatedLabels.load(path)
    assert isinstance(back.items, np.memmap)
    assert isinstance(back.probs, np.memmap)
    np.testing.assert_array_equal(back.items, soft.items)
    np.testing.assert_array_equal(back.probs, soft.probs)
    for name in ("mean_label_prob", "mass_kept", "clusters", "sparse_clusters"):
        assert getattr(back, name) == getattr(soft, name)


def test_broken_folders_are_refused(tmp_path):
    with refused(DataError):
        PropagatedLabels.load(tmp_path / "nothing")
    vectors, labels = drawn(20, 6)
    propagate(vectors, labels, clusters=2).save(tmp_path / "soft")
    np.save(tmp_path / "soft" / "items.npy", np.zeros((3, 3), dtype=np.int32))
    with refused(DataError):
        PropagatedLabels.load(tmp_path / "soft")
    (tmp_path / "soft" / "propagation.json").write_text("{}")
    with refused(DataError):
        PropagatedLabels.load(tmp_path / "soft")


# Errors


@pytest.mark.parametrize(
    "options",
    [
        {"tau": 0.0},
        {"tau": -1.0},
        {"tau": math.nan},
        {"tau": math.inf},
        {"damping": 1.0},
        {"damping": -0.1},
        {"damping": math.nan},
        {"keep": 0},
        {"rounds": -1},
        {"neighbours": 0},
        {"clusters": 0},
    ],
)
def test_options_out_of_range(options):
    with refused(ValueError):
        propagate(THREE, AAB, **options)


@pytest.mark.parametrize(
    ("vectors", "labels"),
    [
        (THREE[:, 0], AAB),
        (THREE, AAB[:2]),
        (THREE, AAB[:, None]),
        (THREE[:0], AAB[:0]),
        (THREE.astype(int), AAB),
        (THREE, AAB.astype(float)),
        (THREE, AAB - 1),
        (THREE, AAB + 2**31),
    ],
)
def test_arrays_that_do_not_fit(vectors, labels):
    with refused(ValueError):
        propagate(vectors, labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_no_numbers(bad):
    vectors = THREE.copy()
    vectors[1] = bad
    with refused(DataError):
        propagate(vectors, AAB)


def test_twenty_rounds_unless_told_otherwise():
    """On a line whose steps grow, labels still move in the twenty-first."""
    vectors, labels = np.arange(9, dtype=np.float32)[:, None] ** 1.5, np.arange(9)

    def shared(**rounds):
        soft = propagate(vectors, labels, clusters=1, damping=0.9, tau=0.5, **rounds)
        return table(soft.items, soft.probs, 9)

    np.testing.assert_array_equal(shared(), shared(rounds=20))
    for other in (19, 21):
        assert np.abs(shared() - shared(rounds=other)).max() > 1e-2


def test_three_hundred_labels_unless_told_otherwise():
    vectors = np.random.default_rng(0).normal(size=(310, 2)).astype(np.float32)
    soft = propagate(vectors, np.arange(310), clusters=1, damping=0.9)
    assert soft.items.shape == soft.probs.shape == (310, 300)
