"""The contracts name the simplest thing that is wrong first: a shape, or a number that is none."""

import pytest
import torch

from messages import refused
from softrec.losses.softmax import soft_cross_entropy
from softrec.models.gru4rec import GRU4Rec
from softrec.targets import DenseTarget
from softrec.testing import (
    check_encoder,
    check_loss,
    check_scorer,
    check_softmax,
    check_target,
    oracles,
)
from softrec.types import ItemVectors, Products, Scorer, Vectors

N = 12


def test_a_target_that_is_no_number():
    table = torch.full((3, N), 1 / N)
    table[1, 2] = torch.nan
    with refused(AssertionError):
        check_target(DenseTarget(table), N, 3)


class Empty(GRU4Rec):
    """Users of which a number is NaN."""

    def forward(self, batch, items=None):
        vectors = super().forward(batch, items)
        return Vectors(vectors.users * torch.nan, vectors.items)


def test_an_encoder_that_gives_no_number():
    with refused(AssertionError):
        check_encoder(lambda: Empty(N, dim=4), N)


LOSSES = {
    "a scalar": lambda values: values.mean(),
    "a column": lambda values: values[:, None],
    "not a number": lambda values: values * torch.nan,
}


@pytest.mark.parametrize("wrong", LOSSES)
def test_a_loss_without_a_number_for_each_example(wrong):
    def own(stats, answers, weight):
        return LOSSES[wrong](soft_cross_entropy(stats, answers, weight))

    with refused(AssertionError):
        check_loss(own, oracles.soft)
    with pytest.raises(AssertionError):
        check_softmax({"own": (own, 1.0)}, 0.3)


class Counts(Scorer):
    """Counts of items, where the last ones may have none."""

    def __init__(self, least):
        super().__init__()
        self.n_items, self.least = N, least
        self.register_buffer("counts", torch.empty(0))

    def fit(self, events):
        self.counts = events.items.bincount(minlength=self.least).float()

    def forward(self, batch):
        return Products(torch.ones(len(batch.label), 1), ItemVectors(self.counts[:, None]))


class Table(Counts):
    """Scores that are no Scores."""

    def forward(self, batch):
        return torch.ones(len(batch.label), N)


def test_a_scorer_that_forgets_items_without_events():
    check_scorer(lambda: Counts(N), N)
    with refused(AssertionError):
        check_scorer(lambda: Counts(0), N)


def test_a_scorer_that_gives_a_tensor():
    with refused(AssertionError):
        check_scorer(lambda: Table(N), N)
