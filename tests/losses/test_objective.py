"""The objective puts encoder, target and losses together and adds nothing of its own."""

import pytest
import torch

from messages import refused
from softrec.losses.reference import plain as plain_pass
from softrec.losses.softmax import decoupled, mixed
from softrec.objective import Objective
from softrec.targets.dense import DenseTarget
from softrec.testing import oracles, random_case
from softrec.types import Batch, Encoder, Vectors

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
