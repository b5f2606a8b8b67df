"""MIND and ComiRec-DR: the routing, its formulas in loops, padding, randomness, learning."""

import math
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import softrec
from messages import refused
from softrec.models.capsules import read_items, route, squash
from softrec.models.comirec_dr import ComiRecDR
from softrec.models.mind import MIND
from softrec.objective import Objective
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.targets.sparse import SparseTarget
from softrec.testing import (
    batch_of,
    chain,
    check_encoder,
    check_learns,
    check_learns_nothing_from_noise,
)
from softrec.testing.encoders import at_every_step, padded
from softrec.types import Batch

N_ITEMS = 11
LENGTH = 6
MODELS = {"mind": partial(MIND, length=LENGTH), "comirec-dr": partial(ComiRecDR, length=LENGTH)}
SHARED = {
    "default": {},
    "untied": {"tied": False},
    "bias": {"output_bias": True},
    "one interest": {"interests": 1},
    "five interests": {"interests": 5},
    "one iteration": {"iterations": 1},
    "longer": {"length": 9},
    "normal": {"init": "normal"},
    "gaussian": {"init": "gaussian"},
}
OPTIONS = {
    "mind": SHARED
    | {
        "adaptive": {"adaptive": True, "interests": 4},
        "relu": {"relu_layer": True},
        "fixed": {"routing": "fixed"},
    },
    "comirec-dr": SHARED
    | {
        "large maps": {"map_std": 1.0},
        "not scaled": {"scale": False},
        "other maps": {"same_maps": False},
    },
}
CASES = [(model, options) for model, sets in OPTIONS.items() for options in sets]
PRESETS = [(MIND, "original"), (MIND, "timirec"), (ComiRecDR, "original")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES)
def test_contract(name, options):
    made = {"length": LENGTH, "dim": 8} | OPTIONS[name][options]
    check_encoder(partial(MODELS[name].func, N_ITEMS, **made), N_ITEMS)


@pytest.mark.parametrize(("cls", "preset"), PRESETS)
def test_presets(cls, preset):
    """As published, not made smaller; nothing is drawn on a scale that dies out."""
    check_encoder(partial(cls, N_ITEMS, **cls.PRESETS[preset]), N_ITEMS)


def test_what_the_papers_say():
    """Sizes that the method descriptions give, counted as parameters. N = 11, table of 12 rows."""

    def count(cls, preset):
        return sum(p.numel() for p in cls(N_ITEMS, **cls.PRESETS[preset]).parameters())

    table, square = (N_ITEMS + 1) * 64, 64 * 64
    assert count(MIND, "timirec") == table + square  # one S without bias, tied
    assert count(MIND, "original") == table + square + square + 64  # and one ReLU layer
    assert count(ComiRecDR, "original") == table + 20 * 4 * square  # a map per place and interest
    timirec = MIND(N_ITEMS, **MIND.PRESETS["timirec"])
    assert (timirec.n_interests, timirec.iterations, timirec.adaptive) == (2, 3, False)
    original = ComiRecDR(N_ITEMS, **ComiRecDR.PRESETS["original"])
    assert original.maps.std().item() == pytest.approx(1.0, rel=0.01)


# --- squash ---


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_squash(dtype):
    """Of length |z|^2 / (1 + |z|^2), for long and short vectors; exactly 0 at 0."""
    for length in (1e-15, 1e-6, 1e-3, 0.5, 1.0, 7.0, 1e4, 1e12):
        z = torch.tensor([0.6, 0.0, -0.8], dtype=dtype) * length
        expected = length**2 / (1 + length**2)
        assert squash(z).tolist() == pytest.approx([0.6 * expected, 0, -0.8 * expected], rel=1e-6)
    assert (squash(torch.zeros(2, 3, dtype=dtype)) == 0).all()


def test_squash_gradient():
    """Numerically, at 0 too, where it is exactly 0."""
    torch.manual_seed(0)
    z = torch.randn(4, 3, dtype=torch.float64)
    z[1] = 0.0
    z.requires_grad_()
    assert torch.autograd.gradcheck(squash, z)
    squash(z).sum().backward()
    assert (z.grad[1] == 0).all()
    assert (z.grad[0] != 0).all()


# --- the formulas, in loops over numpy float64 ---


def squash_oracle(z):
    length = math.sqrt(float(z @ z))
    return z * 0.0 if length == 0 else length**2 / (1 + length**2) * z / length


