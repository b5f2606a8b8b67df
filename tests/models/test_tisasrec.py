"""TiSASRec: contract, formulas, intervals and their unit, memory, learning."""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from messages import refused
from softrec.errors import DataError
from softrec.losses.softmax import decoupled
from softrec.models import tisasrec
from softrec.models.histories import ItemTable, aligned
from softrec.models.sasrec import SASRec
from softrec.models.tisasrec import ScoresOfRows, SumOfRows, TiSASRec, intervals
from softrec.objective import Objective
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.targets.sparse import SparseTarget
from softrec.testing import (
    batch_of,
    chain,
    check_encoder,
    check_learns,
    check_learns_nothing_from_noise,
    halves,
    noise,
    ranks,
    trained,
)
from softrec.testing.encoders import at_every_step, padded
from softrec.types import Batch, Encoder, ItemVectors, Vectors

N_ITEMS = 11
SMALL = {"dim": 8, "length": 6}
OPTIONS = {
    "default": {},
    "one head": {"heads": 1, "layers": 1},
    "post": {"norm": "post"},
    "pre": {"norm": "pre"},
    "gelu": {"activation": "gelu", "inner": 16},
    "no scale": {"scale": False},
    "no projection": {"projection": False},
    "few intervals": {"intervals": 3},
    "published unit": {"unit": "published"},
    "own output": {"tied": False, "output_bias": True},
    "uniform": {"init": "uniform"},
    "normal": {"init": "normal"},
}
KEY_BIAS = ("key.bias",)  # adds the same number to all scores of a query: the softmax cancels it
ITEMS = [[1, 2, 3, 4, 5, 6], [7, 8], [9], [2, 2, 10, 1]]
TIMES = [[5, 95, 95, 125, 900, 960], [10, 10], [3], [0, 7, 300_000, 300_100]]


def model_of(seed=0, **options):
    torch.manual_seed(seed)
    return TiSASRec(N_ITEMS, **(SMALL | options)).eval()


def vectors(model, items=ITEMS, times=TIMES):
    with torch.no_grad():
        return model(padded(items, N_ITEMS, times=times)).users


# --- the contract ---

check_timed = partial(check_encoder, n_items=N_ITEMS, unmoved=KEY_BIAS)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_contract(name):
    """Positions count back from the end: a step within a history is not a shorter history."""
    check_timed(partial(TiSASRec, N_ITEMS, **(SMALL | OPTIONS[name])), prefixes=False)


@pytest.mark.parametrize("preset", TiSASRec.PRESETS)
def test_presets(preset):
    check_timed(partial(TiSASRec, N_ITEMS, **TiSASRec.PRESETS[preset]), prefixes=False)


@pytest.mark.parametrize("unit", ["smallest", "published"])
def test_but_for_positions_a_step_is_a_shorter_history(unit):
    """The unit of a step is that of the history up to there, not that of the whole."""

    def without_positions():
        model = TiSASRec(N_ITEMS, unit=unit, **SMALL)
        nn.init.zeros_(model.position_keys.weight)
        nn.init.zeros_(model.position_values.weight)
        return model

    check_timed(without_positions, prefixes=True)


def test_histories_without_times_are_refused():
    assert TiSASRec.needs_times
    with refused(DataError):
        model_of()(padded(ITEMS, N_ITEMS))


@pytest.mark.parametrize(
    "options",
    [
        {"heads": 3},
        {"init": "zeros"},
        {"intervals": 0},
        {"unit": "day"},
        {"length": 5},
    ],
)
def test_options_that_do_not_fit(options):
    with refused(ValueError):
        vectors(model_of(**options))


def test_dropouts_are_off_in_eval_mode_only():
    batch = padded(ITEMS, N_ITEMS, times=TIMES)
    for rate in ("dropout", "embedding_dropout"):
        model = model_of(**({"dropout": 0.0} | {rate: 0.5}))
        assert torch.equal(model(batch).users, model(batch).users)
        model.train()
        assert not torch.equal(model(batch).users, model(batch).users)


def test_attention_weights_are_dropped_and_the_others_raised():
    attend = tisasrec.TimedAttention(
        torch.zeros(1, 400, 400, dtype=torch.int64),
        *(torch.zeros(1, 400, 2) for _ in range(2)),
        *(torch.zeros(2, 2) for _ in range(2)),
    )
    torch.manual_seed(0)
    one = torch.ones(1, 1, 400, 2)
    answers = attend(one, one, one, 0.5, None)[0, 0, 200:]
    assert answers.std() > 0.02
    assert answers.mean() == pytest.approx(1.0, abs=0.02)


# --- the formula, with R as large as L x L x D, in float64 ---


