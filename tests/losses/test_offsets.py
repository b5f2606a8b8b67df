"""Offsets of the logits: the same as a softmax over a table of logits with the numbers added."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.candidates import Candidates
from softrec.experiments.build.data import load_split
from softrec.experiments.build.objective import build
from softrec.losses.bilateral import grouped_label
from softrec.losses.pairwise import bpr
from softrec.losses.reference import plain
from softrec.losses.softmax import SoftmaxProblem, SoftTarget, decoupled, hard, mixed
from softrec.losses.streaming import streamed
from softrec.objective import Objective
from softrec.recipe.recipe import read_recipe
from softrec.retrieval import Seen, rank_of, top_k
from softrec.targets.dense import DenseTarget
from softrec.types import Batch, Encoder, ItemVectors, Offset, OffsetScores, Products, Vectors

N, D = 23, 3


def sparse_of(table):
    rows, items = table.nonzero().T
    counts = torch.bincount(rows, minlength=len(table))
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    return Offset(starts, items, table[rows, items])


class Given(Encoder):
    """Its vectors and offsets are given."""

    def __init__(self, users, vectors, bias, table):
        super().__init__()
        self.n_items = len(vectors)
        self.parts = [torch.nn.Parameter(part) for part in (users, vectors, bias)]
        self.offset = sparse_of(table)

    def items(self):
        return ItemVectors(*self.parts[1:])

    def forward(self, batch, items=None):
        return Vectors(self.parts[0], items or self.items(), offset=self.offset)


@st.composite
def cases(draw):
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    p = draw(st.integers(1, 9))
    share = draw(st.sampled_from([0.0, 0.2, 1.0]))  # of the items with an offset
    table = normal(p, N) * draw(st.sampled_from([1.0, 40.0]))
    table = table * (torch.rand(p, N, generator=generator) < share)
    label = torch.randint(N, (p,), generator=generator)
    return (
        Given(normal(p, D), normal(N, D), normal(N), table),
        table,
        label,
        normal(p, N).softmax(1),
    )


def batch_of(label):
    return Batch(label[:, None], label, label, label)


def oracle(encoder, table, label, probs, weight):
    """Return the gradients of the cross-entropy with a mixed label, from the whole table."""
    users, vectors, bias = encoder.parts
    q = (1 - weight) * torch.nn.functional.one_hot(label, N).double() + weight * probs
    logits = users @ vectors.T + bias + table
    loss = -(q * logits.log_softmax(1)).sum(1).mean()
    return loss, torch.autograd.grad(loss, encoder.parts)


def every_item(label, shape):
    """Return all items as candidates, which are sampled neither too often nor too rarely."""
    items = torch.arange(N).expand(shape) if shape else torch.arange(N)
    counts = torch.ones(items.shape, dtype=torch.float64)
    if shape:
        counts = counts.scatter(1, label[:, None], 0.0)
        return Candidates(items, counts)
    return Candidates(items, counts, None, torch.zeros(len(label)))


@given(cases(), st.sampled_from(["full", "batch", "row"]), st.sampled_from([0.0, 0.4, 1.0]))
def test_gradients_are_those_of_the_whole_table(case, candidates, weight):
    encoder, table, label, probs = case
    source = {
        "full": None,
        "batch": lambda batch: every_item(batch.label, ()),
        "row": lambda batch: every_item(batch.label, (len(batch.label), N)),
    }[candidates]
    objective = Objective(
        mixed(), lambda batch: DenseTarget(probs), weight, source, shared=streamed
    )
    value = objective(encoder, batch_of(label)).total
    found = torch.autograd.grad(value, encoder.parts)
    loss, expected = oracle(encoder, table, label, probs, weight)
    for own, other in zip(found, expected, strict=True):
        torch.testing.assert_close(own, other, atol=1e-9, rtol=1e-9)
    if not weight:  # with a target a constant is left out
        torch.testing.assert_close(value, loss, atol=1e-9, rtol=1e-9)


@given(cases(), st.sampled_from([hard(), mixed(), decoupled(0.3)]), st.integers(1, 4))
def test_the_streamed_pass_equals_its_reference(case, loss, rows):
    encoder, table, label, probs = case
    users, vectors, bias = encoder.parts
    offset = sparse_of(table)
    own = table.gather(1, label[:, None])[:, 0]
    problem = SoftmaxProblem(
        users, ItemVectors(vectors, bias), label, offset=offset, label_offset=own
    )
    soft = SoftTarget(DenseTarget(probs), label)
    fast, slow = streamed(problem, loss, soft, 0.3, rows=rows), plain(problem, loss, soft, 0.3)
    for name, part in slow.parts.items():
        torch.testing.assert_close(fast.parts[name], part, atol=1e-9, rtol=1e-9)
    for own, other in zip(
        torch.autograd.grad(fast.total, encoder.parts),
        torch.autograd.grad(slow.total, encoder.parts),
        strict=True,
    ):
        torch.testing.assert_close(own, other, atol=1e-9, rtol=1e-9)


@given(cases(), st.integers(1, N))
def test_rankings_are_those_of_the_whole_table(case, k):
    encoder, table, label, _ = case
    users, vectors, bias = (part.detach() for part in encoder.parts)
    scores = OffsetScores(Products(users, ItemVectors(vectors, bias)), sparse_of(table))
    whole = users @ vectors.T + bias + table
    seen = Seen(torch.arange(len(label) + 1), (label + 1) % N)
    masked = whole.scatter(1, ((label + 1) % N)[:, None], -torch.inf)
    ranks = 1 + (masked > masked.gather(1, label[:, None])).sum(1)
    assert torch.equal(rank_of(scores, label, seen), ranks)
    torch.testing.assert_close(top_k(scores, k, seen).scores, masked.topk(k).values)
    some = torch.stack([label, (label + 5) % N], 1)
    torch.testing.assert_close(scores.at(slice(0, len(label)), some), whole.gather(1, some))


@given(cases(), st.integers(0, 4), st.integers(1, 5))
def test_rows_and_items_of_a_sparse_table(case, start, length):
    _, table, _, _ = case
    rows = slice(min(start, len(table) - 1), min(start + length, len(table)))
    offset = sparse_of(table)
    assert torch.equal(offset.add(rows, torch.zeros_like(table[rows])), table[rows])
    kept = torch.arange(0, N, 2)
    places = torch.full((N,), -1).scatter(0, kept, torch.arange(len(kept)))
    some = offset.among(places).add(slice(0, len(table)), table.new_zeros(len(table), len(kept)))
    assert torch.equal(some, table[:, kept])


def test_what_is_refused():
    encoder = Given(torch.ones(1, D), torch.ones(N, D), torch.ones(N), torch.ones(1, N))
    label = torch.tensor([1])
    with refused(ValueError):
        Objective(bpr)(encoder, batch_of(label))
    problem = SoftmaxProblem(encoder.parts[0], encoder.items(), label, offset=encoder.offset)
    with refused(ValueError):
        streamed(problem, hard())
    with refused(ValueError):
        streamed(problem._replace(label_offset=torch.ones(2)), hard())


@pytest.mark.parametrize("shape", [(), (1, N)])
def test_pairwise_losses_of_samples_refuse_an_offset(shape):
    encoder = Given(torch.ones(1, D), torch.ones(N, D), torch.ones(N), torch.ones(1, N))
    label = torch.tensor([1])
    source = lambda batch: every_item(batch.label, shape)  # noqa: E731
    with refused(ValueError):
        Objective(bpr, candidates=source)(encoder, batch_of(label))


def test_the_part_of_the_positives_has_the_offset_too():
    """BSL's other forms have a term of the positives alone, whose logits are those of the model."""
    shop = {"n_items": 30, "n_categories": 4, "n_archetypes": 4, "n_users": 40, "max_length": 12}
    recipe = read_recipe({
        "data": {"source": "shop", "cold_items": "keep", "shop": shop}, "prior": {"folds": 2},
        "model": {"name": "sasrec", "dim": 8, "dropout": 0.0},
        "loss": {"name": "bsl", "mode": "multi", "score": "inner", "score_temperature": 1.0,
                 "exponent": 1.0},
        "training": {"length": 5, "windows": "prefixes", "batch_size": 64},
    })  # fmt: skip
    encoder, objective, batches = build(recipe, load_split(recipe.data))
    batch = next(iter(batches))
    vectors = encoder(batch)
    logits = vectors.users @ vectors.items.vectors.T
    if vectors.items.bias is not None:
        logits = logits + vectors.items.bias
    logits = vectors.offset.add(slice(0, len(batch.label)), logits)
    label = batch.label[:, None]
    rest = logits.scatter(1, label, -torch.inf).logsumexp(1)
    of_positives = grouped_label(logits.gather(1, label)[:, 0], batch.prediction_user)
    torch.testing.assert_close(objective(encoder, batch).total, (rest + of_positives).mean())