def shares_oracle(messages, logits, iterations):
    """(K, n, D), (K, n) -> the shares (K, n) of the last iteration and the capsules (K, D)."""
    k, n, dim = messages.shape
    logits = logits.copy()
    shares, capsules = np.zeros((k, n)), np.zeros((k, dim))
    for _ in range(iterations):
        for j in range(n):
            total = sum(math.exp(logits[c, j]) for c in range(k))
            for c in range(k):
                shares[c, j] = math.exp(logits[c, j]) / total
        for c in range(k):
            z = sum((shares[c, j] * messages[c, j] for j in range(n)), np.zeros(dim))
            capsules[c] = squash_oracle(z)
        for c in range(k):
            for j in range(n):
                logits[c, j] += capsules[c] @ messages[c, j]
    return shares, capsules


def route_oracle(messages, logits, iterations):
    return shares_oracle(messages, logits, iterations)[1]


def number(parameter):
    return parameter.detach().numpy()


def mind_oracle(model, history, logits=None):
    """`logits` (K, n): those drawn, else from the table, by the distance to the end."""
    n, k = len(history), model.n_interests
    sent = [number(model.map.weight) @ number(model.table.weight)[item] for item in history]
    if logits is None:
        table = number(model.logits)
        far = [n - 1 - j for j in range(n)]
        logits = np.array([[table[c, model.length - 1 - d] for d in far] for c in range(k)])
    messages = np.zeros((k, n, model.table.embedding_dim))
    for c in range(k):
        for j in range(n):
            messages[c, j] = sent[j]
    return route_oracle(messages, logits.reshape(k, n), model.iterations)


def comirec_dr_oracle(model, history):
    n, k, dim = len(history), model.n_interests, model.table.embedding_dim
    scale = np.sqrt(dim) if model.scale != 1 else 1.0
    messages = np.zeros((k, n, dim))
    for c in range(k):
        for j in range(n):
            place = model.length - (n - j)
            for d in range(dim):
                weights = number(model.maps)[place, :, c * dim + d]
                messages[c, j, d] = scale * weights @ number(model.table.weight)[history[j]]
    return scale * route_oracle(messages, np.zeros((k, n)), model.iterations)


ORACLES = {"mind": mind_oracle, "comirec-dr": comirec_dr_oracle}


def in_double(make):
    torch.manual_seed(0)
    model = make().double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
    return model  # the padding row is not zero either: nobody may read it


FIXED = {name: in_double(partial(MODELS[name], N_ITEMS, dim=5, interests=3)) for name in MODELS}


@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=25)
@given(
    histories=st.lists(st.lists(st.integers(0, N_ITEMS - 1), max_size=6), min_size=1, max_size=4),
    side=st.sampled_from(["left", "right"]),
    extra=st.integers(1, 3),
)
def test_formula(name, histories, side, extra):
    """Repeated items, histories of one item and empty ones among others; any padding."""
    model = FIXED[name]
    with torch.no_grad():
        users = model(padded(histories, N_ITEMS, side=side, extra=extra)).users.numpy()
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


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_route(iterations, shared, detach):
    """Whatever is sent at padding, in between too."""
    generator = torch.Generator().manual_seed(iterations)

    def drawn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    logits = drawn(4, 3, 7)
    messages = drawn(4, 7, 5) if shared else drawn(4, 3, 7, 5)
    real = torch.rand(4, 7, generator=generator) < 0.6
    real[0], real[1] = True, False
    found = route(messages, real, logits, iterations, detach=detach)
    sent = messages[:, None].expand(4, 3, 7, 5) if shared else messages
    for row in range(4):
        places = real[row]
        expected = route_oracle(
            sent[row][:, places].numpy(), logits[row][:, places].numpy(), iterations
        )
        np.testing.assert_allclose(found[row].numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_what_the_gradient_goes_through(shared):
    """Detached, the last shares are constants; else the gradient is the numerical one."""
    torch.manual_seed(0)
    messages = torch.randn((2, 4, 3) if shared else (2, 2, 4, 3), dtype=torch.float64)
    messages.requires_grad_()
    logits = torch.randn(2, 2, 4, dtype=torch.float64)
    real = torch.tensor([[True, True, True, True], [False, False, True, True]])
    weights = torch.randn(2, 2, 3, dtype=torch.float64)
    whole = partial(route, real=real, logits=logits, iterations=3, detach=False)
    assert torch.autograd.gradcheck(whole, messages)

    sent = messages[:, None].expand(2, 2, 4, 3) if shared else messages
    last = torch.zeros(2, 2, 4, dtype=torch.float64)
    for row in range(2):
        own = number(sent[row][:, real[row]]), number(logits[row][:, real[row]])
        last[row][:, real[row]] = torch.from_numpy(shares_oracle(*own, 3)[0])
    z = (last[..., None] * sent).sum(2)
    square = (z * z).sum(-1, keepdim=True)
    capsules = square / (1 + square) * z / square.sqrt()
    (expected,) = torch.autograd.grad((capsules * weights).sum(), messages)
    detached = route(messages, real, logits, 3)
    (found,) = torch.autograd.grad((detached * weights).sum(), messages)
    torch.testing.assert_close(found, expected)
    (other,) = torch.autograd.grad((whole(messages) * weights).sum(), messages)
    assert (other - found).abs().max() > 1e-3


def test_routing_parts_two_kinds_of_items():
    """Two orthogonal groups: each capsule takes one; the first iteration alone mixes them."""
    messages = torch.tensor([[[3.0, 0], [0, 3.0], [3.0, 0], [0, 3.0]]])
    logits = torch.tensor([[[0.1, 0, 0.1, 0], [0, 0.1, 0, 0.1]]])
    real = torch.ones(1, 4, dtype=torch.bool)
    one, other = route(messages, real, logits, 8)[0]
    assert one[0] > 10 * one[1]
    assert other[1] > 10 * other[0]
    mixed = route(messages, real, logits, 1)[0]
    assert (mixed > 0.6).all()


@given(
    histories=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=5), min_size=1, max_size=4),
    side=st.sampled_from(["left", "right"]),
    extra=st.integers(0, 3),
)
def test_items_read(histories, side, extra):
    longest = max(len(history) for history in histories)
    rows = [[10] * (longest - len(history)) + history for history in histories]
    assert read_items(padded(histories, 10, side=side, extra=extra), 10, 5).tolist() == rows


