"""TiMiRec: contract, formula, sizes, who learns from what, and the next interest predicted."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from messages import refused
from softrec.losses.distillation import interest_distillation
from softrec.losses.softmax import ObjectiveValue
from softrec.models.comirec import ComiRecSA
from softrec.models.gru4rec import GRU4Rec
from softrec.models.timirec import TiMiRec
from softrec.testing import (
    batch_of,
    check_encoder,
    check_learns,
    check_learns_nothing_from_noise,
    halves,
    trained,
)
from softrec.testing.encoders import at_every_step, padded
from softrec.types import Batch

N_ITEMS = 11
LENGTH = 6
UNMOVED = ("weights.bias",)  # the same number at all positions: the softmax cancels it
OPTIONS = {
    "default": {},
    "plus": {"transformer": True},
    "two layers": {"predictor_layers": 2},
    "three layers": {"predictor_layers": 3, "transformer": True},
    "no positions": {"positions": "none"},
}
OUTPUTS = {
    "own output": {"tied": False, "output_bias": True},
    "normal": {"init": "normal"},
    "no bias": {"bias": False},
    "longer": {"length": 9},
}


@pytest.mark.parametrize("name", OPTIONS | OUTPUTS)
def test_contract(name):
    options = {"dim": 8, "length": LENGTH, "interests": 3} | (OPTIONS | OUTPUTS)[name]
    check_encoder(partial(TiMiRec, N_ITEMS, **options), N_ITEMS, unmoved=UNMOVED)


@pytest.mark.parametrize("preset", TiMiRec.PRESETS)
def test_presets(preset):
    make = partial(TiMiRec, N_ITEMS, **TiMiRec.PRESETS[preset])
    check_encoder(make, N_ITEMS, unmoved=UNMOVED)


# --- the formula, in float64; the extractor has its own tests ---


def number(tensor):
    return tensor.detach().numpy().astype(np.float64)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logits_oracle(predictor, history):
    """The GRU as Cho et al. write it, with PyTorch's reset gate after the recurrent map."""
    gru = predictor.gru
    state = np.zeros(gru.hidden_size)
    for item in history:
        x = number(gru.weight_ih_l0) @ number(predictor.table.weight)[item]
        x_reset, x_update, x_new = np.split(x + number(gru.bias_ih_l0), 3)
        h = number(gru.weight_hh_l0) @ state + number(gru.bias_hh_l0)
        h_reset, h_update, h_new = np.split(h, 3)
        new = np.tanh(x_new + sigmoid(x_reset + h_reset) * h_new)
        update = sigmoid(x_update + h_update)
        state = (1 - update) * new + update * state
    layers = [layer for layer in predictor.logits if isinstance(layer, torch.nn.Linear)]
    for layer in layers[:-1]:
        state = np.maximum(number(layer.weight) @ state + number(layer.bias), 0)
    return number(layers[-1].weight) @ state + number(layers[-1].bias)


def in_double(name):
    """A model in float64, no parameter at 0 or 1, nor any row of padding: nobody may read it."""
    torch.manual_seed(0)
    options = {"dim": 5, "length": LENGTH, "interests": 3} | OPTIONS[name]
    model = TiMiRec(N_ITEMS, **options).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


FIXED = {name: in_double(name) for name in OPTIONS}


