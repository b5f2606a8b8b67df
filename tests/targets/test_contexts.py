"""Sources that remember something of every training context, against a plain walk over them."""

import numpy as np
import pytest
import torch

from messages import refused
from softrec.data.batches import TrainingBatches, context_batch, examples, training_batch
from softrec.data.interactions import Sequences
from softrec.models.gru4rec import GRU4Rec
from softrec.models.mf import MF
from softrec.targets.build.contexts import (
    Contexts,
    NeighbourSource,
    RememberedSource,
    TeacherSource,
    best_of_teacher,
    context_vectors,
)
from softrec.testing import check_target, oracles
from softrec.types import Batch, ItemVectors, evaluating

N = 9
LOG = [[3, 1, 4, 1, 5], [8, 2], [6], [5, 3, 5, 8, 0, 7], [2, 7, 1]]
WINDOWS = ("last", "positions", "prefixes", "sliding", "interactions")


def data_of(windows, length=3):
    return examples(Sequences.of(LOG), windows, length, stride=2 if windows == "sliding" else None)


def gru(dropout=0.5):
    torch.manual_seed(0)
    return GRU4Rec(N, dim=6, layers=2, dropout=dropout, output_bias=True, tied=False)


def mf():
    torch.manual_seed(0)
    return MF(N, n_users=len(LOG), dim=4, dropout=0.5)


def walk(data):
    """Return (user, history, label) of each context in order, read from the stretches."""
    found = []
    for start, stop, user in zip(data.start, data.stop, data.user, strict=True):
        stretch = data.sequences.items[start:stop].tolist()
        ends = range(1, len(stretch)) if data.every else [len(stretch) - 1]
        found += [(int(user), stretch[:end], stretch[end]) for end in ends]
    return found


def vector_of(encoder, user, history):
    """Return the user vector of one history, alone and without padding where there is any item."""
    row = torch.tensor([history or [encoder.n_items]])
    nothing = torch.zeros(1, dtype=torch.int64)
    return encoder(Batch(row, nothing, nothing, torch.tensor([user]))).users[0]


def number_of(data, batch, place):
    """Return the number of the context behind a prediction, looked up in the walk."""
    row = place if batch.row is None else int(batch.row[place])
    history = [item for item in batch.history[row].tolist() if item != N]
    if batch.step is not None:
        history = history[: int(batch.step[place]) + 1]
    wanted = int(batch.user[row]), history, int(batch.label[place])
    places = [c for c, context in enumerate(walk(data)) if context == wanted]
    example = int(batch.example[place])
    return next(c for c in places if int(data.stretches(np.array([c]))[0][0]) == example)


# --- vectors of a trained model ---


@pytest.mark.parametrize("make", [gru, mf])
@pytest.mark.parametrize("windows", WINDOWS)
def test_vectors_are_those_of_the_encoder(windows, make, tmp_path, limit):
    limit(encoded=3)
    data, encoder, done = data_of(windows), make(), []
    context_vectors(encoder, data, tmp_path / "v.npy", length=2, advance=done.append)
    found = np.load(tmp_path / "v.npy")
    encoder.eval()
    with torch.no_grad():
        expected = [vector_of(encoder, user, past[-2:]) for user, past, _ in walk(data)]
    assert found.dtype == np.float32
    torch.testing.assert_close(torch.from_numpy(found), torch.stack(expected))
    assert sum(done) == data.n_contexts
    assert max(done) == 3


def test_the_length_of_the_teacher_counts(tmp_path):
    """A teacher that reads less than the student reads the end of each history."""
    data, encoder = data_of("prefixes"), gru().eval()
    for length in (1, 3):
        context_vectors(encoder, data, tmp_path / f"{length}.npy", length=length)
    short, long = (np.load(tmp_path / f"{length}.npy") for length in (1, 3))
    same = np.array([len(past) == 1 for _, past, _ in walk(data)])
    assert np.abs(short - long)[same].max() < 1e-6
    assert np.abs(short - long)[~same].max(axis=1).min() > 1e-4


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_leaves_the_mode_as_it_was(training):
    encoder = gru().train(training)
    seen = []

    def fail():
        with evaluating(encoder):
            seen.append(encoder.training)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [False]
    assert encoder.training == training