# --- MIND: random logits ---


def mind(**options):
    torch.manual_seed(0)
    return MIND(N_ITEMS, dim=8, length=LENGTH, **options)


HISTORIES = padded([[1, 2, 3, 4], [5, 6], [7, 8, 9, 1, 2]], N_ITEMS)


def test_mind_in_training_draws_again():
    """From N(0, 1), from the global random state, for each row."""
    model = mind(interests=3).double().train()
    with torch.no_grad():
        model.map.weight.normal_()
        torch.manual_seed(5)
        first, second = model(HISTORIES).users, model(HISTORIES).users
        torch.manual_seed(5)
        again = model(HISTORIES).users
        torch.manual_seed(5)
        logits = torch.randn(3, 3, 5, dtype=torch.float64).numpy()
    assert torch.equal(first, again)
    assert ((first - second).abs().amax((1, 2)) > 1e-4).all()
    for row, history in enumerate([[1, 2, 3, 4], [5, 6], [7, 8, 9, 1, 2]]):
        expected = mind_oracle(model, history, logits[row][:, 5 - len(history) :])
        np.testing.assert_allclose(first[row].numpy(), expected, rtol=1e-10, atol=1e-10)


def test_mind_in_evaluation_is_reproducible():
    """It draws nothing, whatever was drawn before; the table travels with the weights."""
    model = mind()
    model.train()(HISTORIES)
    model.eval()
    with torch.no_grad():
        state = torch.get_rng_state()
        first = model(HISTORIES).users
        assert torch.equal(torch.get_rng_state(), state)
        torch.manual_seed(99)
        assert torch.equal(model(HISTORIES).users, first)
        other = MIND(N_ITEMS, dim=8, length=LENGTH).eval()
        for own, weight in zip(other.parameters(), model.parameters(), strict=True):
            own.copy_(weight)
        assert not torch.allclose(other(HISTORIES).users, first)  # another table
        other.load_state_dict(model.state_dict())
        assert torch.equal(other(HISTORIES).users, first)
    assert model.state_dict()["logits"].shape == (2, LENGTH)


def test_the_table_of_mind_is_standard_normal():
    table = MIND(N_ITEMS, dim=2, length=4000, interests=5).logits
    assert abs(table.mean().item()) < 4 / 20000**0.5
    assert table.std().item() == pytest.approx(1, abs=4 / 40000**0.5)


def test_mind_with_fixed_routing_trains_on_the_table():
    model = mind(routing="fixed")
    training = model.train()(HISTORIES).users
    assert torch.equal(training, model.eval()(HISTORIES).users)
    assert torch.equal(training, mind(routing="drawn").eval()(HISTORIES).users)


# --- MIND: how many interests, and the layer after ---


