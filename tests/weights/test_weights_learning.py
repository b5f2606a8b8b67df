"""What a model learns with weights, where the best distribution over the items is known."""

import numpy as np
import pytest
import torch

from softrec.data.batches import examples, training_batch
from softrec.data.interactions import Sequences
from softrec.models.mf import MF
from softrec.objective import Objective
from softrec.scoring import Scoring
from softrec.testing import trained
from softrec.types import Encoder, ItemVectors, Vectors
from softrec.weights import AtRank, OfContexts, OfLabels, RecencySettings, of_labels
from softrec.weights.slatk import SlatkWeights
from softrec.weights.thresholds import Thresholds

COUNTS = np.array([32, 16, 8, 4, 2, 1])


class Popular(Encoder):
    """One number for each item, so that softmax losses fit the frequencies of the labels."""

    def __init__(self):
        super().__init__()
        self.n_items = len(COUNTS)
        self.weight = torch.nn.Parameter(torch.zeros(self.n_items, 1))

    def items(self):
        return ItemVectors(self.weight)

    def forward(self, batch, items=None):
        return Vectors(self.weight.new_ones(len(batch.label), 1), items or self.items())


def learned(weights):
    """The distribution that is learned of one user, who took the items in turns."""
    taken = np.random.default_rng(0).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))
    data = examples(Sequences.of([taken]), "interactions", 1)
    batch = training_batch(data, np.arange(len(data)), len(COUNTS))
    objective = Objective(weights=weights(data))
    model = trained(Popular, batch, objective, steps=300, lr=0.1)
    return model.weight.detach()[:, 0].softmax(0).numpy(), taken


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_inverse_propensity_raises_the_rare_items(power):
    """p_i = n_i^(1 - power) / sum: at power 1 all items are alike."""
    table = of_labels(torch.from_numpy(COUNTS).double(), power, clip=1e9)
    found, _ = learned(lambda data: OfLabels(table))
    expected = COUNTS ** (1 - power)
    np.testing.assert_allclose(found, expected / expected.sum(), atol=2e-3)


def test_recency_learns_what_was_taken_of_late():
    class Training:
        pass

    def weights(data):
        training = Training()
        training.data = data
        source = RecencySettings(by="events", half_life=5.0).build(training)
        assert isinstance(source, OfContexts)
        return source

    found, taken = learned(weights)
    old = np.arange(len(taken))[::-1]
    expected = np.bincount(taken, weights=0.5 ** (old / 5.0), minlength=len(COUNTS))
    np.testing.assert_allclose(found, expected / expected.sum(), atol=2e-3)


def test_labels_far_below_the_border_are_given_up():
    """One user of width 1: three labels on one side, and one on the other side.

    Without weights the vector is a compromise, where the mean side of the softmax is that of the
    labels, 1/2. With sharp weights the label below the border of the list of three adds nothing:
    the vector goes on towards the three.
    """
    lists = [[0, 1, 2, 3]]
    data = examples(Sequences.of(lists), "interactions", 1)
    batch = training_batch(data, np.arange(4), 8)

    def make():
        model = MF(8, n_users=1, dim=1)
        with torch.no_grad():  # items 0 to 2 and 4 to 6 are on one side, 3 and 7 on the other
            side = torch.tensor([1.0, 1.0, 1.0, -1.0, 0.5, 0.5, 0.5, -0.5])
            model.item_table.weight.copy_(side[:, None])
            model.item_table.weight.requires_grad_(False)
            model.user_table.weight.fill_(0.5)
        return model

    def length(weights):
        model = trained(make, batch, Objective(weights=weights), steps=400, lr=0.05)
        return float(model.user_table.weight.detach())

    plain, side = length(None), make().item_table.weight[:, 0]
    assert float((side * (plain * side).softmax(0)).sum()) == pytest.approx(0.5, abs=1e-3)
    source = SlatkWeights(
        Thresholds(data, 1, "user", Scoring(), rank=3, every=1), 0.05, gradient=False
    )
    source.begin_epoch(make(), 0)
    weigh = source(batch)
    assert isinstance(weigh, AtRank)
    torch.testing.assert_close(weigh.threshold, torch.full((4,), 0.5))
    sharp = length(source)
    assert sharp > 2 * plain > 0