def check_formula(model, batch, histories):
    with torch.no_grad():
        vectors, logits = model(batch).interests
        users = model(batch).users.numpy()
        extracted = model.extractor(batch).users.numpy()
    expected = np.stack([logits_oracle(model.predictor, history) for history in histories])
    np.testing.assert_array_equal(vectors.numpy(), extracted)
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-10, atol=1e-10)
    weights = np.exp(expected - expected.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    expected = np.stack([w @ v for w, v in zip(weights, extracted, strict=True)])
    np.testing.assert_allclose(users, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXED)
@settings(max_examples=25)
@given(
    histories=st.lists(
        st.lists(st.integers(0, N_ITEMS - 1), min_size=1, max_size=LENGTH), min_size=1, max_size=4
    ),
    side=st.sampled_from(["left", "right"]),
    extra=st.integers(0, 3),
)
def test_formula(name, histories, side, extra):
    check_formula(FIXED[name], padded(histories, N_ITEMS, side=side, extra=extra), histories)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("side", ["left", "right"])
def test_formula_at_every_step(name, side):
    histories = [[3, 1, 3, 7, 0, 10], [5], [9, 9, 2]]
    batch = at_every_step(padded(histories, N_ITEMS, side=side, extra=2), [6, 1, 3])
    cuts = [history[: step + 1] for history in histories for step in range(len(history))]
    check_formula(FIXED[name], batch, cuts)


# --- identities ---


def test_it_predicts_interests():
    model = TiMiRec(N_ITEMS, dim=8, interests=3)
    assert model.predicts_interests
    assert model.n_interests == 3
    interests = model(padded([[1, 2], [3]], N_ITEMS)).interests
    assert interests.vectors.shape == (2, 3, 8)
    assert interests.logits.shape == (2, 3)
    torch.testing.assert_close(interests.logits.softmax(1).sum(1), torch.ones(2))
    for own, other in zip(model.items(), model.extractor.items(), strict=True):
        assert own is None or torch.equal(own, other)


def test_one_interest_is_the_user():
    """K = 1: the weight is 1 whatever the predictor says."""
    torch.manual_seed(0)
    model = TiMiRec(N_ITEMS, dim=8, interests=1, transformer=True)
    batch = padded([[1, 2, 5], [3]], N_ITEMS)
    interests = model(batch).interests
    assert (interests.logits.softmax(1) == 1).all()
    torch.testing.assert_close(model(batch).users, interests.vectors[:, 0])
    loss = interest_distillation(interests.logits, torch.randn(2, 1), temperature=0.5)
    assert (loss == 0).all()


@pytest.mark.parametrize("name", OPTIONS)
def test_empty_histories_in_training(name):
    """A user without history is 0; gradients are finite, and none for the padding."""
    torch.manual_seed(0)
    model = TiMiRec(N_ITEMS, **({"dim": 8, "length": 4} | OPTIONS[name]))
    history = torch.full((3, 4), N_ITEMS)
    history[1, 3] = 2
    numbers = torch.arange(3)
    interests = model(Batch(history, numbers, numbers, numbers)).interests
    users = interests.mean()
    assert (users[[0, 2]] == 0).all()
    assert (users[1] != 0).any()
    (users.square().sum() + interests.logits.square().sum()).backward()
    for parameter in model.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    for table in (model.extractor.table, model.predictor.table):
        assert (table.weight.grad[N_ITEMS] == 0).all()


def test_dropout_is_off_in_eval_mode_only():
    batch = padded([[1, 2, 3], [4, 5]], N_ITEMS)
    torch.manual_seed(0)
    model = TiMiRec(N_ITEMS, dim=16, predictor_layers=2)
    assert not torch.equal(model(batch).users, model(batch).users)
    assert torch.equal(model(batch).interests.vectors, model(batch).interests.vectors)
    model.eval()
    assert torch.equal(model(batch).users, model(batch).users)
    without = TiMiRec(N_ITEMS, dim=16, predictor_layers=2, predictor_dropout=0.0)
    assert torch.equal(without(batch).users, without(batch).users)


# --- sizes and starts ---


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_sizes_are_those_of_the_authors():
    """Their MovieLens-1M log says 526 748 parameters, for 3 706 items and a history of 20.

    They number items from 1, with 0 for padding: 3 707 rows in the extractor, as here. Their
    predictor's table has one row more, which no item has the number of; it is left out here.
    """
    model = TiMiRec(3706, **TiMiRec.PRESETS["movielens-1m"])
    extractor = {
        "table": 3707 * 64,
        "positions": 21 * 64,
        "transformer": 3 * (64 * 64 + 64) + 2 * (64 * 64 + 64) + 2 * (64 + 64),
        "hidden": 64 * 8 + 8,
        "weights": 8 * 2 + 2,
        "output": 0,
    }
    rows_of_the_authors = 3708
    predictor = {
        "table": 3707 * 64,
        "gru": 2 * (3 * 64 * 64 + 3 * 64),
        "logits": (64 * 64 + 64) + (64 * 2 + 2),
    }
    assert {name: count(part) for name, part in model.extractor.named_children()} == extractor
    assert {name: count(part) for name, part in model.predictor.named_children()} == predictor
    assert count(model) == 526_684
    assert count(model) - 3707 * 64 + rows_of_the_authors * 64 == 526_748


@pytest.mark.parametrize(
    ("preset", "interests", "linear"), [("movielens-1m", 2, 2), ("beauty", 4, 1), ("grocery", 6, 1)]
)
@pytest.mark.parametrize("plus", [True, False])
def test_what_the_authors_ran(preset, interests, linear, plus):
    model = TiMiRec(N_ITEMS, **TiMiRec.PRESETS[preset if plus else f"{preset}-plain"])
    layers = [m for m in model.predictor.logits if isinstance(m, torch.nn.Linear)]
    assert len(layers) == linear
    assert layers[-1].out_features == model.extractor.weights.out_features == interests
    assert (model.extractor.transformer is not None) == plus
    assert model.extractor.where == ("values" if plus else "scores")
    assert model.extractor.length == 20
    rates = [m.p for m in model.predictor.logits if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.5] * (linear - 1)


def test_initialisation():
    """All tables, linear weights and biases from N(0, 0.01); the GRU as PyTorch starts it."""
    torch.manual_seed(0)
    model = TiMiRec(300, **TiMiRec.PRESETS["movielens-1m"])
    for table in (model.extractor.table, model.predictor.table):
        assert (table.weight[300] == 0).all()
        assert table.weight[:300].std().item() == pytest.approx(0.01, rel=0.05)
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            assert 0.005 < module.weight.std().item() < 0.02
            assert (module.bias != 0).all()
            assert module.bias.abs().max() < 0.05
    bound = 64**-0.5
    for weight in model.predictor.gru.parameters():
        assert 0.9 * bound < weight.abs().max() <= bound


def test_initialise_from_a_trained_extractor():
    batch = padded([[1, 2, 5], [3]], N_ITEMS)
    for preset, plus in (("movielens-1m", "timirec+"), ("movielens-1m-plain", "timirec")):
        torch.manual_seed(0)
        trained_before = ComiRecSA(N_ITEMS, **ComiRecSA.PRESETS[plus])
        model = TiMiRec(N_ITEMS, **TiMiRec.PRESETS[preset])
        predictor = [p.clone() for p in model.predictor.parameters()]
        interests = model(batch).interests.vectors
        assert not torch.equal(interests, trained_before(batch).users)
        model.initialise_from(trained_before)
        assert torch.equal(model(batch).interests.vectors, trained_before(batch).users)
        assert torch.equal(model.items().vectors, trained_before.items().vectors)
        for before, now in zip(predictor, model.predictor.parameters(), strict=True):
            assert torch.equal(before, now)
        with torch.no_grad():
            model.extractor.table.weight.fill_(7.0)
        assert not (trained_before.table.weight == 7.0).any()


@pytest.mark.parametrize(
    "other",
    [
        partial(ComiRecSA, N_ITEMS + 1),
        partial(ComiRecSA, N_ITEMS, interests=2, length=9),
        partial(ComiRecSA, N_ITEMS, positions="values"),
        partial(ComiRecSA, N_ITEMS, transformer=True),
        partial(GRU4Rec, N_ITEMS),
    ],
)
def test_initialise_from_something_else(other):
    model = TiMiRec(N_ITEMS, dim=8)
    before = model.extractor.table.weight.clone()
    with refused(ValueError):
        model.initialise_from(other(dim=8))
    assert torch.equal(model.extractor.table.weight, before)


@pytest.mark.parametrize(
    "make",
    [
        partial(TiMiRec, 5, predictor_layers=0),
        partial(TiMiRec, 5, interests=0),
        partial(TiMiRec, 5, init="zeros"),
        lambda: TiMiRec(5, length=2)(padded([[0, 1, 2]], 5)).users,
    ],
)
def test_options_that_do_not_fit(make):
    with refused(ValueError):
        make()


# --- who learns from what ---


def losses(model, batch, negative, *, temperature=0.5, detach=True):
    """L_rec and L_distill of the paper, means over the batch."""
    interests = model(batch).interests
    vectors = model.items().vectors
    label = vectors[batch.label]
    users = interests.mean()
    rec = F.softplus((users * (vectors[negative] - label)).sum(1)).mean()
    teacher = F.cosine_similarity(interests.vectors, label[:, None], dim=2)
    distill = interest_distillation(interests.logits, teacher, temperature, detach=detach)
    return rec, distill.mean()


def reached(model):
    """Names of parameters with a gradient that is not 0."""
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and bool((parameter.grad != 0).any())
    }