def test_adaptive_interests():
    """K_n = max(1, min(K, floor(log2 n))): as a model of K_n interests; the rest are copies."""
    model = in_double(partial(MIND, N_ITEMS, dim=5, length=20, interests=4, adaptive=True))
    histories = [[(3 * n + j) % N_ITEMS for j in range(n)] for n in range(1, 19)]
    numbers = []
    with torch.no_grad():
        users = model(padded(histories, N_ITEMS, side="left", extra=1)).users
        for history, own in zip(histories, users, strict=True):
            k = max(1, min(4, int(math.log2(len(history)))))
            small = MIND(N_ITEMS, dim=5, length=20, interests=k).double().eval()
            state = model.state_dict()
            small.load_state_dict(state | {"logits": state["logits"][:k]})
            torch.testing.assert_close(own[:k], small(padded([history], N_ITEMS)).users[0])
            assert (own[k:] == own[0]).all()
            assert len(own.unique(dim=0)) == k
            numbers.append(k)
    assert numbers == [1] * 3 + [2] * 4 + [3] * 8 + [4] * 3


def test_relu_layer():
    model = in_double(partial(MIND, N_ITEMS, dim=5, length=LENGTH, relu_layer=True))
    layer = model.dense[0]
    with torch.no_grad():
        users = model(HISTORIES).users.numpy()
    expected = np.stack([mind_oracle(model, h) for h in ([1, 2, 3, 4], [5, 6], [7, 8, 9, 1, 2])])
    expected = np.maximum(expected @ number(layer.weight).T + number(layer.bias), 0)
    np.testing.assert_allclose(users, expected, rtol=1e-10, atol=1e-10)
    assert (users == 0).any()
    assert (users > 0).any()


def test_scaled_interests_are_those_of_scaled_items():
    plain = in_double(lambda: ComiRecDR(N_ITEMS, dim=9, length=LENGTH, scale=False))
    scaled = in_double(lambda: ComiRecDR(N_ITEMS, dim=9, length=LENGTH))
    users = scaled(HISTORIES).users
    with torch.no_grad():
        plain.table.weight *= 3
    torch.testing.assert_close(users, 3 * plain(HISTORIES).users)


@pytest.mark.parametrize("same", [True, False])
def test_maps_are_the_same_for_all_positions_at_first(same):
    torch.manual_seed(0)
    maps = ComiRecDR(N_ITEMS, dim=8, length=5, interests=3, same_maps=same).maps
    assert bool((maps == maps[:1]).all()) == same
    assert maps.std().item() == pytest.approx(8**-0.5, rel=0.15)
    first, second, _ = maps[0].chunk(3, dim=1)
    assert not torch.equal(first, second)  # interests differ


# --- nothing to read, and what does not fit ---


