"""Graph backbones against dense products, and what they keep between calls."""

from functools import partial

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from messages import refused
from softrec.candidates import SharedUniform
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Cases
from softrec.errors import DataError
from softrec.evaluation.protocol import rank_cases
from softrec.models.graph import Graph, mean_of_layers, neighbour_sum, propagate
from softrec.models.lightgcn import LightGCN
from softrec.models.ngcf import NGCF
from softrec.objective import Objective
from softrec.scoring import Scored, Scoring
from softrec.serving.recommender import Recommender
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.targets.sparse import SparseTarget
from softrec.testing import (
    check_encoder,
    check_learns,
    check_learns_nothing_from_noise,
    checkerboard,
    noise,
)
from softrec.types import Batch

USERS, ITEMS = 5, 9
# User 3 and items 4 and 8 have no event, one edge comes three times.
PAIRS = [(0, 1), (0, 3), (1, 3), (2, 0), (2, 3), (2, 5), (0, 1), (4, 7), (4, 6), (1, 2), (0, 1)]
EDGES = torch.tensor(PAIRS).T
NODES = USERS + ITEMS
MODELS = {
    "lightgcn": partial(LightGCN, ITEMS, n_users=USERS, edges=EDGES, dim=4),
    "ngcf": partial(NGCF, ITEMS, n_users=USERS, edges=EDGES, dim=4),
    "ngcf bsl": partial(
        NGCF, ITEMS, n_users=USERS, edges=EDGES, dim=4,
        adjacency="symmetric", rectified="sum", pooling="mean",
    ),
}  # fmt: skip


def adjacency(pairs=PAIRS, n_users=USERS, n_items=ITEMS):
    """The whole matrix of ones, by its definition."""
    table = np.zeros((n_users + n_items, n_users + n_items))
    for user, item in pairs:
        table[user, n_users + item] = table[n_users + item, user] = 1
    return table


def symmetric(a):
    root = np.array([d**-0.5 if d else 0.0 for d in a.sum(1)])
    return root[:, None] * a * root


def asked_for(users, label=None) -> Batch:
    user = torch.tensor(users)
    rest = torch.zeros(len(user), dtype=torch.int64)
    label = rest if label is None else torch.tensor(label)
    return Batch(torch.zeros(len(user), 1, dtype=torch.int64), label, rest, user)


EVERYONE = asked_for(list(range(USERS)))


def tables(model):
    both = [model.user_table.weight, model.item_table.weight]
    return torch.cat(both).detach().double().numpy()


def answers(model):
    users, items = model(EVERYONE)[:2]
    return torch.cat([users, items.vectors])


# --- products ---


def test_the_graph_by_hand():
    graph = Graph(EDGES, USERS, ITEMS)
    assert graph.degrees().tolist() == [2, 2, 3, 0, 2, 1, 1, 1, 3, 0, 1, 1, 1, 0]
    x = torch.eye(NODES)
    assert torch.equal(neighbour_sum(graph, x).double(), torch.from_numpy(adjacency()))


@pytest.mark.slow
@settings(max_examples=40)
@given(st.data())
def test_products_are_those_of_the_dense_matrix(data):
    n_users, n_items = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    pair = st.tuples(st.integers(0, n_users - 1), st.integers(0, n_items - 1))
    pairs = data.draw(st.lists(pair, max_size=20))
    graph = Graph(torch.tensor(pairs).reshape(-1, 2).long().T, n_users, n_items)
    a = adjacency(pairs, n_users, n_items)
    p = symmetric(a)
    x = torch.randn(len(a), 3, dtype=torch.float64)
    np.testing.assert_allclose(neighbour_sum(graph, x), a @ x.numpy(), atol=1e-12)
    np.testing.assert_allclose(propagate(graph, x), p @ x.numpy(), atol=1e-12)
    layers = data.draw(st.integers(1, 4))
    mean = sum(np.linalg.matrix_power(p, k) for k in range(layers + 1)) / (layers + 1)
    np.testing.assert_allclose(mean_of_layers(graph, x, layers), mean @ x.numpy(), atol=1e-12)


