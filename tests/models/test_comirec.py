"""ComiRec-SA: contract, formula, padding, sizes, and two interests told apart."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from messages import refused
from softrec.losses.softmax import ObjectiveValue
from softrec.models.comirec import ComiRecSA
from softrec.testing import (
    batch_of,
    check_encoder,
    check_learns,
    check_learns_nothing_from_noise,
    trained,
)
from softrec.testing.encoders import at_every_step, padded
from softrec.types import Batch

N_ITEMS = 11
LENGTH = 6
UNMOVED = ("weights.bias",)  # the same number at all positions: the softmax cancels it
OPTIONS = {
    "default": {},
    "one interest": {"interests": 1},
    "positions in values": {"positions": "values"},
    "no positions": {"positions": "none"},
    "no bias": {"bias": False},
    "narrow": {"attention": 3},
    "plus": {"transformer": True},
    "plus, no positions": {"transformer": True, "positions": "none"},
    "plus, no bias": {"transformer": True, "bias": False},
}
OUTPUTS = {
    "own output": {"tied": False},
    "output bias": {"output_bias": True},
    "normal": {"init": "normal"},
    "gaussian": {"init": "gaussian", "transformer": True},
    "longer": {"length": 9},
}


@pytest.mark.parametrize("name", OPTIONS | OUTPUTS)
def test_contract(name):
    options = {"dim": 8, "length": LENGTH, "interests": 3} | (OPTIONS | OUTPUTS)[name]
    check_encoder(partial(ComiRecSA, N_ITEMS, **options), N_ITEMS, unmoved=UNMOVED)


@pytest.mark.parametrize("preset", ComiRecSA.PRESETS)
def test_presets(preset):
    make = partial(ComiRecSA, N_ITEMS, **ComiRecSA.PRESETS[preset])
    check_encoder(make, N_ITEMS, unmoved=UNMOVED)


# --- the formula, in float64, one number at a time ---


def number(tensor):
    return tensor.detach().numpy().astype(np.float64)


def softmax(x):
    x = np.exp(x - x.max())
    return x / x.sum()


def linear(layer, x):
    return number(layer.weight) @ x + (0 if layer.bias is None else number(layer.bias))


def norm(layer, x):
    scaled = (x - x.mean()) / np.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)
    return scaled * number(layer.weight) + number(layer.bias)


def transformer_oracle(layer, h):
    mapped = [np.split(linear(layer.query_key_value, x), 3) for x in h]
    out = []
    for (query, _, _), x in zip(mapped, h, strict=True):
        weights = softmax(np.array([query @ key for _, key, _ in mapped]) / np.sqrt(len(x)))
        seen = sum(w * value for w, (_, _, value) in zip(weights, mapped, strict=True))
        x = norm(layer.norms[0], x + seen)
        x = norm(layer.norms[1], x + linear(layer.narrow, np.maximum(linear(layer.widen, x), 0)))
        out.append(x)
    return out


def comirec_oracle(model, history):
    n_interests, dim = model.weights.out_features, model.table.embedding_dim
    if not history:
        return np.zeros((n_interests, dim))
    values = [number(model.table.weight)[item] for item in history]
    seen = values
    if model.positions is not None:
        places = number(model.positions.weight)
        seen = [v + places[len(history) - i] for i, v in enumerate(values)]
    if model.where == "values":
        values = seen
    if model.transformer is not None:
        values = seen = transformer_oracle(model.transformer, values)
    scores = np.array([linear(model.weights, np.tanh(linear(model.hidden, x))) for x in seen])
    return np.array([softmax(scores[:, k]) @ np.array(values) for k in range(n_interests)])


def in_double(name):
    """A model in float64, no parameter at 0 or 1, nor any row of padding: nobody may read it."""
    torch.manual_seed(0)
    options = {"dim": 5, "length": LENGTH, "interests": 3} | OPTIONS[name]
    model = ComiRecSA(N_ITEMS, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


FIXED = {name: in_double(name) for name in OPTIONS}


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXED)
@settings(max_examples=25)
@given(
    histories=st.lists(
        st.lists(st.integers(0, N_ITEMS - 1), max_size=LENGTH), min_size=1, max_size=4
    ),
    side=st.sampled_from(["left", "right"]),
    extra=st.integers(1, 3),
)
def test_formula(name, histories, side, extra):
    """Repeated items, full, short and empty histories side by side."""
    model = FIXED[name]
    with torch.no_grad():
        users = model(padded(histories, N_ITEMS, side=side, extra=extra)).users.numpy()
    expected = np.stack([comirec_oracle(model, history) for history in histories])
    np.testing.assert_allclose(users, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("side", ["left", "right"])
def test_formula_at_every_step(name, side):
    histories = [[3, 1, 3, 7, 0, 10], [5], [9, 9, 2]]
    batch = at_every_step(padded(histories, N_ITEMS, side=side, extra=2), [6, 1, 3])
    with torch.no_grad():
        users = FIXED[name](batch).users.numpy()
    cuts = [history[: step + 1] for history in histories for step in range(len(history))]
    expected = np.stack([comirec_oracle(FIXED[name], cut) for cut in cuts])
    np.testing.assert_allclose(users, expected, rtol=1e-10, atol=1e-10)


def test_no_mask_where_nothing_is_padded():
    """Full rows take another path through the attention than rows beside a padded one."""
    for name in ("default", "plus"):
        model = FIXED[name]
        with torch.no_grad():
            alone = model(padded([[1, 4, 2]], N_ITEMS)).users
            beside = model(padded([[1, 4, 2], [3]], N_ITEMS)).users[:1]
        torch.testing.assert_close(alone, beside, rtol=1e-12, atol=1e-12)


# --- padding, options ---


@pytest.mark.parametrize("name", OPTIONS)
def test_empty_histories_in_training(name):
    """All padding beside one item: exactly 0, finite gradients, and none for the padding."""
    torch.manual_seed(0)
    model = ComiRecSA(N_ITEMS, **({"dim": 8, "length": 4} | OPTIONS[name]))
    history = torch.full((3, 4), N_ITEMS)
    history[1, 3] = 2
    numbers = torch.arange(3)
    users = model(Batch(history, numbers, numbers, numbers)).users
    assert (users[[0, 2]] == 0).all()
    assert (users[1] != 0).any()
    users.square().sum().backward()
    for parameter in model.parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all()
    assert (model.table.weight.grad[N_ITEMS] == 0).all()
    assert model.positions is None or (model.positions.weight.grad[0] == 0).all()


def test_one_item_is_its_own_interest():
    """The weights of one position are 1: without positions every interest is the item."""
    torch.manual_seed(0)
    model = ComiRecSA(N_ITEMS, dim=8, interests=3)
    users = model(padded([[4]], N_ITEMS)).users[0]
    torch.testing.assert_close(users, model.items().vectors[[4, 4, 4]])


@pytest.mark.parametrize("name", OPTIONS)
def test_who_sees_the_order(name):
    with torch.no_grad():
        one, other = FIXED[name](padded([[1, 4, 2, 8], [8, 2, 1, 4]], N_ITEMS)).users
    assert torch.allclose(one, other, atol=1e-12) == name.endswith("no positions")


def test_positions_in_scores_weigh_and_do_not_mix():
    """Interests stay means of the item vectors; positions in the values shift them."""
    torch.manual_seed(0)
    inside = []
    for positions in ("scores", "values"):
        model = ComiRecSA(3, dim=8, positions=positions)
        users = model(padded([[0, 1, 2]], 3)).users[0].detach().double()
        vectors = model.items().vectors.detach().double()
        weights = torch.linalg.lstsq(vectors.T, users.T).solution
        fits = torch.allclose(vectors.T @ weights, users.T, atol=1e-5)
        inside.append(fits and torch.allclose(weights.sum(0), torch.ones(4).double(), atol=1e-4))
    assert inside == [True, False]


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def test_sizes():
    """As the authors' extractors: N + 1 item rows, 21 positions, d_a 8, K 2, with biases."""
    plain = (N_ITEMS + 1) * 64 + 21 * 64 + (64 * 8 + 8) + (8 * 2 + 2)
    layer = 3 * (64 * 64 + 64) + 2 * (64 * 64 + 64) + 2 * (64 + 64)
    assert count(ComiRecSA(N_ITEMS, **ComiRecSA.PRESETS["timirec"])) == plain
    assert count(ComiRecSA(N_ITEMS, **ComiRecSA.PRESETS["timirec+"])) == plain + layer
    original = (N_ITEMS + 1) * 64 + 21 * 64 + 64 * 256 + 256 * 4
    assert count(ComiRecSA(N_ITEMS, **ComiRecSA.PRESETS["original"])) == original


