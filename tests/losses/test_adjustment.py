"""Logit adjustment: a number for each item in training, and no other ranking."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from messages import refused
from softrec.candidates import InBatch, RowDraws, SharedUniform
from softrec.losses.adjustment import logit_adjustment
from softrec.losses.reference import plain
from softrec.losses.softmax import decoupled, hard, mixed
from softrec.losses.streaming import streamed
from softrec.models.gru4rec import GRU4Rec
from softrec.models.mf import MF
from softrec.objective import Objective
from softrec.scoring import Logits, Scoring
from softrec.targets.dense import DenseTarget
from softrec.training.optimizers import mark_sparse
from softrec.types import Batch, Encoder, ItemVectors, Vectors

N, P, D = 13, 6, 3
COUNTS = torch.tensor([40, 0, 3, 9, 1, 27, 2, 2, 5, 1, 0, 8, 64])
LABEL = torch.tensor([0, 5, 12, 1, 3, 5])
BATCH = Batch(LABEL[:, None], LABEL, torch.arange(P), torch.tensor([0, 1, 2, 0, 3, 1]))
SCORINGS = [Scoring(), Scoring("cosine", 0.2), Scoring("euclidean", 0.5)]
CANDIDATES = {"full": None, "shared": SharedUniform(N, 6), "rows": RowDraws(N, 5),
              "one a row": RowDraws(N, 1), "in-batch": InBatch()}  # fmt: skip


def normal(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


class Given(Encoder):
    """Its vectors are given."""

    def __init__(self, bias=None):
        super().__init__()
        self.n_items = N
        self.parts = [torch.nn.Parameter(part) for part in (normal(P, D), normal(N, D, seed=1))]
        self.bias = bias

    def items(self):
        return ItemVectors(self.parts[1], self.bias)

    def forward(self, batch, items=None):
        return Vectors(self.parts[0], items or self.items())


def test_by_hand():
    found = logit_adjustment(torch.tensor([3.0, 0.0, 5.0]), 2.0, smoothing=0.5)
    expected = 2 * (torch.tensor([3.5, 0.5, 5.5]) / 9.5).log()
    torch.testing.assert_close(found, expected)
    assert torch.equal(logit_adjustment(COUNTS, 0.0), torch.zeros(N))


@pytest.mark.parametrize("wrong", [{"strength": float("nan")}, {"strength": 1.0, "smoothing": 0.0}])
def test_what_is_refused(wrong):
    with refused(ValueError):
        logit_adjustment(COUNTS, **wrong)


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("shared", [streamed, plain])
@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_is_cross_entropy_with_the_adjusted_softmax(scoring, shared, weight):
    """From the whole table in float64; the temperature divides scores and not the adjustment."""
    encoder, probs = Given(), normal(P, N, seed=3).softmax(1)
    added = logit_adjustment(COUNTS, 0.8).double()
    objective = Objective(mixed(), lambda _: DenseTarget(probs), weight, scoring=scoring,
                          adjustment=added, shared=shared)  # fmt: skip
    value = objective(encoder, BATCH)
    users, items = encoder.parts
    if scoring.kind == "cosine":
        users, items = F.normalize(users, dim=1), F.normalize(items, dim=1)
    z = users @ items.T
    if scoring.kind == "euclidean":
        users, items = (v / v.norm(dim=1, keepdim=True).clamp(min=1) for v in (users, items))
        z = -(users[:, None] - items[None]).square().sum(2)
    z = z / scoring.temperature + added
    q = (1 - weight) * F.one_hot(LABEL, N) + weight * probs
    expected = -(q * z.log_softmax(1)).sum(1)
    torch.testing.assert_close(value.parts["soft"], expected)
    mine = torch.autograd.grad(value.total, encoder.parts)
    theirs = torch.autograd.grad(expected.mean(), encoder.parts)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", CANDIDATES)
@pytest.mark.parametrize("loss", [hard(), mixed(), decoupled(0.3)], ids=["hard", "mixed", "split"])
def test_is_a_bias_without_a_gradient(name, loss):
    """Inner products: the same as a model with this bias, for all candidates."""
    soft = loss.names != ["hard"]
    made = {"loss": loss, "candidates": CANDIDATES[name]}
    if soft:
        made |= {"source": lambda _: DenseTarget(normal(P, N, seed=4).softmax(1)), "weight": 0.4}
    added, own = logit_adjustment(COUNTS, 1.3).double(), normal(N, seed=5)
    found = []
    for bias, adjustment in ((own, added), (own + added, None), (added, None), (None, added)):
        encoder = Given(bias)
        torch.manual_seed(7)
        value = Objective(**made, adjustment=adjustment)(encoder, BATCH).total
        found.append([value, *torch.autograd.grad(value, encoder.parts)])
    for one, other in (found[:2], found[2:]):
        for mine, theirs in zip(one, other, strict=True):
            torch.testing.assert_close(mine, theirs)
    assert not torch.allclose(found[0][1], found[2][1])


@pytest.mark.parametrize("name", ["shared", "rows", "one a row", "in-batch"])
def test_sparse_gradients_are_the_dense_ones(name):
    found = []
    for sparse in (False, True):
        torch.manual_seed(0)
        encoder = MF(N, n_users=4, dim=3, output_bias=True)
        if sparse:
            mark_sparse(encoder)
        objective = Objective(candidates=CANDIDATES[name], adjustment=logit_adjustment(COUNTS, 1.0))
        torch.manual_seed(7)
        objective(encoder, BATCH).total.backward()
        found.append([part.grad.to_dense() for part in encoder.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@given(st.integers(0, 2**31), st.floats(-2, 2))
def test_a_constant_changes_nothing(seed, strength):
    """So the counts may have any scale, apart from the smoothing."""
    counts = torch.randint(1, 100, (N,), generator=torch.Generator().manual_seed(seed))
    few, many = (logit_adjustment(factor * counts, strength, factor) for factor in (1, 1000))
    torch.testing.assert_close(few, many)
    values = [Objective(adjustment=few.double() + shift)(Given(), BATCH).total for shift in (0, 9)]
    torch.testing.assert_close(*values)


@pytest.mark.slow
@pytest.mark.parametrize(("strength", "power"), [(0.0, 1.0), (1.0, 0.0), (-1.0, 2.0), (0.5, 0.5)])
def test_the_ranking_loses_as_much_popularity(strength, power):
    """Labels that depend on nothing: softmax(z) becomes p^(1 - t)."""
    torch.manual_seed(0)
    encoder = GRU4Rec(N, dim=4, dropout=0.0)
    counts = COUNTS.double().clamp(min=1)
    label = torch.arange(N).repeat_interleave(counts.long())
    some = torch.zeros(len(label), dtype=torch.int64)
    batch = Batch(some[:, None], label, some, some)
    added = logit_adjustment(counts, strength, smoothing=1e-9)
    objective = Objective(adjustment=added)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 600)
        optimizer.zero_grad()
        objective(encoder, batch).total.backward()
        optimizer.step()
    with torch.no_grad():
        users, (vectors, bias, _), *_ = encoder.eval()(batch)
        found = (users[:1] @ vectors.T + (0 if bias is None else bias)).softmax(1)[0].double()
    expected = counts**power / (counts**power).sum()
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0.05)


def test_some_items_have_their_own_numbers():
    """Of items chosen by number, and of a range, as a shard of the catalogue is."""
    added, vectors = logit_adjustment(COUNTS, 1.0), torch.ones(N, 2)
    logits = Logits(Scoring(temperature=2.0), added)
    some = torch.tensor([4, 0, 4])
    for chosen in (some, slice(3, 9)):
        found = logits.items(ItemVectors(vectors[chosen], torch.ones(N)[chosen]), chosen)
        torch.testing.assert_close(found.bias, 0.5 + added[chosen])