PRODUCTS = {
    "sum": neighbour_sum,
    "normalised": propagate,
    "mean": lambda graph, x, weights=None: mean_of_layers(graph, x, 3, weights),
}


@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("dropped", [False, True])
def test_gradients_of_first_and_second_order(name, dropped):
    torch.manual_seed(0)
    graph = Graph(EDGES, USERS, ITEMS)
    weights = graph.drawn(0.6).double() if dropped else None
    x = torch.randn(NODES, 2, dtype=torch.float64, requires_grad=True)
    product = partial(PRODUCTS[name], graph, weights=weights)
    assert torch.autograd.gradcheck(product, (x,))
    assert torch.autograd.gradgradcheck(lambda x: product(x).square(), (x,))
    # The gradient that a sum makes has no memory of its own.
    (gradient,) = torch.autograd.grad(product(x).sum(), x)
    (expected,) = torch.autograd.grad((product(x) * torch.ones(NODES, 2)).sum(), x)
    assert torch.equal(gradient, expected)


def test_only_the_graph_is_kept_for_the_way_back():
    kept = []
    x = torch.randn(NODES, 2, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        out = mean_of_layers(Graph(EDGES, USERS, ITEMS), x, 3)
    assert out.requires_grad
    assert not kept


def test_isolated_nodes_get_nothing():
    alone = [3, USERS + 4, USERS + 8]
    x = torch.randn(NODES, 3)
    graph = Graph(EDGES, USERS, ITEMS)
    assert not propagate(graph, x)[alone].any()
    torch.testing.assert_close(mean_of_layers(graph, x, 3)[alone], x[alone] / 4)
    empty = Graph(torch.empty(2, 0, dtype=torch.int64), USERS, ITEMS)
    assert not propagate(empty, x).any()


def test_dropped_edges_are_dropped_in_both_directions():
    torch.manual_seed(0)
    n = 60
    edges = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    graph = Graph(edges, n, n)
    dense = neighbour_sum(graph, torch.eye(2 * n), graph.drawn(0.75))
    assert torch.equal(dense, dense.T)
    block = dense[:n, n:]
    kept = block != 0
    assert float(kept.float().mean()) == pytest.approx(0.75, abs=0.03)
    torch.testing.assert_close(block[kept], torch.full_like(block[kept], 4 / 3))
    other = neighbour_sum(graph, torch.eye(2 * n), graph.drawn(0.75))
    assert not torch.equal(dense, other)
    p = propagate(graph, torch.eye(2 * n), torch.ones(2 * n * n))
    np.testing.assert_allclose(p, symmetric(np.kron([[0, 1], [1, 0]], np.ones((n, n)))), atol=1e-6)


def test_weights_and_order_agree_on_edges_in_any_order():
    """Weight k belongs to the same edge in the users' rows and in the items' rows."""
    graph = Graph(EDGES[:, torch.randperm(EDGES.shape[1])], USERS, ITEMS)
    once = torch.arange(1.0, len(graph.order) + 1)
    dense = neighbour_sum(graph, torch.eye(NODES), torch.cat([once, once[graph.order.long()]]))
    assert torch.equal(dense, dense.T)
    assert sorted(dense[dense != 0].tolist()) == sorted(once.tolist() * 2)


def test_a_graph_is_data():
    model = LightGCN(ITEMS, n_users=USERS, edges=EDGES, dim=4, output_bias=True)
    assert set(model.state_dict()) == {"user_table.weight", "item_table.weight", "bias"}
    assert {name for name, _ in model.named_buffers()} == {
        "graph.neighbours", "graph.offsets", "graph.order"
    }  # fmt: skip
    moved = model.to("meta")
    assert moved.graph.neighbours.is_meta


@pytest.mark.parametrize(
    "edges",
    [
        torch.zeros(3, 2).long(),
        torch.zeros(2, 3),
        torch.zeros(4).long(),
        torch.tensor([[0, 5], [0, 0]]),
        torch.tensor([[0, -1], [0, 0]]),
        torch.tensor([[0, 1], [9, 0]]),
    ],
)
def test_edges_that_make_no_graph(edges):
    with refused(ValueError):
        Graph(edges, USERS, ITEMS)


# --- the models by their definitions ---


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("init", ["xavier", "normal"])
def test_lightgcn_by_its_definition(layers, init):
    model = LightGCN(ITEMS, n_users=USERS, edges=EDGES, dim=4, layers=layers, init=init).double()
    p, layer = symmetric(adjacency()), tables(model)
    total = layer.copy()
    for _ in range(layers):
        layer = p @ layer
        total += layer
    np.testing.assert_allclose(answers(model).detach(), total / (layers + 1), atol=1e-12)


def test_gradients_of_lightgcn_are_those_of_the_dense_product():
    torch.manual_seed(0)
    model = LightGCN(ITEMS, n_users=USERS, edges=EDGES, dim=4, init="normal").double()
    batch = asked_for([0, 2, 0], [8, 1, 3])
    Objective()(model, batch).total.backward()
    x = torch.from_numpy(tables(model)).requires_grad_()
    p = torch.from_numpy(symmetric(adjacency()))
    final = (x + p @ x + p @ p @ x + p @ p @ p @ x) / 4
    logits = final[:USERS][batch.user] @ final[USERS:].T
    nn.functional.cross_entropy(logits, batch.label).backward()
    assert x.grad is not None
    found = torch.cat([model.user_table.weight.grad, model.item_table.weight.grad])
    torch.testing.assert_close(found, x.grad, rtol=1e-10, atol=1e-12)


def ngcf_oracle(model, p, rectified, pooling):
    def leaky(x):
        return np.where(x > 0, x, 0.2 * x)

    def affine(layer, x):
        return x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()

    layer = tables(model)
    layers = [layer]
    for first, second in zip(model.sums, model.products, strict=True):
        near = p @ layer
        one, two = affine(first, near), affine(second, layer * near)
        layer = leaky(one) + leaky(two) if rectified == "each" else leaky(one + two)
        layers.append(layer / np.sqrt((layer**2).sum(1, keepdims=True)))
    return np.concatenate(layers, 1) if pooling == "concat" else sum(layers) / len(layers)


@pytest.mark.parametrize("preset", NGCF.PRESETS)
@pytest.mark.parametrize("layers", [1, 3])
def test_ngcf_by_its_definition(preset, layers):
    options = NGCF.PRESETS[preset] | {"dim": 4, "layers": layers}
    model = NGCF(ITEMS, n_users=USERS, edges=EDGES, **options).double().eval()
    a = adjacency()
    if preset == "original":
        p = (a + np.eye(NODES)) / (a.sum(1, keepdims=True) + 1)
        expected = ngcf_oracle(model, p, "each", "concat")
        assert expected.shape[1] == 4 * (layers + 1)
    else:
        expected = ngcf_oracle(model, symmetric(a), "sum", "mean")
    np.testing.assert_allclose(answers(model).detach(), expected, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_gradients_of_whole_models(name, dropout):
    """By finite differences, every draw repeated: the row-normalised matrix is not symmetric."""
    drop = {"edge_dropout" if name == "lightgcn" else "node_dropout": dropout}
    torch.manual_seed(3)
    model = MODELS[name](layers=2, **drop).double()

    def answer(*weights):
        torch.manual_seed(1)
        given = dict(zip(dict(model.named_parameters()), weights, strict=True))
        users, items = torch.func.functional_call(model, given, (EVERYONE,))[:2]
        return torch.cat([users, items.vectors])

    assert torch.autograd.gradcheck(answer, tuple(model.parameters()))


# --- dropout ---


def test_edge_dropout_is_on_in_training_only():
    torch.manual_seed(0)
    model = LightGCN(ITEMS, n_users=USERS, edges=EDGES, dim=4, edge_dropout=0.5)
    assert not torch.equal(answers(model), answers(model))
    model.eval()
    plain = LightGCN(ITEMS, n_users=USERS, edges=EDGES, dim=4)
    plain.load_state_dict(model.state_dict())
    assert torch.equal(answers(model), answers(plain))


def test_edge_dropout_keeps_the_mean_of_one_layer():
    torch.manual_seed(0)
    model = LightGCN(ITEMS, n_users=USERS, edges=EDGES, dim=4, layers=1, edge_dropout=0.3)
    with torch.no_grad():
        mean = torch.stack([answers(model) for _ in range(1500)]).mean(0)
        torch.testing.assert_close(mean, answers(model.eval()), atol=0.02, rtol=0)


def test_users_and_items_of_a_step_see_the_same_edges():
    """One user, one item, one edge: kept or dropped, both vectors are the mean or both are not."""
    torch.manual_seed(0)
    one = torch.zeros(2, 1, dtype=torch.int64)
    model = LightGCN(1, n_users=1, edges=one, dim=3, layers=1, edge_dropout=0.5)
    seen = set()
    for _ in range(30):
        users, items = model(asked_for([0]))[:2]
        user, item = users[0], items.vectors[0]
        kept = [
            not torch.allclose(vector, table.weight[0] / 2)
            for vector, table in ((user, model.user_table), (item, model.item_table))
        ]
        assert kept[0] == kept[1]
        seen.add(kept[0])
    assert seen == {True, False}


@pytest.mark.parametrize("option", ["node_dropout", "message_dropout"])
def test_dropouts_of_ngcf_are_on_in_training_only(option):
    torch.manual_seed(0)
    model = MODELS["ngcf"](**{option: 0.5})
    plain = MODELS["ngcf"]()
    plain.load_state_dict(model.state_dict())
    assert not torch.equal(answers(model), answers(model))
    assert torch.equal(answers(model.eval()), answers(plain.eval()))


def test_node_dropout_leaves_out_entries_of_the_matrix():
    """Edges in both directions, a node's own entry on its own, the others by 1 / share."""
    torch.manual_seed(0)
    n = 60
    edges = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    model = NGCF(n, n_users=n, edges=edges, dim=2 * n, layers=1, node_dropout=0.25)
    read = []  # by the first layer: P E, which is P for a table E of ones in the diagonal
    model.sums[0].register_forward_pre_hook(lambda _, given: read.extend(given))
    model.propagated(torch.eye(2 * n))
    dense = read[0] * (n + 1)
    assert torch.equal(dense, dense.T)
    for entries in (dense[:n, n:], dense.diag()):
        kept = entries[entries != 0]
        assert len(kept) / entries.numel() == pytest.approx(0.75, abs=0.1)
        torch.testing.assert_close(kept, torch.full_like(kept, 4 / 3))
    assert not dense[:n, :n].fill_diagonal_(0).any()


def test_message_dropout_comes_before_the_length_is_made_one():
    torch.manual_seed(0)
    model = NGCF(ITEMS, n_users=USERS, edges=EDGES, dim=16, layers=1, message_dropout=0.3)
    table, layer = answers(model).split(16, 1)
    assert torch.equal(table, torch.cat([model.user_table.weight, model.item_table.weight]))
    assert float((layer == 0).float().mean()) == pytest.approx(0.3, abs=0.1)
    torch.testing.assert_close(layer.norm(dim=1), torch.ones(NODES))


# --- how often a model propagates ---


def counted(model):
    """Count the propagations of a model."""
    calls = []
    whole = model.propagated
    model.propagated = lambda nodes: calls.append(1) or whole(nodes)
    return calls


@pytest.mark.parametrize("name", MODELS)
def test_one_propagation_for_each_training_step(name):
    """Steps in a row, also where a sample, the label and l2 ask for vectors beside each other."""
    torch.manual_seed(0)
    model = MODELS[name]()
    calls = counted(model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    batch = asked_for([0, 1, 2], [1, 3, 5])
    for step in range(1, 4):
        before = model.user_table.weight.detach().clone()
        Objective(candidates=SharedUniform(ITEMS, 4), l2=0.1)(model, batch).total.backward()
        assert len(calls) == step
        optimiser.step()
        optimiser.zero_grad()
        assert not torch.equal(before, model.user_table.weight)


@pytest.mark.parametrize("kind", ["inner", "cosine"])
@pytest.mark.parametrize("name", MODELS)
def test_one_propagation_for_each_ranking(limit, name, kind):
    """Whatever the number of batches; after a change of weights the ranking is another."""
    limit(encoded=2)
    torch.manual_seed(0)
    model = MODELS[name]()
    calls = counted(model)
    histories = Sequences.of([[1], [3], [0], [5], [7]])
    cases = Cases(np.arange(USERS), histories, Sequences.of([[n] for n in (2, 1, 5, 4, 6)]))
    encoder = Scored(model, Scoring(kind))
    first = rank_cases(encoder, cases, length=3, k=ITEMS)
    assert len(calls) == 1
    assert model.training
    with torch.no_grad():
        model.user_table.weight.neg_()
        model.item_table.weight[:4] += 1
    second = rank_cases(encoder, cases, length=3, k=ITEMS)
    assert len(calls) == 2
    assert first.rank.tolist() != second.rank.tolist()


@pytest.mark.parametrize("name", MODELS)
def test_one_propagation_for_each_recommender(name):
    torch.manual_seed(0)
    model = MODELS[name]()
    calls = counted(model)
    everybody = Sequences.of([[0, 1], [3], [4, 5], [6], [7, 8, 2]])
    log = Interactions.from_sequences(everybody)
    service = Recommender(model, log, length=3)
    users = log.users.raw.to_list()
    together = service.recommend(users, k=3)
    assert len(calls) == 1
    assert service.recommend(users[:2], k=3).equals(
        together.filter(pl.col("user").is_in(users[:2]))
    )
    assert len(calls) == 1


# --- contracts, options ---

LIGHTGCNS = {
    "default": {},
    "one layer": {"layers": 1},
    "dropout": {"edge_dropout": 0.3},
    "bias": {"output_bias": True},
    "normal": {"init": "normal"},
}
NGCFS = {
    "default": {},
    "bias": {"output_bias": True, "layers": 1},
    "symmetric": {"adjacency": "symmetric"},
    "sum": {"rectified": "sum", "node_dropout": 0.2},
    "mean": {"pooling": "mean", "message_dropout": 0.2},
}
STYLES = [
    *((LightGCN, {"dim": 8} | options) for options in LIGHTGCNS.values()),
    *((LightGCN, options | {"dim": 8}) for options in LightGCN.PRESETS.values()),
    *((NGCF, {"dim": 8} | options) for options in NGCFS.values()),
    *((NGCF, options | {"dim": 8}) for options in NGCF.PRESETS.values()),
]


@pytest.mark.parametrize(("kind", "options"), STYLES)
def test_contract(kind, options):
    make = partial(kind, ITEMS, n_users=USERS, edges=EDGES, **options)
    check_encoder(make, ITEMS)


@pytest.mark.parametrize("kind", [LightGCN, NGCF])
def test_unknown_users_are_refused(kind):
    model = kind(ITEMS, n_users=USERS, edges=EDGES, dim=4)
    with refused(DataError):
        model(asked_for([0, 5, -1]))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LightGCN, {"n_users": 0}),
        (LightGCN, {"init": "zeros"}),
        (LightGCN, {"layers": 0}),
        (LightGCN, {"edge_dropout": 1.0}),
        (NGCF, {"layers": 0}),
        (NGCF, {"adjacency": "none"}),
        (NGCF, {"rectified": "none"}),
        (NGCF, {"pooling": "none"}),
        (NGCF, {"node_dropout": -0.1}),
        (NGCF, {"message_dropout": 1.5}),
    ],
)
def test_options_that_do_not_fit(kind, options):
    given = {"n_users": USERS, "edges": EDGES} | options
    with refused(ValueError):
        kind(ITEMS, **given)