@pytest.mark.parametrize("init", ["xavier", "normal", "gaussian"])
def test_initialisation(init):
    torch.manual_seed(0)
    model = ComiRecSA(300, dim=32, transformer=True, init=init)
    assert (model.table.weight[300] == 0).all()
    expected = (2 / (301 + 32)) ** 0.5 if init == "xavier" else 0.01
    assert model.table.weight[:300].std().item() == pytest.approx(expected, rel=0.05)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            assert bool((module.bias != 0).all()) == (init == "normal")
            assert module.bias.abs().max() < 0.05
        if isinstance(module, torch.nn.LayerNorm):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


@pytest.mark.parametrize(
    "make",
    [
        partial(ComiRecSA, 5, interests=0),
        partial(ComiRecSA, 5, attention=0),
        partial(ComiRecSA, 5, length=0),
        partial(ComiRecSA, 5, positions="keys"),
        partial(ComiRecSA, 5, transformer=True, positions="scores"),
        partial(ComiRecSA, 5, init="zeros"),
        lambda: ComiRecSA(5, length=2)(padded([[0, 1, 2]], 5)).users,
    ],
)
def test_options_that_do_not_fit(make):
    with refused(ValueError):
        make()


# --- learning ---

SQUARES = 12
MODELS = {
    "comirec": partial(ComiRecSA, SQUARES, dim=16, length=8, interests=2),
    "comirec+": partial(ComiRecSA, SQUARES, dim=16, length=8, interests=2, transformer=True),
}


