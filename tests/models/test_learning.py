"""Backbones learn what there is to learn, towards any target, and nothing from noise."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from messages import refused
from softrec.losses.softmax import decoupled
from softrec.models.caser import Caser
from softrec.models.comirec import ComiRecSA
from softrec.models.gru4rec import GRU4Rec
from softrec.models.sasrec import SASRec
from softrec.objective import Objective
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.testing import (
    best_top1,
    chain,
    check_learns,
    check_learns_nothing_from_noise,
    checkerboard,
    halves,
    noise,
    popular_probabilities,
)
from softrec.types import Encoder, ItemVectors, Vectors

N_ITEMS = 12
SMALL = {"dim": 16, "length": 4, "dropout": 0.0}

BACKBONES = {
    "gru4rec": partial(GRU4Rec, N_ITEMS, dim=16, dropout=0.0),
    "sasrec": partial(SASRec, N_ITEMS, layers=1, **SMALL),
    "sasrec, post-norm": partial(SASRec, N_ITEMS, layers=1, norm="post", tied=False, **SMALL),
}
INTERESTS = {"dim": 16, "length": 4, "interests": 2, "tied": False}
DIALLED = BACKBONES | {
    "caser": partial(Caser, N_ITEMS, **SMALL),
    "comirec": partial(ComiRecSA, N_ITEMS, **INTERESTS),
}
POPULAR = PopularityTarget(popularity(torch.arange(1, N_ITEMS + 1)))
OBJECTIVES = {
    "one-hot": Objective(),
    "uniform": Objective.towards(UniformTarget(N_ITEMS), 0.2),
    "popularity": Objective.towards(POPULAR, 0.2),
    "decoupled": Objective(decoupled(0.7), POPULAR, 0.2),
}


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_certain_next_item_is_learnt(backbone, objective):
    data = chain(N_ITEMS, 600, 4, seed=3)
    check_learns(BACKBONES[backbone], N_ITEMS, OBJECTIVES[objective], data=data, train=400)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", DIALLED)
def test_of_a_random_next_item_all_is_learnt_that_can_be(backbone):
    """Half of the labels are drawn: top-1 on unseen rows is the best possible one but for luck.

    Of a quarter of the rows, or in twice the steps, some learn labels by heart and fall below.
    """
    data = chain(N_ITEMS, 6000, 4, randomness=0.5, seed=3)
    how = {"train": 4000, "best": best_top1(N_ITEMS, 0.5), "slack": 0.0, "steps": 40}
    check_learns(DIALLED[backbone], N_ITEMS, data=data, **how)


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("backbone", ["gru4rec", "sasrec"])
def test_nothing_is_learnt_from_noise(backbone, objective):
    check_learns_nothing_from_noise(BACKBONES[backbone], N_ITEMS, OBJECTIVES[objective])


# --- the contract itself ---


class Cheat(Encoder):
    """Reads the label it is to predict."""

    n_items = N_ITEMS

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, batch, items=None):
        return Vectors(self.scale * F.one_hot(batch.label, N_ITEMS).float(), items or self.items())

    def items(self):
        return ItemVectors(torch.eye(N_ITEMS))


def test_who_sees_the_labels_is_found_out():
    half = chain(N_ITEMS, 1000, 4, randomness=0.5, seed=3)
    with refused(AssertionError):
        check_learns(Cheat, N_ITEMS, data=half, best=best_top1(N_ITEMS, 0.5))
    with refused(AssertionError):
        check_learns_nothing_from_noise(Cheat, N_ITEMS)


@pytest.mark.slow
def test_who_learns_nothing_is_found_out():
    make = BACKBONES["gru4rec"]
    with refused(AssertionError):
        check_learns(make, N_ITEMS, steps=0)
    random = noise(N_ITEMS, 1000, 4, seed=5)
    with refused(AssertionError):
        check_learns(make, N_ITEMS, data=random, best=best_top1(N_ITEMS, 0.5))


@pytest.mark.parametrize("randomness", [0.0, 0.3, 1.0])
def test_the_dial_of_a_chain(randomness):
    """How often the most frequent label follows each last item, on many rows."""
    data = chain(N_ITEMS, 60_000, 2, randomness=randomness, seed=1)
    table = torch.zeros(N_ITEMS, N_ITEMS).index_put_(
        (data.history[:, -1], data.label), torch.ones(()), accumulate=True
    )
    found = table.amax(1).sum().item() / 60_000
    assert found == pytest.approx(1 - randomness + randomness / 12, abs=0.01)


@pytest.mark.parametrize("draw", [chain, checkerboard, noise])
def test_times_increase_and_change_nothing_else(draw):
    plain, timed = (draw(N_ITEMS, 50, 4, seed=2, times=times) for times in (False, True))
    assert plain.time is None
    assert torch.equal(plain.history, timed.history)
    assert torch.equal(plain.label, timed.label)
    real = timed.history[:, 1:] != N_ITEMS
    assert (timed.time.diff()[real] > 0).all()
    assert (timed.time[timed.history == N_ITEMS] == 0).all()
    for part, rest in zip(halves(timed, 20), (slice(20), slice(20, None)), strict=True):
        for cut, whole in zip(part, timed, strict=True):
            assert cut is whole is None or torch.equal(cut, whole[rest])


def test_users_come_in_turn():
    board = checkerboard(N_ITEMS, 100, 4, users=5, seed=2)
    for data in (board, noise(N_ITEMS, 100, 4, users=5, seed=2)):
        assert data.user.tolist() == [0, 1, 2, 3, 4] * 20
    assert torch.equal(board.label % 2, board.user % 2)
    for labels in board.label.reshape(20, 5).T:  # of each user: every item once, then again
        for first in (0, 6, 12):
            assert len(labels[first : first + 6].unique()) == 6
    real = board.history != N_ITEMS
    assert torch.equal((board.history % 2)[real], (board.user[:, None] % 2).expand(-1, 4)[real])
    assert real.sum(1).unique().tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "call",
    [
        partial(chain, 5, 10, 3, randomness=1.5, seed=0),
        partial(checkerboard, 5, 10, 3, seed=0),
        partial(halves, chain(5, 10, 3, seed=0), 10),
    ],
)
def test_arguments_that_do_not_fit(call):
    with refused(ValueError):
        call()


def test_shares_of_noise():
    assert popular_probabilities(4).tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
