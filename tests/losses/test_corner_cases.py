"""Rows of a single negative, labels that are no item, derivatives of derivatives."""

import pytest
import torch
from torch.nn import functional as F

from messages import refused
from softrec.candidates import Candidates
from softrec.losses import pairwise
from softrec.losses.gathers import pair_logits
from softrec.losses.reference import plain
from softrec.losses.softmax import TargetAnswers, hard, mixed
from softrec.losses.streaming import streamed
from softrec.objective import Objective
from softrec.targets.smoothing import UniformTarget
from softrec.testing import random_case
from softrec.testing.losses import over_all
from softrec.types import Batch, Encoder, ItemVectors, Vectors

CASE = random_case(0, rows=3, n_items=6)


class Held(Encoder):
    """The vectors of a case, as those of a model."""

    n_items = 6

    def items(self):
        return ItemVectors(CASE.items.vectors)

    def forward(self, batch, items=None):
        return Vectors(CASE.users, items or self.items())


def two_items(batch):
    return Candidates(torch.tensor([1, 4]), torch.ones(2))


def test_one_negative_is_enough_for_pairs():
    """Candidates 1 and 4, labels 4, 1, 4: each row has the other one."""
    label = torch.tensor([4, 1, 4])
    batch = Batch(label[:, None], label, label, label)
    value = Objective(pairwise.bpr, candidates=two_items)(Held(), batch)
    z = CASE.users @ CASE.items.vectors.T
    expected = [-F.logsigmoid(z[row, y] - z[row, 5 - y]) for row, y in enumerate((4, 1, 4))]
    torch.testing.assert_close(value.parts["loss"], torch.stack(expected), rtol=1e-6, atol=1e-6)
    assert (value.parts["loss"] > 0).all()


@pytest.mark.parametrize("softmax", [over_all(plain), over_all(streamed)])
@pytest.mark.parametrize("label", [[2, -3, 5], [2, 7, 1], [0, 6, 1]])
def test_the_label_that_is_no_item_is_named(softmax, label):
    with refused(ValueError):
        softmax(hard(), CASE.users, CASE.items, torch.tensor(label), None, 0.0)


def test_second_derivatives_are_refused_instead_of_lost():
    """Only the part of them that goes through the value itself would be left."""
    users = CASE.users.clone().requires_grad_()
    passes = (
        lambda: over_all(streamed)(mixed(), users, CASE.items, CASE.label, UniformTarget(6), 0.1)
        .total.square(),
        lambda: pair_logits(users, CASE.items.vectors, CASE.label[:, None]).square().sum(),
    )  # fmt: skip
    for value in passes:
        (gradient,) = torch.autograd.grad(value(), users, create_graph=True)
        with refused(RuntimeError):
            gradient.sum().backward()


def test_the_mean_logit_of_all_items():
    answers = TargetAnswers(torch.tensor([0.25]), torch.tensor([0.75]), torch.tensor([2.0]))
    assert answers.expected_logit(torch.tensor([-6.0])).tolist() == [0.25 * -6 + 0.75 * 2]
