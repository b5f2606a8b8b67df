"""Backbones learn what there is to learn, towards any target, and nothing from noise."""

import pytest
import torch

from softrec.losses.softmax import decoupled
from softrec.models.gru4rec import GRU4Rec
from softrec.models.sasrec import SASRec
from softrec.objective import Objective
from softrec.retrieval import rank_of
from softrec.targets.smoothing import PopularityTarget, UniformTarget, popularity
from softrec.types import Batch

N_ITEMS = 12
LENGTH = 4

BACKBONES = {
    "gru4rec": lambda: GRU4Rec(N_ITEMS, dim=16, dropout=0.0),
    "sasrec": lambda: SASRec(N_ITEMS, dim=16, length=LENGTH, layers=1, dropout=0.0),
    "sasrec, post-norm": lambda: SASRec(
        N_ITEMS, dim=16, length=LENGTH, layers=1, dropout=0.0, norm="post", tied=False
    ),
}
POPULAR = PopularityTarget(popularity(torch.arange(1, N_ITEMS + 1)))
OBJECTIVES = {
    "one-hot": Objective(),
    "uniform": Objective.towards(UniformTarget(N_ITEMS), 0.2),
    "popularity": Objective.towards(POPULAR, 0.2),
    "decoupled": Objective(decoupled(0.7), POPULAR, 0.2),
}


def batch_of(history, label):
    numbers = torch.arange(len(label))
    return Batch(history, label, numbers, numbers)


def trained(backbone, objective, batch, steps):
    torch.manual_seed(0)
    model = BACKBONES[backbone]()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        OBJECTIVES[objective](model, batch).total.backward()
        optimiser.step()
    return model.eval()


def ranks(model, batch):
    with torch.no_grad():
        return rank_of(model.users(batch), model.items(), batch.label)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_certain_next_item_is_learnt(backbone, objective):
    """The next item is a permutation of the last: top-1 is exact on histories never seen."""
    generator = torch.Generator().manual_seed(3)
    after = torch.randperm(N_ITEMS, generator=generator)
    history = torch.randint(N_ITEMS, (400, LENGTH), generator=generator)
    batch = batch_of(history, after[history[:, -1]])
    train, test = (Batch(*(x[part] for x in batch[:4])) for part in (slice(200), slice(200, 400)))
    model = trained(backbone, objective, train, steps=80)
    assert (ranks(model, test) == 1).float().mean() >= 0.99


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("backbone", ["gru4rec", "sasrec"])
def test_nothing_is_learnt_from_noise(backbone, objective):
    """Labels do not depend on the history: no ranking beats popularity but by luck."""
    generator = torch.Generator().manual_seed(4)
    shares = POPULAR.probs
    history = torch.randint(N_ITEMS, (5000, LENGTH), generator=generator)
    label = torch.multinomial(shares, 5000, replacement=True, generator=generator)
    train = batch_of(history[:1000], label[:1000])
    test = batch_of(history[1000:], label[1000:])
    found = ranks(trained(backbone, objective, train, steps=40), test).double()
    best = 1 + (shares[None] > shares[test.label][:, None]).sum(1).double()
    for metric in (lambda r: 1 / r, lambda r: (r == 1).double(), lambda r: (r <= 3).double()):
        gain = metric(found) - metric(best)
        luck = 3 * gain.std() / len(gain) ** 0.5 + 1e-12
        assert gain.mean() <= luck
