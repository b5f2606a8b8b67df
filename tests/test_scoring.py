"""Scores: products, angles and distances, against their definitions in float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.models.mf import MF
from softrec.scoring import Scored, Scoring
from softrec.testing.encoders import padded
from softrec.types import ItemVectors, evaluating

P, N, D = 5, 8, 3


def numbers(*shape, seed, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    return size * torch.randn(*shape, generator=generator, dtype=torch.float64)


def table(scoring, users, items):
    """Return all scores as losses and rankings make them."""
    vectors, bias, _ = scoring.items(items)
    scores = scoring.users(users) @ vectors.T
    return scores if bias is None else scores + bias


def into_ball(vectors):
    return torch.stack([v / max(1.0, float(v.norm())) for v in vectors])


def without_row_constant(scores):
    return scores - scores.mean(1, keepdim=True)


def test_inner_products():
    users, items = numbers(P, D, seed=0), ItemVectors(numbers(N, D, seed=1), numbers(N, seed=2))
    expected = users @ items.vectors.T + items.bias
    torch.testing.assert_close(table(Scoring(), users, items), expected)
    torch.testing.assert_close(table(Scoring("inner", 0.2), users, items), expected / 0.2)
    assert Scoring().users(users) is users
    assert Scoring().items(items) == items


@pytest.mark.parametrize("temperature", [1.0, 0.1, 3.0])
@pytest.mark.parametrize("bias", [None, numbers(N, seed=2)], ids=["no bias", "bias"])
def test_cosines(temperature, bias):
    users, vectors = numbers(P, D, seed=0, size=5), numbers(N, D, seed=1, size=0.1)
    cosine = torch.nn.functional.cosine_similarity(users[:, None], vectors[None], dim=2)
    expected = (cosine if bias is None else cosine + bias) / temperature
    found = table(Scoring("cosine", temperature), users, ItemVectors(vectors, bias))
    torch.testing.assert_close(found, expected)


@given(length=st.floats(1e-3, 1e3), other=st.floats(1e-3, 1e3))
def test_cosines_know_no_length(length, other):
    users, vectors = numbers(P, D, seed=0), numbers(N, D, seed=1)
    plain = table(Scoring("cosine"), users, ItemVectors(vectors))
    scaled = table(Scoring("cosine"), length * users, ItemVectors(other * vectors))
    torch.testing.assert_close(scaled, plain)
    assert plain.abs().max() <= 1 + 1e-12


def test_a_vector_of_zeros_has_no_angle():
    assert not table(Scoring("cosine"), torch.zeros(1, D), ItemVectors(torch.ones(N, D))).any()


@pytest.mark.parametrize("size", [0.2, 1.0, 5.0])  # within, across and outside the unit ball
@pytest.mark.parametrize("temperature", [1.0, 0.5])
@pytest.mark.parametrize("bias", [None, numbers(N, seed=2)], ids=["no bias", "bias"])
def test_distances(size, temperature, bias):
    users, vectors = numbers(P, D, seed=0, size=size), numbers(N, D, seed=1, size=size)
    distance = torch.cdist(into_ball(users), into_ball(vectors)).square()
    expected = (-distance if bias is None else bias - distance) / temperature
    found = table(Scoring("euclidean", temperature), users, ItemVectors(vectors, bias))
    torch.testing.assert_close(found, expected)


def test_only_what_is_outside_the_ball_is_drawn_back():
    inside, outside = torch.tensor([[0.3, 0.4]]), torch.tensor([[3.0, 4.0]])
    found = Scoring("euclidean").items(ItemVectors(torch.cat([inside, outside])))
    torch.testing.assert_close(found.vectors, torch.tensor([[0.3, 0.4, 1.0], [0.6, 0.8, 1.0]]))
    torch.testing.assert_close(found.bias, torch.tensor([-0.25, -1.0]))
    users = Scoring("euclidean").users(outside)
    torch.testing.assert_close(users, torch.tensor([[1.2, 1.6, -1.0]]))


@pytest.mark.parametrize("kind", ["inner", "cosine", "euclidean"])
def test_gradients_reach_the_vectors(kind):
    users = numbers(P, D, seed=0).requires_grad_()
    vectors = numbers(N, D, seed=1).requires_grad_()

    def scores(users, vectors):
        return table(Scoring(kind, 0.5), users, ItemVectors(vectors))

    assert torch.autograd.gradcheck(scores, (users, vectors))


@pytest.mark.parametrize("temperature", [0, -0.1])
def test_a_temperature_must_be_above_0(temperature):
    with refused(ValueError):
        Scoring("cosine", temperature)


@pytest.mark.parametrize("kind", ["inner", "cosine", "euclidean"])
def test_a_scored_encoder_gives_changed_vectors(kind):
    model = MF(N, n_users=2, dim=D, dropout=0.5)
    scored, batch = Scored(model, Scoring(kind)), padded([[0, 3], [1]], N)
    assert scored.n_items == N
    scored.eval()
    assert not model.training
    vectors, bias, _ = scored.items()
    found = scored(batch).users @ vectors.T + (0 if bias is None else bias)
    expected = table(Scoring(kind), model(batch).users, model.items())
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("training", [True, False])
def test_a_scored_encoder_leaves_the_mode_as_it_was(training):
    encoder = MF(5, n_users=2, dim=3, dropout=0.5).train(training)
    with evaluating(Scored(encoder, Scoring("cosine"))):
        assert not encoder.training
    assert encoder.training == training