@pytest.mark.parametrize("plus", [True, False])
def test_who_learns_from_what(plus):
    batch = padded([[1, 2, 5], [3, 4], [6]], N_ITEMS)
    batch = batch._replace(label=torch.tensor([7, 8, 9]))
    negative = torch.tensor([0, 10, 2])
    found = []
    for which, detach in ((1, True), (1, False), (0, True)):
        torch.manual_seed(0)
        model = TiMiRec(N_ITEMS, dim=8, interests=2, transformer=plus)
        losses(model, batch, negative, detach=detach)[which].backward()
        found.append(reached(model))
    names = {name for name, _ in model.named_parameters() if not name.endswith(UNMOVED)}
    distil, without_stop, rec = (those - {"extractor.weights.bias"} for those in found)
    assert distil == {name for name in names if name.startswith("predictor.")}
    assert without_stop == names
    assert rec == names


# --- learning ---

SQUARES = 12
MODELS = {
    "timirec": partial(TiMiRec, SQUARES, dim=16, length=8, interests=2),
    "timirec+": partial(TiMiRec, SQUARES, dim=16, length=8, interests=2, transformer=True),
}


def alternating(*, seed, rows=1600):
    """Each user goes to and fro between two of four genres of three items."""
    generator = torch.Generator().manual_seed(seed)
    own = torch.rand(rows, 4, generator=generator).argsort(1)[:, :2]
    genre = own[:, torch.arange(7) % 2]
    drawn = 3 * genre + torch.randint(3, (rows, 7), generator=generator)
    return batch_of(drawn[:, :6], drawn[:, 6])


