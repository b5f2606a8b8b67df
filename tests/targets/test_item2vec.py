"""Item vectors: who stands together comes to lie together; unseen items stay at zero."""

import logging
import sys

import numpy as np
import pytest

from messages import refused
from softrec.data.interactions import Sequences
from softrec.errors import SoftrecError
from softrec.targets.build import item2vec
from softrec.targets.build.item2vec import item_vectors

gensim = pytest.importorskip("gensim.models")

SIZES = {"dim": 16, "epochs": 5}


def two_groups(n_sequences=400, length=6):
    """Sequences of items 0..9 only or of items 10..19 only; item 20 never occurs."""
    draw = np.random.default_rng(0)
    group = draw.integers(2, size=n_sequences)
    return Sequences.of(10 * group[:, None] + draw.integers(10, size=(n_sequences, length)))


def cosines(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.fixture(scope="module")
def vectors():
    return item_vectors(two_groups(), 21, **SIZES)


def test_items_of_a_group_are_nearer_than_those_of_the_other(vectors):
    near = cosines(vectors[:20])
    same = np.kron(np.eye(2), np.ones((10, 10))) - np.eye(20) > 0
    other = np.kron(1 - np.eye(2), np.ones((10, 10))) > 0
    assert near[same].min() > near[other].max() + 0.2


def test_shape_and_kind(vectors):
    assert vectors.shape == (21, 16)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


def test_unseen_item_is_zero_and_the_others_are_not(vectors):
    assert vectors.any(axis=1).tolist() == [True] * 20 + [False]


def test_same_seed_gives_the_same_vectors_and_another_seed_others(vectors):
    again = item_vectors(two_groups(), 21, **SIZES)
    np.testing.assert_array_equal(again, vectors)
    other = item_vectors(two_groups(), 21, seed=1, **SIZES)
    assert not np.allclose(other[:20], vectors[:20], atol=1e-3)


def test_what_is_not_said_is_as_the_paper_has_it(vectors):
    """The whole sequence, five negatives by count^0.75, nothing left out."""
    said = {"window": 6, "negatives": 5, "exponent": 0.75, "min_count": 1, "sample": 0.0}
    np.testing.assert_array_equal(item_vectors(two_groups(), 21, **SIZES, **said), vectors)


def test_the_smallest_window_reaches_the_neighbour_alone():
    chain = Sequences.of([[0, 2, 1, 2] * 5] * 60)
    beside, whole = (item_vectors(chain, 3, window=window, dim=8, epochs=5) for window in (1, None))
    assert not np.allclose(beside, whole, atol=1e-3)


def test_rows_are_the_items_by_number():
    """Counts in another order than the numbers: the rows must not be those of the vocabulary."""
    log = two_groups()
    renamed = np.random.default_rng(1).permutation(21)
    moved = item_vectors(Sequences(log.offsets, renamed[log.items]), 21, **SIZES)
    plain = item_vectors(log, 21, **SIZES)
    np.testing.assert_array_equal(moved[renamed], plain)


def test_the_window_reaches_over_the_whole_sequence():
    """0 and 1 share only the last item of their sequences, 2; 3 and 4 share 5."""
    draw = np.random.default_rng(0)
    first = draw.choice([0, 1, 3, 4], size=1000)
    middle = draw.integers(6, 26, size=(1000, 6))
    log = Sequences.of(np.column_stack([first, middle, np.where(first < 2, 2, 5)]))

    def contrast(window):
        near = cosines(item_vectors(log, 26, window=window, dim=16, epochs=10))
        return near[0, 1] + near[3, 4] - near[0, 3] - near[1, 4]

    assert contrast(None) > contrast(3) + 0.2


def test_sequences_longer_than_gensim_takes_are_split():
    log = Sequences.of([range(10), [3], [], [5, 6]])
    corpus = item2vec.Sentences(log, list("0123456789"), longest=4)
    expected = [list("0123"), list("4567"), list("89"), list("56")]
    assert list(corpus) == expected
    assert list(corpus) == expected, "an epoch must not use it up"


@pytest.mark.parametrize("lists", [[], [[]], [[1], [2]]])
def test_nothing_to_learn_from_gives_zeros(lists):
    np.testing.assert_array_equal(item_vectors(Sequences.of(lists), 3, dim=4), np.zeros((3, 4)))


def test_rare_items_are_left_out():
    log = Sequences.of([[0, 1, 0, 1], [0, 1, 2]])
    assert item_vectors(log, 3, dim=4, min_count=2).any(axis=1).tolist() == [True, True, False]


def test_catalogue_must_hold_all_items():
    with refused(ValueError):
        item_vectors(Sequences.of([[0, 3]]), 3)


@pytest.mark.parametrize("name", ["dim", "window", "negatives", "epochs", "min_count"])
def test_sizes_below_one_are_refused(name):
    with refused(ValueError):
        item_vectors(Sequences.of([[0, 1]]), 2, **{name: 0})


def test_gensim_warns_of_nothing(caplog):
    with caplog.at_level(logging.WARNING):
        item_vectors(two_groups(5), 21, dim=4, epochs=1)
    assert caplog.records == []


def test_settings_reach_gensim(monkeypatch):
    """What is seen at the vectors only as noise: the pairs, the negatives and the threads."""
    given = {}
    word2vec = gensim.Word2Vec

    def recorded(**settings):
        given.update(settings)
        return word2vec(**settings)

    monkeypatch.setattr(gensim, "Word2Vec", recorded)
    log = Sequences.of([[0, 1, 2], [2, 0]])
    item_vectors(log, 3, dim=4, negatives=7, exponent=0.5, epochs=2, seed=3, sample=0.1)
    expected = {
        "sg": 1,
        "hs": 0,
        "negative": 7,
        "ns_exponent": 0.5,
        "epochs": 2,
        "seed": 3,
        "sample": 0.1,
        "window": 3,
        "shrink_windows": False,
        "workers": 1,
    }
    assert given.items() >= expected.items()


def test_more_epochs_teach_more():
    once, often = (item_vectors(two_groups(40), 21, dim=16, epochs=n) for n in (1, 5))
    assert np.linalg.norm(often) > 1.5 * np.linalg.norm(once)


def test_missing_gensim_names_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim", None)
    with refused(SoftrecError):
        item_vectors(Sequences.of([[0, 1]]), 2)