# --- remembered items and predictions ---


@pytest.mark.parametrize("windows", WINDOWS)
def test_each_prediction_gets_what_its_context_remembers(windows):
    data = data_of(windows)
    generator = np.random.default_rng(0)
    items = generator.integers(N, size=(data.n_contexts, 2)).astype(np.int32)
    shares = generator.dirichlet([1, 1], size=data.n_contexts).astype(np.float32)
    source = RememberedSource(Contexts(data), items, shares)
    for batch in TrainingBatches(data, 2, N, seed=1):
        target = source(batch)
        for place in range(len(batch.label)):
            c = number_of(data, batch, place)
            assert target.items[place].tolist() == items[c].tolist()
            assert target.probs[place].tolist() == shares[c].tolist()


def test_what_is_remembered_is_a_target():
    data = data_of("positions")
    rows = data.n_contexts
    items = np.stack([np.arange(rows) % N, (np.arange(rows) + 3) % N], 1).astype(np.int32)
    batch = training_batch(data, np.arange(len(data)), N)
    whole = np.tile(np.float32([0.75, 0.25]), (rows, 1))
    check_target(RememberedSource(Contexts(data), items, whole)(batch), N, rows)
    spread = RememberedSource(Contexts(data), items, whole / 2, n_items=N)(batch)
    check_target(spread, N, rows)
    expected = np.full((rows, N), 0.5 / N)
    np.add.at(expected, (np.arange(rows)[:, None], items), whole / 2)
    torch.testing.assert_close(
        oracles.dense(spread, rows, N), torch.from_numpy(expected), atol=1e-6, rtol=0
    )


def teacher_of(data, *, bias=True):
    generator = np.random.default_rng(2)
    vectors = generator.normal(size=(data.n_contexts, 5)).astype(np.float32)
    items = generator.normal(size=(N, 5)).astype(np.float32)
    b = torch.from_numpy(generator.normal(size=N).astype(np.float32)) if bias else None
    return vectors, ItemVectors(torch.from_numpy(items), b)


def prediction(vectors, items, temperature):
    return (oracles.logits(torch.from_numpy(vectors), items) / temperature).softmax(1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("windows", ["positions", "prefixes"])
def test_each_prediction_gets_the_teachers_own(windows, bias):
    data = data_of(windows)
    vectors, items = teacher_of(data, bias=bias)
    expected = prediction(vectors, items, 2.0)
    source = TeacherSource(Contexts(data), vectors, items, 2.0)
    for batch in TrainingBatches(data, 2, N, seed=1):
        numbers = [number_of(data, batch, place) for place in range(len(batch.label))]
        found = oracles.dense(source(batch), len(numbers), N)
        torch.testing.assert_close(found, expected[numbers], atol=1e-6, rtol=0)


def test_the_best_of_a_teacher(tmp_path):
    data = data_of("prefixes")
    vectors, items = teacher_of(data)
    done = []
    best_of_teacher(vectors, items, 0.5, 4, tmp_path, done.append)
    shares, best = prediction(vectors, items, 0.5).topk(4, dim=1)
    assert np.load(tmp_path / "items.npy").tolist() == best.tolist()
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), shares.numpy(), atol=1e-6)
    assert sum(done) == data.n_contexts


def test_the_best_of_many_contexts_go_in_blocks(tmp_path):
    vectors = np.random.default_rng(3).normal(size=(600, 5)).astype(np.float32)
    _, items = teacher_of(data_of("last"))
    done = []
    best_of_teacher(vectors, items, 1.0, 2, tmp_path, done.append)
    assert (sum(done), len(done)) == (600, 3)
    expected = prediction(vectors, items, 1.0).topk(2, dim=1).values
    np.testing.assert_allclose(np.load(tmp_path / "probabilities.npy"), expected.numpy(), atol=1e-6)


# --- the model itself on a neighbour ---


def neighbours_of(data, k):
    return np.random.default_rng(4).integers(data.n_contexts, size=(data.n_contexts, k))