@pytest.mark.parametrize(
    "make",
    [
        partial(MIND, N_ITEMS, dim=8, length=LENGTH),
        partial(MIND, N_ITEMS, dim=8, length=LENGTH, interests=3, adaptive=True),
        partial(ComiRecDR, N_ITEMS, dim=8, length=LENGTH),
    ],
    ids=["mind", "mind, adaptive", "comirec-dr"],
)
@pytest.mark.parametrize("others", [True, False])
def test_empty_histories(make, others):
    """Interests are exactly 0, gradients are finite, and the padding row has none."""
    torch.manual_seed(0)
    model = make().train()
    histories = torch.full((3, 4), N_ITEMS)
    if others:
        histories[1, 2:] = 2
    numbers = torch.arange(3)
    users = model(Batch(histories, numbers, numbers, numbers)).users
    assert (users[[0, 2]] == 0).all()
    assert bool((users[1] != 0).any()) == others
    (users @ model.items().vectors.T).square().sum().add(users.sum()).backward()
    for parameter in model.parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all()
    assert (model.table.weight.grad[N_ITEMS] == 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_interests_have_a_length_below_one(name):
    model = FIXED[name]
    with torch.no_grad():
        lengths = model(HISTORIES).users.norm(dim=-1) / getattr(model, "scale", 1.0)
    assert (lengths < 1).all()
    assert lengths.max() > 0.9


@pytest.mark.parametrize(
    "make",
    [
        partial(MIND, 5, interests=0),
        partial(ComiRecDR, 5, iterations=0),
        partial(MIND, 5, routing="random"),
        partial(MIND, 5, init="zeros"),
        partial(ComiRecDR, 5, init="zeros"),
        lambda: MIND(5, length=2, dim=4)(padded([[0, 1, 2]], 5)).users,
        lambda: ComiRecDR(5, length=2, dim=4)(padded([[0, 1, 2]], 5)).users,
        lambda: route(torch.ones(1, 2, 3), torch.ones(1, 2) > 0, torch.zeros(1, 2, 2), 0),
    ],
)
def test_options_that_do_not_fit(make):
    with refused(ValueError):
        make()


# --- learning ---

ITEMS = 12
FAMILY = 3  # items of a family, in the test with families
SMALL = {
    "mind": partial(MIND, ITEMS, dim=16, length=4),
    "mind, adaptive": partial(MIND, ITEMS, dim=16, length=4, adaptive=True),
    "mind, relu": partial(MIND, ITEMS, dim=16, length=4, relu_layer=True),
    "mind, fixed": partial(MIND, ITEMS, dim=16, length=4, routing="fixed"),
    "comirec-dr": partial(ComiRecDR, ITEMS, dim=16, length=4, interests=2),
}
POPULAR = PopularityTarget(popularity(torch.arange(1, ITEMS + 1)))


def neighbours(batch):
    """The label and the two items after it, in a ring."""
    items = (batch.label[:, None] + torch.arange(3)) % ITEMS
    return SparseTarget(items, torch.tensor([0.5, 0.3, 0.2]).expand(len(items), 3))


OBJECTIVES = {
    "one-hot": Objective(),
    "uniform": Objective.towards(UniformTarget(ITEMS), 0.2),
    "popularity": Objective.towards(POPULAR, 0.2),
    "sparse": Objective.towards(neighbours, 0.2),
}
PAIRS = [(name, "one-hot") for name in SMALL] + [
    (name, objective) for name in ("mind", "comirec-dr") for objective in list(OBJECTIVES)[1:]
]


def chain_for(name):
    """A chain; for MIND, to whom all items of a history are alike, the last one 1 to 4 times."""
    data = chain(ITEMS, 1000, 4, seed=3)
    if name == "comirec-dr":
        return data
    lengths = torch.randint(1, 5, (1000, 1), generator=torch.Generator().manual_seed(3))
    history = data.history[:, -1:].expand(-1, 4).masked_fill(torch.arange(4) >= lengths, ITEMS)
    return data._replace(history=history)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "objective"), PAIRS)
def test_a_markov_chain_is_learnt(name, objective):
    how = {"data": chain_for(name), "steps": 120, "slack": 0.02}
    check_learns(SMALL[name], ITEMS, OBJECTIVES[objective], **how)


def families(*, seed):
    """Histories of two families, two items each; the label is of one of them, by chance."""
    generator = torch.Generator().manual_seed(seed)
    count = 1500
    two = torch.rand(count, ITEMS // FAMILY, generator=generator).argsort(1)[:, :2]
    owner = torch.cat([two, two], 1)
    history = owner * FAMILY + torch.randint(FAMILY, (count, 4), generator=generator)
    chosen = two.gather(1, torch.randint(2, (count, 1), generator=generator))[:, 0]
    label = chosen * FAMILY + torch.randint(FAMILY, (count,), generator=generator)
    return batch_of(history, label)


def check_families(make, *, seed, **how):
    """All labels of unseen histories are among the six items of the two families."""
    check_learns(make, ITEMS, data=families(seed=seed), train=1000, top=2 * FAMILY, **how)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_two_families_are_learnt(name):
    check_families(SMALL[name], seed=3, steps=60, slack=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "preset"), PRESETS)
def test_presets_learn(cls, preset):
    """A start from small numbers does not stall."""
    make = partial(cls, ITEMS, **(cls.PRESETS[preset] | {"length": 4}))
    check_families(make, seed=5, steps=100, lr=0.01, slack=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "objective"), PAIRS)
def test_nothing_is_learnt_from_noise(name, objective):
    check_learns_nothing_from_noise(SMALL[name], ITEMS, OBJECTIVES[objective])


def test_a_run_of_before_has_the_settings_of_then(tmp_path):
    """Its facts do not say `scale`, and its scores must stay what they were."""
    users, steps = np.arange(8), np.arange(5)
    items = (users[:, None] + 2 * steps) % 9
    frame = pl.DataFrame({"user": users.repeat(5), "item": items.ravel()})
    own = {"model": "comirec-dr", "model.dim": 4, "length": 5, "epochs": 1}
    run = softrec.fit(frame, out=tmp_path / "run", **own)
    assert run.model().scale == 2.0
    for name in ("scale", "same_maps"):
        del run.facts["model"][name]
    assert run.model().scale == 1.0