@pytest.mark.slow
@pytest.mark.parametrize(("plus", "expected"), [(False, 0.98), (True, 0.7)])
def test_the_next_interest_is_predicted(plus, expected):
    """The paper's two stages: ComiRec without positions finds both genres but not which is next.

    A predictor distilled from its interests knows, though the extractor learns nothing more. Behind
    a transformer the interests are less apart, and their weighed mean tells less.
    """
    train, test = halves(alternating(seed=3), 1200)
    size = {"dim": 16, "length": 8, "interests": 2, "positions": "none", "transformer": plus}

    def best_interest(model, batch):
        scores = (model(batch).users @ model.items().vectors.T).amax(1)
        return ObjectiveValue(F.cross_entropy(scores, batch.label), {})

    def distilled(model, batch):
        return ObjectiveValue(losses(model, batch, torch.zeros_like(batch.label))[1], {})

    comirec = trained(partial(ComiRecSA, SQUARES, **size), train, best_interest, steps=40)
    model = TiMiRec(SQUARES, **size)
    model.initialise_from(comirec)
    model.extractor.requires_grad_(False)
    assert in_genre(comirec, test) < 0.65
    assert in_genre(model, test) < 0.65
    trained(lambda: model, train, distilled, steps=30)
    with torch.no_grad():
        vectors, logits = model(test).interests
        label = model.items().vectors[test.label]
        teacher = F.cosine_similarity(vectors, label[:, None], dim=2)
    assert (logits.argmax(1) == teacher.argmax(1)).float().mean() >= 0.9
    assert in_genre(model, test) >= expected
    assert torch.equal(model.extractor(test).users, comirec(test).users)


def in_genre(model, batch):
    """How often the best item is of the label's genre."""
    with torch.no_grad():
        best = (model(batch).users @ model.items().vectors.T).reshape(len(batch.label), -1)
    return (best.argmax(1) % SQUARES // 3 == batch.label // 3).float().mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_markov_chain_is_learnt(name):
    check_learns(partial(MODELS[name], tied=False), SQUARES)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_learnt_from_noise(name):
    check_learns_nothing_from_noise(MODELS[name], SQUARES)
