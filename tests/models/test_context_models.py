"""Backbones that pool or convolve the history: contract, formulas, padding, learning."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from messages import refused
from softrec.models.caser import Caser
from softrec.models.deepfm import DeepFM
from softrec.models.histories import recent
from softrec.models.nfm import NFM, PooledNorm, bi_interaction
from softrec.models.youtubednn import YoutubeDNN
from softrec.testing import (
    check_encoder,
    check_learns,
    check_learns_nothing_from_noise,
    checkerboard,
)
from softrec.testing.encoders import at_every_step, padded
from softrec.types import Batch

N_ITEMS = 11
LENGTH = 6
BLIND_TO_ORDER = {"youtubednn": YoutubeDNN, "nfm": NFM}
WINDOWED = {
    "deepfm": partial(DeepFM, length=LENGTH),
    "caser": partial(Caser, length=LENGTH, horizontal=6),
}
MODELS = BLIND_TO_ORDER | WINDOWED
OUTPUTS = {
    "default": {},
    "tied": {"tied": True, "output_bias": False},
    "tied with bias": {"tied": True},
    "no bias": {"output_bias": False},
    "normal": {"init": "normal"},
    "gaussian": {"init": "gaussian"},
}
TOWERS = {
    "no hidden layer": {"layers": ()},
    "two hidden layers": {"layers": (12, 5)},
    "gelu": {"activation": "gelu"},
    "tanh": {"activation": "tanh"},
}
OPTIONS = {
    "youtubednn": OUTPUTS | TOWERS | {"dropout": {"dropout": 0.5}},
    "nfm": OUTPUTS
    | TOWERS
    | {
        "batch norm": {"batch_norm": True},
        "no first order": {"first_order": False},
        "pairs alone": {"first_order": False, "layers": ()},
    },
    "deepfm": OUTPUTS
    | TOWERS
    | {"no first order": {"first_order": False}, "longer": {"length": 9}},
    "caser": OUTPUTS
    | {
        "some heights": {"heights": (2, 4)},
        "all heights": {"heights": None},
        "full height": {"heights": (6,), "horizontal": 16},
        "horizontal alone": {"vertical": 0},
        "vertical alone": {"heights": ()},
        "no horizontal": {"horizontal": 0},
        "signed": {"final_activation": "none"},
        "longer": {"length": 9},
    },
}
CASES = [(model, options) for model, sets in OPTIONS.items() for options in sets]
PRESETS = [
    (model, preset)
    for model, cls in (("youtubednn", YoutubeDNN), ("nfm", NFM), ("deepfm", DeepFM))
    for preset in cls.PRESETS
] + [("caser", "softrec")]


def preset_of(name, preset, **options):
    make = MODELS[name]
    settings_of = getattr(make, "func", make).PRESETS[preset]
    return partial(make, **(settings_of | options))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES)
def test_contract(name, options):
    check_encoder(partial(MODELS[name], N_ITEMS, dim=8, **OPTIONS[name][options]), N_ITEMS)


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_presets(name, preset):
    """As published, not made smaller; nothing is drawn on a scale that dies out."""
    check_encoder(partial(preset_of(name, preset), N_ITEMS), N_ITEMS)


def test_what_the_papers_say():
    """Sizes that the method descriptions give, counted as parameters. N = 11, table of 12 rows."""

    def count(model):
        return sum(parameter.numel() for parameter in model.parameters())

    d = 128
    one_layer = d * d + d
    separate = N_ITEMS * d + N_ITEMS
    table = (N_ITEMS + 1) * d
    for preset in ("softrec", "desorec"):  # D -> D (ReLU) -> D
        model = YoutubeDNN(N_ITEMS, **YoutubeDNN.PRESETS[preset])
        assert count(model) == table + 2 * one_layer + separate
        nfm = NFM(N_ITEMS, **NFM.PRESETS[preset])  # layers [128, 128], batch norm, first order
        assert count(nfm) == 2 * table + 2 * d + 2 * one_layer + separate
    plain = NFM(N_ITEMS, **(NFM.PRESETS["desorec"] | {"batch_norm": False, "first_order": False}))
    assert count(plain) == table + 2 * one_layer + separate
    timirec = YoutubeDNN(N_ITEMS, **YoutubeDNN.PRESETS["timirec"])  # one linear layer, tied
    assert count(timirec) == (N_ITEMS + 1) * 64 + 64 * 64 + 64
    deepfm = DeepFM(N_ITEMS, **DeepFM.PRESETS["desorec"])  # layers [512, 128] over 20 x 128
    network = 20 * d * 512 + 512 + 512 * d + d
    assert count(deepfm) == 2 * table + network + separate
    caser = Caser(N_ITEMS, length=5, **Caser.PRESETS["softrec"])  # n_h 16, n_v 4
    filters = 16 * (1 + 2 + 3 + 4 + 5) * d + 16 * 5 + 4 * 5 + 4
    assert count(caser) == table + filters + (4 * d + 16 * 5) * d + d + separate


# --- the formulas, in loops over numpy float64 ---


def number(parameter):
    return parameter.detach().numpy()


def relu(x):
    return np.maximum(x, 0.0)


def network(model, x):
    """The tower of a model, ReLU between its linear layers."""
    layers = [layer for layer in model.tower if isinstance(layer, torch.nn.Linear)]
    for i, layer in enumerate(layers):
        x = number(layer.weight) @ x + number(layer.bias)
        x = relu(x) if i < len(layers) - 1 else x
    return x


def pairs(vectors):
    """The sum over pairs of products by element, pair by pair."""
    total = np.zeros(vectors.shape[1])
    for j in range(len(vectors)):
        for i in range(j):
            total = total + vectors[i] * vectors[j]
    return total


def youtubednn_oracle(model, history):
    vectors = number(model.table.weight)[history]
    return network(model, sum(vectors, np.zeros(model.table.embedding_dim)) / max(len(history), 1))


def nfm_oracle(model, history):
    f = pairs(number(model.table.weight)[history])
    if isinstance(model.norm, PooledNorm):
        norm = model.norm
        mean, variance = number(norm.running_mean), number(norm.running_var)
        f = (f - mean) / np.sqrt(variance + 1e-5) * number(norm.weight) + number(norm.bias)
    first = number(model.first_order.weight)[history].sum(0)
    return network(model, f) + first


def slots_of(model, history):
    slots = np.zeros((model.length, model.table.embedding_dim))
    for back, item in enumerate(reversed(history)):
        slots[model.length - 1 - back] = number(model.table.weight)[item]
    return slots


def deepfm_oracle(model, history):
    first = number(model.first_order.weight)[history].sum(0)
    in_a_row = np.concatenate(list(slots_of(model, history)))
    return pairs(number(model.table.weight)[history]) + first + network(model, in_a_row)


def caser_oracle(model, history):
    image = slots_of(model, history)
    vertical = []
    for g, bias in zip(number(model.vertical.weight), number(model.vertical.bias), strict=True):
        vertical.append(sum(g[t] * image[t] for t in range(model.length)) + bias)
    answers = list(np.concatenate(vertical))
    for bank in model.horizontal:
        height = bank.kernel_size[0]
        for weight, bias in zip(number(bank.weight), number(bank.bias), strict=True):
            seen = [
                relu((weight.T * image[t : t + height]).sum() + bias)
                for t in range(model.length - height + 1)
            ]
            answers.append(max(seen))
    return relu(number(model.dense.weight) @ np.array(answers) + number(model.dense.bias))


ORACLES = {
    "youtubednn": youtubednn_oracle,
    "nfm": nfm_oracle,
    "deepfm": deepfm_oracle,
    "caser": caser_oracle,
}


def in_double(name):
    """A model in float64 with no parameter or statistic left at 0 or 1."""
    torch.manual_seed(0)
    model = MODELS[name](N_ITEMS, dim=5).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
        for key, buffer in model.named_buffers():
            if buffer.is_floating_point():
                _ = buffer.uniform_(0.5, 2.0) if key.endswith("var") else buffer.normal_()
    return model  # the padding row is not zero either: nobody may read it


FIXED = {name: in_double(name) for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25)
@given(
    histories=st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=6), min_size=1, max_size=4),
    side=st.sampled_from(["left", "right"]),
    extra=st.integers(1, 3),
)
def test_formula(name, histories, side, extra):
    """Repeated items, histories of one item and empty ones among others."""
    model = FIXED[name]
    batch = padded(histories, N_ITEMS, side=side, extra=extra)
    with torch.no_grad():
        users = model(batch).users.numpy()
    expected = [ORACLES[name](model, history) for history in histories]
    np.testing.assert_allclose(users, np.stack(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_formula_at_every_step(name, side):
    histories = [[3, 1, 3, 7, 0, 10], [5], [9, 9, 2]]
    model = FIXED[name]
    batch = at_every_step(padded(histories, N_ITEMS, side=side, extra=2), [6, 1, 3])
    with torch.no_grad():
        users = model(batch).users.numpy()
    cuts = [history[: step + 1] for history in histories for step in range(len(history))]
    expected = [ORACLES[name](model, cut) for cut in cuts]
    np.testing.assert_allclose(users, np.stack(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("activation", "formula"),
    [
        ("relu", lambda x: max(x, 0.0)),
        ("tanh", math.tanh),
        ("gelu", lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
    ],
)
def test_activation(activation, formula):
    """One number wide: h = w2 f(w1 v + b1) + b2."""
    torch.manual_seed(0)
    model = YoutubeDNN(N_ITEMS, dim=1, activation=activation).double()
    with torch.no_grad():
        w1, b1, w2, b2 = (parameter.normal_().item() for parameter in model.tower.parameters())
        model.table.weight[:3, 0] = torch.tensor([-3.0, 0.4, 3.0])
        users = model(padded([[0], [1], [2]], N_ITEMS)).users[:, 0].tolist()
    assert users == pytest.approx([w2 * formula(w1 * v + b1) + b2 for v in (-3.0, 0.4, 3.0)])


def test_one_item_has_no_pairs():
    """Without a first order NFM cannot tell histories of one item apart; with it, it can."""
    batch = padded([[1], [2]], N_ITEMS)
    torch.manual_seed(0)
    blind = NFM(N_ITEMS, dim=8, first_order=False).eval()
    seeing = NFM(N_ITEMS, dim=8).eval()
    with torch.no_grad():
        assert torch.equal(*blind(batch).users)
        assert not torch.equal(*seeing(batch).users)
    v = torch.randn(1, 4)
    assert (bi_interaction(v.sum(0), v.square().sum(0)) == 0).all()


# --- order and windows ---


@pytest.mark.parametrize("name", MODELS)
def test_who_sees_the_order(name):
    with torch.no_grad():
        one, other = FIXED[name](padded([[1, 4, 2, 8], [8, 2, 1, 4]], N_ITEMS)).users
    assert torch.allclose(one, other, atol=1e-12) == (name in BLIND_TO_ORDER)


def test_caser_reads_what_its_filters_span():
    """Filters of height 1 see an item wherever it stands, and however often."""
    model = Caser(N_ITEMS, length=LENGTH, dim=8, heights=(1,), vertical=0).eval()
    with torch.no_grad():
        users = model(padded([[1, 4, 2], [2, 4, 1, 1], [1, 4, 3]], N_ITEMS)).users
    assert torch.allclose(users[0], users[1])
    assert not torch.allclose(users[0], users[2])


@given(
    histories=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=4),
    side=st.sampled_from(["left", "right"]),
    length=st.integers(5, 7),
)
def test_windows(histories, side, length):
    batch = padded(histories, 10, side=side, extra=1)
    steps = at_every_step(batch, [len(history) for history in histories])
    cuts = [history[: step + 1] for history in histories for step in range(len(history))]
    for asked, expected in ((batch, histories), (steps, cuts)):
        rows = [[10] * (length - len(cut)) + cut for cut in expected]
        assert recent(asked, 10, length).tolist() == rows


# --- batch norm, modes ---


def test_batch_norm_does_not_see_padding():
    """In training too: same vectors, same statistics, whatever the padding and its row."""
    histories = [[1, 2, 3, 4], [5, 6], [7, 8, 9]]
    found = []
    for side, extra in (("right", 0), ("left", 3), ("right", 5)):
        torch.manual_seed(0)
        model = NFM(N_ITEMS, dim=8, batch_norm=True, dropout=0.0, mlp_dropout=0.0).train()
        with torch.no_grad():
            model.table.weight[N_ITEMS] = 7.0
            users = model(padded(histories, N_ITEMS, side=side, extra=extra)).users
        found.append((users, model.norm.running_mean, model.norm.running_var))
    assert (found[0][1] != 0).all()
    for other in found[1:]:
        for one, expected in zip(other, found[0], strict=True):
            torch.testing.assert_close(one, expected)


def test_batch_norm_of_one_prediction():
    """It has no variance: the running statistics stand in, and stay as they are."""
    torch.manual_seed(0)
    model = NFM(N_ITEMS, dim=8, batch_norm=True, dropout=0.0, mlp_dropout=0.0).train()
    model(padded([[1, 2, 3], [4, 5]], N_ITEMS))
    before = model.norm.running_var.clone()
    alone = padded([[1, 2, 3]], N_ITEMS)
    users = model(alone).users
    assert torch.equal(model.norm.running_var, before)
    assert torch.equal(users, model.eval()(alone).users)


@pytest.mark.parametrize("name", MODELS)
def test_dropout_is_off_in_eval_mode_only(name):
    histories = padded([[1, 2, 3], [4, 5]], N_ITEMS)
    torch.manual_seed(0)
    rates = {"dropout": 0.5} | ({"mlp_dropout": 0.5} if name in ("nfm", "deepfm") else {})
    model = MODELS[name](N_ITEMS, dim=16, **rates)
    assert not torch.equal(model(histories).users, model(histories).users)
    model.eval()
    assert torch.equal(model(histories).users, model(histories).users)


@pytest.mark.parametrize("rate", ["dropout", "mlp_dropout"])
@pytest.mark.parametrize("name", ["nfm", "deepfm"])
def test_each_dropout_does_something(name, rate):
    histories = padded([[1, 2, 3], [4, 5]], N_ITEMS)
    torch.manual_seed(0)
    model = MODELS[name](N_ITEMS, dim=16, **({"dropout": 0.0, "mlp_dropout": 0.0} | {rate: 0.5}))
    assert not torch.equal(model(histories).users, model(histories).users)


@pytest.mark.parametrize("name", MODELS)
def test_empty_histories_in_training(name):
    """All padding, and one item: finite vectors and gradients, and none for the padding row."""
    torch.manual_seed(0)
    model = MODELS[name](N_ITEMS, dim=8).train()
    histories = torch.full((3, 4), N_ITEMS)
    histories[1, 3] = 2
    numbers = torch.arange(3)
    model(Batch(histories, numbers, numbers, numbers)).users.sum().backward()
    for parameter in model.parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all()
    assert (model.table.weight.grad[N_ITEMS] == 0).all()


@pytest.mark.parametrize("init", ["xavier", "normal", "gaussian"])
@pytest.mark.parametrize("name", MODELS)
def test_initialisation(name, init):
    """Of each matrix by its size or with std 0.01, biases drawn or 0; the padding row is 0."""
    torch.manual_seed(0)
    model = MODELS[name](300, dim=32, init=init)
    tables = [child for child in model.children() if isinstance(child, torch.nn.Embedding)]
    for table in tables:
        assert (table.weight[300] == 0).all()
        assert (table.weight[:300] != 0).any(1).all()
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv1d)):
            drawn = init == "normal"
            assert bool((module.bias != 0).all()) == drawn
            assert not drawn or module.bias.abs().max() < 0.05
    for matrix in (model.table.weight[:300], model.items().vectors):
        expected = (2 / (300 + 32)) ** 0.5 if init == "xavier" else 0.01
        assert matrix.std().item() == pytest.approx(expected, rel=0.05)
    assert (model.items().bias == 0).all()


@pytest.mark.parametrize(
    ("heights", "length", "left"), [((1, 4, 9), 4, (1, 4)), (None, 3, (1, 2, 3))]
)
def test_filters_are_no_higher_than_the_history(heights, length, left):
    assert Caser(5, length=length, heights=heights).heights == left


@pytest.mark.parametrize(
    "make",
    [
        partial(YoutubeDNN, 5, init="zeros"),
        partial(NFM, 5, activation="elu"),
        partial(DeepFM, 5, length=3, layers=(8, 0)),
        partial(Caser, 5, length=3, heights=(4,), vertical=0),  # none is left
        partial(Caser, 5, length=3, heights=(0,)),
        partial(Caser, 5, length=3, final_activation="elu"),
        partial(Caser, 5, length=3, heights=(), vertical=0),
        lambda: DeepFM(5, length=2, dim=4)(padded([[0, 1, 2]], 5)).users,
        lambda: Caser(5, length=2, dim=4)(padded([[0, 1, 2]], 5)).users,
    ],
)
def test_options_that_do_not_fit(make):
    with refused(ValueError):
        make()


# --- learning ---

SQUARES = 12  # items of the checkerboard: the next one has the colour of those before
SMALL = {
    "youtubednn": partial(YoutubeDNN, SQUARES, dim=16),
    "nfm": partial(NFM, SQUARES, dim=16, dropout=0.0, mlp_dropout=0.0),
    "deepfm": partial(DeepFM, SQUARES, length=4, dim=16, dropout=0.0, mlp_dropout=0.0),
    "caser": partial(Caser, SQUARES, length=4, dim=16, dropout=0.0),
}


def check_board(make, **how):
    """All labels of unseen histories, of 1 to 4 items, are in the better half of the items."""
    data = checkerboard(SQUARES, 1300, 4, seed=3)
    check_learns(make, SQUARES, data=data, train=1000, top=SQUARES // 2, **how)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_checkerboard_is_learnt(name):
    check_board(SMALL[name], steps=40, slack=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_presets_learn(name, preset):
    """A start from small numbers does not stall, and the published dropout does not drown it."""
    length = {"length": 4} if name in WINDOWED else {}
    make = partial(preset_of(name, preset, **length), SQUARES)
    check_board(make, steps=16, lr=0.01, slack=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("name", WINDOWED)
def test_a_markov_chain_is_learnt(name):
    check_learns(SMALL[name], SQUARES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_learnt_from_noise(name):
    check_learns_nothing_from_noise(SMALL[name], SQUARES)