def own_predictions(encoder, data, temperature):
    """Return softmax(z / T) of the model in evaluation mode for every context, (C, N)."""
    was = encoder.training
    encoder.eval()
    with torch.no_grad():
        users = torch.stack([vector_of(encoder, user, past) for user, past, _ in walk(data)])
        expected = (oracles.logits(users, encoder.items()) / temperature).softmax(1)
    encoder.train(was)
    return expected


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("make", [gru, mf])
@pytest.mark.parametrize("windows", WINDOWS)
def test_a_neighbours_prediction_is_the_models_own(windows, make, side):
    data, encoder = data_of(windows), make().train()
    neighbours = neighbours_of(data, 1)
    source = NeighbourSource(Contexts(data), neighbours, encoder, 0.5, side)
    expected = own_predictions(encoder, data, 0.5)
    for batch in TrainingBatches(data, 2, N, seed=1, side=side):
        numbers = [number_of(data, batch, place) for place in range(len(batch.label))]
        found = oracles.dense(source(batch), len(numbers), N)
        torch.testing.assert_close(found, expected[neighbours[numbers, 0]], atol=1e-5, rtol=1e-4)


def test_a_neighbour_is_one_of_the_list_and_each_in_turn():
    data, encoder = data_of("prefixes"), gru().train()
    source = NeighbourSource(Contexts(data), neighbours_of(data, 3), encoder)
    expected, batch = own_predictions(encoder, data, 1.0), training_batch(data, np.arange(1), N)
    listed = expected[source.neighbours[0]]
    torch.manual_seed(0)
    drawn = set()
    for _ in range(40):
        found = oracles.dense(source(batch), 1, N)
        distance = (listed - found).abs().max(1).values
        assert distance.min() < 1e-5
        drawn.add(int(distance.argmin()))
    assert len({tuple(row) for row in listed.tolist()}) == len(drawn)


def test_no_gradient_and_the_model_left_in_training():
    data, encoder = data_of("positions"), gru().train()
    source = NeighbourSource(Contexts(data), neighbours_of(data, 2), encoder)
    batch = training_batch(data, np.arange(len(data)), N)
    target = source(batch)
    assert encoder.training
    assert all(part.training for part in encoder.modules())
    parts = (target.users, target.items.vectors, target.items.bias)
    assert not any(part.requires_grad for part in parts)
    check_target(target, N, len(batch.label))
    assert torch.is_grad_enabled()


def test_the_parameters_of_this_step_count():
    data, encoder = data_of("prefixes"), gru().train()
    source = NeighbourSource(Contexts(data), neighbours_of(data, 1), encoder)
    batch = training_batch(data, np.arange(3), N)
    before = oracles.dense(source(batch), 3, N)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.mul_(1.5)
    assert (oracles.dense(source(batch), 3, N) - before).abs().max() > 1e-4


def test_the_same_seed_draws_the_same_neighbours():
    data, encoder = data_of("prefixes"), gru().train()
    source = NeighbourSource(Contexts(data), neighbours_of(data, 4), encoder)
    batch = training_batch(data, np.arange(len(data)), N)
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(source(batch).users)
    torch.testing.assert_close(drawn[0], drawn[1], rtol=0, atol=0)
    assert not torch.equal(drawn[0], drawn[2])


# --- what belongs to other contexts ---


@pytest.mark.parametrize("windows", WINDOWS)
def test_each_context_has_a_user(windows):
    data = data_of(windows)
    assert Contexts(data).users.tolist() == [user for user, _, _ in walk(data)]


@pytest.mark.parametrize("missing", [1, -1])
def test_rows_of_other_contexts_are_refused(missing):
    data = data_of("positions")
    rows = data.n_contexts - missing
    numbers = Contexts(data)
    items, shares = np.zeros((rows, 2), np.int32), np.zeros((rows, 2), np.float32)
    with refused(ValueError):
        RememberedSource(numbers, items, shares)
    with refused(ValueError):
        TeacherSource(numbers, shares, ItemVectors(torch.zeros(N, 2)))
    with refused(ValueError):
        NeighbourSource(numbers, items, gru())


def test_batches_of_other_windows_are_refused():
    """Asked once a row, where every position is remembered."""
    data = data_of("positions")
    rows = np.zeros((data.n_contexts, 1), np.int32)
    source = RememberedSource(Contexts(data), rows, np.ones(rows.shape, np.float32))
    with refused(ValueError):
        source(context_batch(data, np.arange(2), N))
