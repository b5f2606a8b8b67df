"""The objective puts encoder, target and losses together and adds nothing of its own."""

import pytest
import torch

from messages import refused
from softrec.candidates import Candidates
from softrec.losses.pairwise import bpr
from softrec.losses.reference import plain as plain_pass
from softrec.losses.softmax import decoupled, mixed
from softrec.objective import Objective
from softrec.scoring import Scoring
from softrec.targets.dense import DenseTarget
from softrec.testing import oracles, random_case
from softrec.testing.encoders import padded
from softrec.types import Batch, Encoder, ItemVectors, Vectors

CASE = random_case(0)


class Fixed(Encoder):
    """An encoder whose vectors are given."""

    n_items = 13

    def forward(self, batch, items=None):
        return Vectors(CASE.users, items or self.items())

    def items(self):
        return CASE.items


def source(batch):
    return DenseTarget(CASE.probs)


numbers = torch.arange(len(CASE.label))
BATCH = Batch(numbers[:, None], CASE.label, numbers, numbers)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_towards_a_target(weight):
    value = Objective.towards(source, weight)(Fixed(), BATCH)
    expected = oracles.soft(CASE.table(), CASE.label, CASE.probs, weight)
    assert list(value.parts) == ["soft"]
    torch.testing.assert_close(value.parts["soft"], expected)
    torch.testing.assert_close(value.total, expected.mean())


def test_without_a_target_only_the_label_counts():
    value = Objective()(Fixed(), BATCH)
    expected = oracles.hard(CASE.table(), CASE.label, CASE.probs, 0.0)
    torch.testing.assert_close(value.parts["hard"], expected)


@pytest.mark.parametrize("parts", [mixed(), decoupled(0.7)], ids=["mixed", "decoupled"])
def test_passes_are_interchangeable(parts):
    streamed = Objective(parts, source, 0.4)(Fixed(), BATCH)
    plain = Objective(parts, source, 0.4, shared=plain_pass)(Fixed(), BATCH)
    torch.testing.assert_close(streamed.total, plain.total)
    for name, part in plain.parts.items():
        torch.testing.assert_close(streamed.parts[name], part)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_weights_out_of_range(weight):
    with refused(ValueError):
        Objective(weight=weight)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", ["inner", "cosine", "euclidean"])
def test_one_negative_a_row_by_hand(kind, sparse):
    """The negatives are the items of the candidates, and the labels those of the batch."""
    torch.manual_seed(0)
    users, vectors = torch.randn(4, 3, requires_grad=True), torch.randn(6, 3, requires_grad=True)
    bias = torch.randn(6, requires_grad=True)
    label, negative = torch.tensor([5, 0, 2, 5]), torch.tensor([1, 5, 4, 1])

    class Given(Encoder):
        n_items = 6

        def items(self):
            return ItemVectors(vectors, bias if kind == "inner" else None)

        def forward(self, batch, items=None):
            return Vectors(users, self.items())

    def drawn(batch):
        return Candidates(negative[:, None], torch.ones(1, 1))

    encoder = Given()
    encoder.sparse = sparse
    scoring = Scoring(kind, 0.5)
    batch = padded([[1], [2], [3], [4]], 6)._replace(label=label)
    value = Objective(bpr, candidates=drawn, scoring=scoring)(encoder, batch).total
    table = oracles.logits(scoring.users(users), scoring.items(encoder.items()))
    rows = torch.arange(4)
    expected = -(table[rows, label] - table[rows, negative]).sigmoid().log().mean()
    torch.testing.assert_close(value, expected.to(value.dtype))
    parts = [users, vectors, bias] if kind == "inner" else [users, vectors]
    own, by_hand = (torch.autograd.grad(v, parts, retain_graph=True) for v in (value, expected))
    for one, other in zip(own, by_hand, strict=True):
        torch.testing.assert_close(one.to_dense(), other)