def naive_unit(times, unit):
    differences = [abs(b - a) for a, b in itertools.pairwise(times) if a != b]
    if unit == "published":
        return min([*differences, 65535])
    return min(differences, default=1)


def naive_intervals(times, largest, unit="smallest"):
    """r_ij for j <= i, by the words of its definition."""
    return [
        [min(abs(t - s) // naive_unit(times[: i + 1], unit), largest) for s in times[: i + 1]]
        for i, t in enumerate(times)
    ]


def naive_attention(model, block, asking, asked_of, times):
    length, dim = asking.shape
    width = dim // block.heads
    r = torch.zeros(length, length, dtype=torch.int64)
    for i, row in enumerate(naive_intervals(times, model.largest, model.unit)):
        r[i, : i + 1] = torch.tensor(row)
    places = torch.arange(length - 1, -1, -1)
    q = asking @ block.query.weight.T + block.query.bias
    k = asked_of @ block.key.weight.T + block.key.bias + model.position_keys.weight[places]
    v = asked_of @ block.value.weight.T + block.value.bias + model.position_values.weight[places]
    k = k[None] + model.interval_keys.weight[r]  # (L, L, D)
    v = v[None] + model.interval_values.weight[r]
    out = []
    for i in range(length):
        parts = []
        for head in range(block.heads):
            own = slice(head * width, (head + 1) * width)
            scores = (k[i, : i + 1, own] @ q[i, own]) / width**0.5
            parts.append(scores.softmax(0) @ v[i, : i + 1, own])
        out.append(torch.cat(parts))
    return block.joined(torch.stack(out))


def naive_states(model, items, times):
    x = model.table.weight[torch.tensor(items)] * model.scale
    for block in model.blocks:
        first, second = block.norms

        def feed(y, block=block):
            return block.narrow(block.activation(block.widen(y)))

        attend = partial(naive_attention, model, block, times=times)
        if block.style == "post":
            x = first(x + attend(x, x))
            x = second(x + feed(x))
        elif block.style == "pre":
            x = x + attend(first(x), first(x))
            x = x + feed(second(x))
        else:
            x = second(first(x) + attend(first(x), x))
            x = x + feed(x)
    return model.norm(x)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [1 << 18, 20])
@pytest.mark.parametrize("name", OPTIONS)
def test_values_and_gradients_are_those_of_the_formula(name, numbers, limit):
    limit(intervals=numbers)  # 20: one query at a time
    model = model_of(**OPTIONS[name]).double()
    with torch.no_grad():
        for table in (model.interval_keys, model.interval_values):
            table.weight.mul_(5)  # xavier makes long tables faint
    lengths = [len(row) for row in ITEMS]
    batch = at_every_step(padded(ITEMS, N_ITEMS, times=TIMES), lengths)
    found = model(batch).users
    expected = torch.cat([naive_states(model, *row) for row in zip(ITEMS, TIMES, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    direction = torch.randn_like(expected)
    names, parameters = zip(*model.named_parameters(), strict=True)
    both = [
        torch.autograd.grad((users * direction).sum(), parameters, allow_unused=True)
        for users in (found, expected)
    ]
    for name_of, *gradients in zip(names, *both, strict=True):
        if gradients[1] is not None:  # all but an output table of its own
            torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-11, msg=name_of)


def test_gathered_scores_and_scattered_sums():
    """Against tables that hold a row for each pair; gradients against differences."""
    torch.manual_seed(0)
    heads, queries, length, size, width = 2, 5, 4, 3, 6
    index = torch.randint(size, (queries, length))
    table = torch.randn(heads, size, width, dtype=torch.float64, requires_grad=True)
    x = torch.randn(heads, queries, width, dtype=torch.float64, requires_grad=True)
    shares = torch.randn(heads, queries, length, dtype=torch.float64, requires_grad=True)
    rows = table[:, index]  # (heads, queries, L, d)
    scores = torch.einsum("hqd,hqld->hql", x, rows)
    torch.testing.assert_close(ScoresOfRows.apply(x, table, index), scores)
    sums = torch.einsum("hql,hqld->hqd", shares, rows)
    torch.testing.assert_close(SumOfRows.apply(shares, table, index), sums)
    assert torch.autograd.gradcheck(lambda x, t: ScoresOfRows.apply(x, t, index), (x, table))
    assert torch.autograd.gradcheck(lambda s, t: SumOfRows.apply(s, t, index), (shares, table))


def test_lower_precision():
    """Under autocast the vectors are those of full precision, rounded, and gradients arrive."""
    model = model_of(norm="post")
    with torch.autocast("cpu", torch.bfloat16):
        users = model(padded(ITEMS, N_ITEMS, times=TIMES)).users
    torch.testing.assert_close(users.float(), vectors(model), rtol=0.1, atol=0.1)
    users.float().square().sum().backward()
    assert torch.isfinite(model.interval_keys.weight.grad).all()
    assert (model.interval_values.weight.grad != 0).any()


class Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that an operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for part in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(part, torch.Tensor):
                self.numbers = max(self.numbers, part.numel())
        return out


def test_no_tensor_is_larger_than_plain_attention(limit):
    """Neither pairs times dimensions nor queries times intervals, on both ways."""
    limit(intervals=10_000)
    rows, length, dim, heads, largest = 16, 40, 64, 2, 200
    model = TiSASRec(N_ITEMS, dim=dim, length=length, heads=heads, intervals=largest)
    items = torch.randint(N_ITEMS, (rows, length))
    numbers = torch.arange(rows)
    times = torch.randint(9, (rows, length)).cumsum(1)
    batch = Batch(items, numbers, numbers, numbers, time=times)
    with Largest() as seen:
        model(batch).users.sum().backward()
    attention = rows * heads * length * length
    assert seen.numbers == attention
    assert attention < rows * heads * length * (largest + 1) < rows * length * length * dim


# --- intervals ---


@settings(max_examples=100)
@given(
    st.lists(st.integers(-50, 50) | st.integers(-(10**10), 10**10), min_size=1, max_size=8),
    st.integers(1, 30),
    st.sampled_from(["smallest", "published"]),
)
def test_intervals_are_those_of_the_definition(times, largest, unit):
    found = intervals(torch.tensor([times]), largest, unit)[0]
    for i, row in enumerate(naive_intervals(times, largest, unit)):
        assert found[i, : i + 1].tolist() == row


def test_intervals_counted_by_hand():
    times = torch.tensor([[100, 100, 400, 1000, 1060]])  # units: none, none, 300, 300, 60
    assert intervals(times, 512)[0].tril().tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [3, 3, 2, 0, 0],
        [16, 16, 11, 1, 0],
    ]
    days = torch.tensor([[0, 3 * 65_535, 6 * 65_535]])
    assert intervals(days, 512)[0, 2].tolist() == [2, 1, 0]
    assert intervals(days, 512, "published")[0, 2].tolist() == [6, 3, 0]  # in units of 65535
    assert intervals(days, 5, "published")[0, 2].tolist() == [5, 3, 0]


def test_only_proportions_of_time_count():
    model = model_of()
    other = [[1_600_000_000 + 86_400 * t for t in row] for row in TIMES]
    assert torch.equal(vectors(model, times=other), vectors(model))
    published = model_of(unit="published")
    assert not torch.equal(vectors(published, times=other), vectors(published))


def test_long_intervals_count_as_the_longest():
    model = model_of(intervals=4)

    def after(gap):
        return vectors(model, [[1, 2, 3]], [[0, 10, 10 + gap]])

    assert torch.equal(after(49), after(40))
    assert torch.equal(after(10**9), after(40))
    assert not torch.equal(after(30), after(40))


def test_equal_times_are_no_time_apart():
    model = model_of()
    assert torch.equal(
        vectors(model, [[1, 2, 3]], [[7, 7, 7]]), vectors(model, [[1, 2, 3]], [[0] * 3])
    )
    with torch.no_grad():  # only the rows of 0 are read
        model.interval_keys.weight[1:] = 100.0
        model.interval_values.weight[1:] = 100.0
    changed = vectors(model, [[1, 2, 3]], [[7, 7, 7]])
    assert torch.equal(changed, vectors(model_of(), [[1, 2, 3]], [[7, 7, 7]]))


def test_without_tables_it_is_the_attention_of_sasrec():
    """Positions and intervals zero: SASRec without positions."""
    torch.manual_seed(0)
    timed = TiSASRec(N_ITEMS, **SMALL).eval()
    plain = SASRec(N_ITEMS, **SMALL).eval()
    own = {"position_keys", "position_values", "interval_keys", "interval_values"}
    with torch.no_grad():
        plain.positions.weight.zero_()
        for name in own:
            getattr(timed, name).weight.zero_()
    shared = {k: v for k, v in plain.state_dict().items() if not k.startswith("positions")}
    missing, unexpected = timed.load_state_dict(shared, strict=False)
    assert {name.split(".")[0] for name in missing} == own
    assert not unexpected
    torch.testing.assert_close(vectors(timed), vectors(plain))


# --- a contract that nothing can break proves nothing ---


class Timed(Encoder):
    """An item and the time since the one before, in units: right, or with one fault."""

    needs_times = True

    def __init__(self, fault=""):
        super().__init__()
        self.fault = fault
        self.n_items = N_ITEMS
        self.table = ItemTable(N_ITEMS, 4)
        self.slope = nn.Parameter(torch.randn(4))

    def forward(self, batch, items=None):
        time = batch.time
        if time is None:
            if self.fault != "makes times up":
                raise DataError("no times")
            time = torch.zeros_like(batch.history)
        history, lengths, times = aligned(batch.history, N_ITEMS, time)
        if self.fault == "reads padded columns":
            times = time[:, : history.shape[1]]
        steps = times.diff(dim=1, prepend=times[:, :1])
        if self.fault == "sees the next time":
            steps = F.pad(steps, (0, 1))[:, 1:] * (history != N_ITEMS)
        far = steps.masked_fill(steps <= 0, 10**9)
        unit = far.cummin(1).values
        if self.fault == "one unit for the history":
            unit = far.amin(1, keepdim=True)
        passed = torch.log1p((steps / unit).clamp(min=0).float())
        if self.fault == "ignores times":
            passed = torch.ones_like(passed)
        states = self.table(history) + passed[:, :, None] * self.slope
        if batch.row is None:
            return Vectors(states[torch.arange(len(states)), lengths - 1], items or self.items())
        return Vectors(states[batch.row, batch.step], items or self.items())

    def items(self):
        return ItemVectors(self.table.weight[:-1], None)


def test_a_small_right_encoder_of_times():
    check_encoder(Timed, N_ITEMS)


@pytest.mark.parametrize(
    "fault",
    [
        "ignores times",
        "makes times up",
        "sees the next time",
        "one unit for the history",
        "reads padded columns",
    ],
)
def test_broken_encoders_of_times_are_found(fault):
    with refused(AssertionError):
        check_encoder(partial(Timed, fault), N_ITEMS)


def test_that_times_are_read_must_be_said():
    class Quiet(Timed):
        needs_times = False

    with refused(DataError):
        check_encoder(Quiet, N_ITEMS)


# --- learning ---

CHOICES = 12
LENGTH = 4
POPULAR = PopularityTarget(popularity(torch.arange(1, CHOICES + 1)))


def neighbours(batch):
    """The two items beside the label: a sparse target."""
    items = torch.stack([batch.label - 1, batch.label + 1], 1) % CHOICES
    return SparseTarget(items, torch.full(items.shape, 0.5))


OBJECTIVES = {
    "one-hot": Objective(),
    "uniform": Objective.towards(UniformTarget(CHOICES), 0.2),
    "popularity": Objective.towards(POPULAR, 0.2),
    "sparse": Objective.towards(neighbours, 0.2),
    "decoupled": Objective(decoupled(0.7), POPULAR, 0.2),
}
SMALL_TIMED = partial(TiSASRec, CHOICES, dim=16, length=LENGTH, layers=1, intervals=16, dropout=0.0)
SMALL_PLAIN = partial(SASRec, CHOICES, dim=16, length=LENGTH, layers=1, dropout=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_markov_chain_is_learnt(objective):
    data = chain(CHOICES, 500, LENGTH, seed=3, times=True)
    check_learns(SMALL_TIMED, CHOICES, OBJECTIVES[objective], data=data, train=300)


def only_time_tells():
    """Items are noise; how long ago the last but one was taken, in units, names the next."""
    generator = torch.Generator().manual_seed(5)
    history = torch.randint(CHOICES, (1000, LENGTH), generator=generator)
    wait = torch.randint(1, 7, (1000, 1), generator=generator)
    unit = torch.tensor([1, 60, 86_400])[torch.randint(3, (1000, 1), generator=generator)]
    start, one = torch.zeros_like(wait), torch.ones_like(wait)
    time = 10**9 + unit * torch.cat([start, one, one, wait], 1).cumsum(1)
    return batch_of(history, wait[:, 0], time=time)


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_only_time_tells_is_learnt(objective):
    check_learns(SMALL_TIMED, CHOICES, OBJECTIVES[objective], data=only_time_tells(), train=600)


@pytest.mark.slow
def test_what_only_time_tells_is_hidden_from_sasrec():
    """It cannot beat guessing one of six but by luck."""
    train, test = halves(only_time_tells(), 600)
    found = (ranks(trained(SMALL_PLAIN, train), test) == 1).double()
    assert found.mean() <= 1 / 6 + 3 * (5 / 36 / len(found)) ** 0.5


@pytest.mark.slow
def test_a_start_from_small_numbers_does_not_drown_the_intervals():
    make = partial(TiSASRec, CHOICES, **TiSASRec.PRESETS["timirec"])
    check_learns(make, CHOICES, data=only_time_tells(), train=600, steps=40, slack=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_is_learnt_from_noise(objective):
    """Labels depend on neither items nor times."""
    data = noise(CHOICES, 5000, LENGTH, seed=4, times=True)
    check_learns_nothing_from_noise(SMALL_TIMED, CHOICES, OBJECTIVES[objective], data=data)