def test_initial_tables():
    torch.manual_seed(0)
    none = torch.empty(2, 0, dtype=torch.int64)
    model = LightGCN(300, n_users=2000, edges=none, dim=64)
    for table, rows in ((model.item_table, 300), (model.user_table, 2000)):
        bound = (6 / (rows + 64)) ** 0.5
        assert 0.99 * bound < float(table.weight.detach().abs().max()) <= bound
    model = LightGCN(300, n_users=2000, edges=none, dim=64, init="normal")
    assert float(model.item_table.weight.detach().std()) == pytest.approx(0.1, rel=0.02)
    model = NGCF(300, n_users=20, edges=none, dim=64)
    for layer in (*model.sums, *model.products):
        assert 0.98 < float(layer.weight.detach().abs().max()) / (6 / 128) ** 0.5 <= 1
        assert 0.8 < float(layer.bias.detach().abs().max()) / (6 / 65) ** 0.5 <= 1


# --- learning ---


def learner(name, data, train, n_users, n_items):
    """A model made on the edges it trains on."""
    kind, options = LEARNERS[name]
    edges = torch.stack([data.user[:train], data.label[:train]])
    return partial(kind, n_items, n_users=n_users, edges=edges, **options)


N_USERS, N_ITEMS = 40, 24


def neighbours_in_number(batch):
    """The items two before and two after, of the same parity."""
    items = torch.stack([(batch.label - 2) % N_ITEMS, (batch.label + 2) % N_ITEMS], 1)
    return SparseTarget(items, torch.full(items.shape, 0.5))


