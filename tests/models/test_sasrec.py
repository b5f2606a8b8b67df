"""SASRec: its formulas in loops, where chance enters, and how it starts."""

import math

import pytest
import torch
from torch import Tensor, nn

from softrec.models.gru4rec import GRU4Rec
from softrec.models.sasrec import SASRec
from softrec.models.transformer import Block
from softrec.testing.encoders import padded

N_ITEMS = 11
SMALL = {"dim": 8, "length": 6}
STYLES = {
    "default": {},
    "post": {"norm": "post"},
    "pre": {"norm": "pre"},
    "query": {"norm": "query"},
    "gelu": {"activation": "gelu", "inner": 12},
    "rezero": {"rezero": True, "norm": "post"},
    "no scale": {"scale": False},
    "scale": {"scale": True},
    "no projection": {"projection": False},
    "one head": {"heads": 1, "layers": 1},
    "four heads": {"heads": 4, "layers": 3},
}
HISTORIES = [[0, 3, 2, 7, 10, 1], [4], [9, 9, 5]]


# --- the formulas ---


def norm_of(layer: nn.Module, x: Tensor) -> Tensor:
    """LN(x) = g (x - mean) / sqrt(var + 1e-5) + b of one vector."""
    assert isinstance(layer, nn.LayerNorm)
    centred = x - x.mean()
    return layer.weight * centred / torch.sqrt((centred**2).mean() + 1e-5) + layer.bias


def line(layer: nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + layer.bias


def attention(block: Block, asking: list[Tensor], asked_of: list[Tensor], heads: int) -> list:
    answers = []
    for step, query in enumerate(asking):
        q = line(block.query, query).chunk(heads)
        seen = asked_of[: step + 1]
        keys = [line(block.key, x).chunk(heads) for x in seen]
        values = [line(block.value, x).chunk(heads) for x in seen]
        parts = []
        for h in range(heads):
            scores = torch.stack([q[h] @ key[h] / math.sqrt(len(q[h])) for key in keys])
            weights = scores.exp() / scores.exp().sum()
            parts.append(sum(w * value[h] for w, value in zip(weights, values, strict=True)))
        joined = torch.cat(parts)
        answers.append(
            line(block.joined, joined) if block.joined.__class__ is nn.Linear else joined
        )
    return answers


def feed_forward(block: Block, x: Tensor, activation: str) -> Tensor:
    z = line(block.widen, x)
    z = z.clamp(min=0) if activation == "relu" else z * (1 + torch.erf(z / math.sqrt(2))) / 2
    return line(block.narrow, z)


def after_block(block: Block, x: list[Tensor], *, norm, heads, activation) -> list[Tensor]:
    first, second = block.norms
    amounts = [1.0, 1.0] if block.amounts is None else block.amounts
    if norm == "post":
        answers = attention(block, x, x, heads)
        x = [norm_of(first, a + amounts[0] * b) for a, b in zip(x, answers, strict=True)]
        return [norm_of(second, a + amounts[1] * feed_forward(block, a, activation)) for a in x]
    asking = [norm_of(first, a) for a in x]
    if norm == "pre":
        answers = attention(block, asking, asking, heads)
        x = [a + amounts[0] * b for a, b in zip(x, answers, strict=True)]
        inside = [norm_of(second, a) for a in x]
        ahead = [feed_forward(block, a, activation) for a in inside]
        return [a + amounts[1] * b for a, b in zip(x, ahead, strict=True)]
    answers = attention(block, asking, x, heads)
    x = [norm_of(second, a + amounts[0] * b) for a, b in zip(asking, answers, strict=True)]
    return [a + amounts[1] * feed_forward(block, a, activation) for a in x]


def user_of(model: SASRec, history: list[int], options: dict) -> Tensor:
    """The definition, one history at a time."""
    settings = {"norm": "query", "heads": 2, "activation": "relu", "scale": True} | options
    factor = math.sqrt(SMALL["dim"]) if settings["scale"] else 1.0
    last = len(history) - 1
    x = [
        factor * model.table.weight[item] + model.positions.weight[last - step]
        for step, item in enumerate(history)
    ]
    how = {name: settings[name] for name in ("norm", "heads", "activation")}
    for block in model.blocks:
        x = after_block(block, x, **how)
    return x[-1] if settings["norm"] == "post" else norm_of(model.norm, x[-1])


@pytest.mark.parametrize("name", STYLES)
def test_users_by_their_definition(name):
    """Every parameter is drawn, so that none is at a value that hides it."""
    torch.manual_seed(0)
    model = SASRec(N_ITEMS, **SMALL, **STYLES[name]).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.7)
        users = model(padded(HISTORIES, N_ITEMS)).users
        for user, history in zip(users, HISTORIES, strict=True):
            torch.testing.assert_close(
                user, user_of(model, history, STYLES[name]), rtol=1e-9, atol=1e-12
            )