def best_interest(model, batch):
    """Cross-entropy over all items, each scored as it is ranked: by its best interest."""
    scores = (model(batch).users @ model.items().vectors.T).amax(1)
    return ObjectiveValue(F.cross_entropy(scores, batch.label), {})


def two_genres(*, seed, rows=900):
    """Each user has two of four genres of three items: history and label are of either.

    Returns the batch and which genres are the user's, (B, 4) bool.
    """
    generator = torch.Generator().manual_seed(seed)
    own = torch.rand(rows, 4, generator=generator).argsort(1)[:, :2]
    turn = torch.randint(2, (rows, 8), generator=generator)
    turn[:, :2] = torch.tensor([0, 1])  # both genres are in the history
    genre = own.gather(1, turn)
    drawn = 3 * genre + torch.randint(3, (rows, 8), generator=generator)
    order = torch.rand(rows, 7, generator=generator).argsort(1)
    history = drawn[:, :7].gather(1, order)
    return batch_of(history, drawn[:, 7]), F.one_hot(own, 4).sum(1).bool()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_two_interests_are_told_apart(name):
    """On users never seen, one interest's best item is of the one genre, the other's of the other.

    By chance that is so for 2 / 16 of the users.
    """
    train, _ = two_genres(seed=3)
    test, own = two_genres(seed=4)
    model = trained(MODELS[name], train, best_interest, steps=60)
    with torch.no_grad():
        interests = model(test).users
        genres = (interests @ model.items().vectors.T).argmax(2) // 3
        angle = F.cosine_similarity(*interests.unbind(1))
    right = (F.one_hot(genres, 4).sum(1) == own).all(1)
    assert right.float().mean() >= 0.85
    assert angle.mean() < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_markov_chain_is_learnt(name):
    check_learns(partial(MODELS[name], tied=False), SQUARES, best_interest)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_learnt_from_noise(name):
    check_learns_nothing_from_noise(MODELS[name], SQUARES, best_interest)