OBJECTIVES = {
    "one-hot": Objective(),
    "uniform": Objective.towards(UniformTarget(N_ITEMS), 0.1),
    "popularity": Objective.towards(
        PopularityTarget(popularity(torch.arange(1, N_ITEMS + 1))), 0.1
    ),
    "sparse": Objective.towards(neighbours_in_number, 0.3),
}
LEARNERS = {
    "lightgcn": (LightGCN, {"dim": 8, "init": "normal"}),
    "lightgcn, edges dropped": (LightGCN, {"dim": 8, "layers": 1, "edge_dropout": 0.1}),
    "ngcf": (NGCF, NGCF.PRESETS["original"] | {"dim": 8, "layers": 2}),
    "ngcf bsl": (NGCF, NGCF.PRESETS["bsl"] | {"dim": 8, "layers": 2}),
}


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("name", LEARNERS)
def test_a_checkerboard_is_learnt(name, objective):
    """A user's colour: all items of it come first, also the four that the user never took.

    Trained much longer, a model learns by heart which those are.
    """
    data = checkerboard(N_ITEMS, 960, 1, users=N_USERS, seed=5)
    make = learner(name, data, 320, N_USERS, N_ITEMS)
    how = {"train": 320, "top": N_ITEMS // 2, "slack": 0.0, "steps": 30}
    check_learns(make, N_ITEMS, OBJECTIVES[objective], data=data, **how)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_is_learnt_from_noise(name):
    """Tastes do not exist."""
    data = noise(12, 5400, 1, users=60, seed=6)
    make = learner(name, data, 1200, 60, 12)
    check_learns_nothing_from_noise(make, 12, data=data, train=1200, steps=150)