def test_the_original_attention_has_no_layer_over_its_joined_heads():
    model = SASRec(N_ITEMS, **SASRec.PRESETS["original"])
    assert all(isinstance(block.joined, nn.Identity) for block in model.blocks)


# --- where chance enters in training ---


def silent_block(rate: float) -> Block:
    """A block without norms whose sub-layers answer 0 until a test sets a bias."""
    block = Block(4, 2, 4, rate, "pre", "relu", False, True)
    block.norms = nn.ModuleList([nn.Identity(), nn.Identity()])
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.zero_()
    return block.train()


def shares(values: Tensor) -> dict[float, float]:
    found, counts = values.unique(return_counts=True)
    return dict(zip(found.tolist(), (counts / values.numel()).tolist(), strict=True))


def test_the_sum_of_embeddings_is_dropped_out():
    torch.manual_seed(0)
    model = SASRec(N_ITEMS, **SMALL, layers=0, norm="post", dropout=0.0, embedding_dropout=0.25)
    batch = padded([[3, 2]] * 2000, N_ITEMS)
    kept = model.eval()(batch).users / 0.75
    dropped = model.train()(batch).users
    at_zero = dropped == 0
    assert float(at_zero.float().mean()) == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(dropped[~at_zero], kept[~at_zero])


@pytest.mark.parametrize("sub_layer", ["joined", "narrow"])
def test_the_output_of_each_sub_layer_is_dropped_out(sub_layer):
    torch.manual_seed(0)
    block = silent_block(0.25)
    nn.init.ones_(getattr(block, sub_layer).bias)
    assert shares(block(torch.zeros(3000, 1, 4)) * 0.75) == {
        0.0: pytest.approx(0.25, abs=0.02),
        1.0: pytest.approx(0.75, abs=0.02),
    }


def test_the_inside_of_the_feed_forward_layer_is_dropped_out():
    """Before the narrow layer and after it: of a one, the square of 1 - p is left."""
    torch.manual_seed(0)
    block = silent_block(0.5)
    nn.init.ones_(block.widen.bias)
    nn.init.eye_(block.narrow.weight)
    assert shares(block(torch.zeros(3000, 1, 4))) == {
        0.0: pytest.approx(0.75, abs=0.02),
        4.0: pytest.approx(0.25, abs=0.02),
    }


def test_attention_weights_are_dropped_out():
    """A step that sees only itself loses all of a head at once, before its output is dropped."""
    torch.manual_seed(0)
    block = silent_block(0.5)
    block.dropout = nn.Dropout(0.0)
    nn.init.ones_(block.value.bias)
    nn.init.eye_(block.joined.weight)
    heads = block(torch.zeros(3000, 1, 4)).unflatten(-1, (2, 2))
    assert bool((heads[..., 0] == heads[..., 1]).all())
    assert shares(heads[..., 0]) == {
        0.0: pytest.approx(0.5, abs=0.03),
        2.0: pytest.approx(0.5, abs=0.03),
    }


def test_gru4rec_drops_out_its_inputs():
    torch.manual_seed(0)
    model = GRU4Rec(N_ITEMS, dim=8, dropout=0.5)
    seen = []
    model.dropout.register_forward_hook(lambda *call: seen.append(call[2]))
    batch = padded([[3, 2]] * 1000, N_ITEMS)
    model.eval()(batch)
    model.train()(batch)
    whole, dropped = seen
    at_zero = dropped == 0
    assert float(at_zero.float().mean()) == pytest.approx(0.5, abs=0.02)
    torch.testing.assert_close(dropped[~at_zero], 2 * whole[~at_zero])


# --- how they start ---

MANY = 600


def std_of(parameter: Tensor) -> float:
    return float(parameter.detach().double().square().mean().sqrt())


def xavier(rows: int, columns: int) -> float:
    return math.sqrt(2 / (rows + columns))


@pytest.mark.parametrize(("init", "tied"), [("xavier", True), ("xavier", False), ("normal", False),
                                            ("uniform", False)])  # fmt: skip
def test_sasrec_starts_with_matrices_of_the_named_size(init, tied):
    torch.manual_seed(0)
    model = SASRec(MANY, dim=64, length=50, init=init, tied=tied)
    uniform = 1 / math.sqrt(MANY) / math.sqrt(3)
    table = {"xavier": xavier(MANY + 1, 64), "normal": 0.01, "uniform": uniform}[init]
    places = {"xavier": xavier(50, 64), "normal": 0.01, "uniform": uniform}[init]
    layer = 0.01 if init == "normal" else xavier(64, 64)
    assert std_of(model.table.weight[:-1]) == pytest.approx(table, rel=0.05)
    assert std_of(model.positions.weight) == pytest.approx(places, rel=0.05)
    if not tied:
        assert std_of(model.output.vectors) == pytest.approx(table, rel=0.05)
    linear = [module for module in model.blocks.modules() if isinstance(module, nn.Linear)]
    assert len(linear) == 2 * 6
    for module in linear:
        assert std_of(module.weight) == pytest.approx(layer, rel=0.05)
        bias = {"xavier": 0.0, "normal": 0.01, "uniform": 0.1}[init]
        assert std_of(module.bias) == pytest.approx(bias, rel=0.4)


@pytest.mark.parametrize("init", ["xavier", "normal", "gaussian"])
def test_gru4rec_starts_with_matrices_of_the_named_size(init):
    torch.manual_seed(0)
    model = GRU4Rec(MANY, dim=64, hidden=96, init=init)
    table = xavier(MANY + 1, 64) if init == "xavier" else 0.01
    assert std_of(model.table.weight[:-1]) == pytest.approx(table, rel=0.05)
    if init == "xavier":
        assert std_of(model.output.vectors) == pytest.approx(xavier(MANY, 64), rel=0.05)
        for weight, columns in zip(model.gru.all_weights[0][:2], (64, 96), strict=True):
            assert std_of(weight) == pytest.approx(xavier(3 * 96, columns), rel=0.05)
    else:
        assert std_of(model.output.vectors) == pytest.approx(0.01, rel=0.05)
        assert std_of(model.dense.weight) == pytest.approx(0.01, rel=0.05)
        drawn = 0.01 if init == "normal" else 0.0
        assert std_of(model.dense.bias) == pytest.approx(drawn, rel=0.4)


@pytest.mark.parametrize("init", ["xavier", "normal", "uniform"])
def test_the_padding_row_of_sasrec_starts_at_zero(init):
    assert not SASRec(MANY, init=init).table.weight[-1].any()


@pytest.mark.parametrize("init", ["xavier", "normal", "gaussian"])
def test_the_padding_row_of_gru4rec_starts_at_zero(init):
    assert not GRU4Rec(MANY, init=init).table.weight[-1].any()
