"""What an example weighs: worked out by hand, by loops and from whole tables."""

import numpy as np
import pytest
import torch

from messages import refused
from softrec.data.batches import examples, training_batch
from softrec.data.interactions import Sequences
from softrec.errors import RecipeError
from softrec.models.mf import MF
from softrec.models.sasrec import SASRec
from softrec.scoring import Scoring
from softrec.types import Batch
from softrec.weights import (
    AtRank,
    InversePropensitySettings,
    OfContexts,
    RecencySettings,
    Thresholds,
    of_labels,
)

LISTS = [[0, 1, 2, 3], [4, 1], [2], [5, 5, 1, 0, 6, 2]]
LOG = Sequences.of(LISTS)
N = 7


def batches_of(data, size=2, side="right"):
    for begin in range(0, len(data), size):
        chosen = np.arange(begin, min(begin + size, len(data)))
        yield training_batch(data, chosen, N, side)


def test_rare_labels_weigh_more():
    counts = torch.tensor([1.0, 4.0, 0.0, 100.0])
    plain = of_labels(counts, 0.5, clip=1e9)
    torch.testing.assert_close(plain / plain[0], torch.tensor([1.0, 0.5, 1.0, 0.1]))
    assert float((plain * counts).sum() / counts.sum()) == pytest.approx(1)
    assert torch.equal(of_labels(counts, 0.0, 10.0), torch.ones(4))
    whole = of_labels(counts, 1.0, clip=1e9) * counts  # all that are labels weigh the same
    torch.testing.assert_close(whole[[0, 1, 3]], torch.full((3,), 35.0))


def test_large_weights_are_clipped():
    counts = torch.tensor([1.0, 9.0, 90.0])
    raw = 1 / counts
    raw = raw / ((raw * counts).sum() / counts.sum())
    assert raw[0] > 5
    expected = raw.clamp(max=5.0)
    expected = expected / ((expected * counts).sum() / counts.sum())
    torch.testing.assert_close(of_labels(counts, 1.0, 5.0), expected)


class Training:
    """What weights read of the training part."""

    def __init__(self, data):
        self.data = data

    @property
    def label_counts(self):
        labels = torch.cat([batch.label for batch in batches_of(self.data)])
        return labels.bincount(minlength=N).double()


@pytest.mark.parametrize("windows", ["last", "positions", "prefixes", "interactions", "sliding"])
def test_inverse_propensity_reads_the_labels_of_the_windows(windows):
    data = examples(LOG, windows, 3)
    source = InversePropensitySettings(power=1.0, clip=1e9).build(Training(data))
    weights = torch.cat([source(b)(b.label, slice(None)) for b in batches_of(data)])
    labels = torch.cat([batch.label for batch in batches_of(data)])
    sums = [float(weights[labels == item].sum()) for item in labels.unique()]
    assert np.allclose(sums, sums[0]), sums
    assert float(weights.mean()) == pytest.approx(1)


@pytest.mark.parametrize("windows", ["positions", "prefixes", "interactions"])
def test_recency_by_events(windows):
    data = examples(LOG, windows, 10)
    source = RecencySettings(by="events", half_life=2.0).build(Training(data))
    first = 0 if windows == "interactions" else 1
    lists = [row for row in LISTS if len(row) > first]
    ages = [len(row) - 1 - place for row in lists for place in range(first, len(row))]
    expected = 0.5 ** (np.array(ages) / 2)
    found = torch.cat([source(b)(b.label, slice(None)) for b in batches_of(data)]).numpy()
    assert np.allclose(found, expected / expected.mean())


def test_recency_by_time():
    times = np.array([10, 20, 30, 110, 50, 60, 90, 10, 10, 20, 30, 40, 60])
    data = examples(Sequences(LOG.offsets, LOG.items, times), "interactions", 4)
    source = RecencySettings(half_life=0.5).build(Training(data))
    expected = 0.25 ** ((110 - times) / 100)
    found = torch.cat([source(b)(b.label, slice(None)) for b in batches_of(data)]).numpy()
    assert np.allclose(found, expected / expected.mean())
    with refused(RecipeError):
        RecencySettings().build(Training(examples(LOG, "last", 4)))


def test_blocks_of_rows_keep_their_weights():
    data = examples(LOG, "positions", 10)
    source = OfContexts(torch.arange(float(data.n_contexts)), data)
    batch = training_batch(data, np.array([2, 0]), N)
    assert source(batch)(batch.label, slice(2, 7)).tolist() == [6.0, 7.0, 8.0, 0.0, 1.0]


# --- scores at a rank ---


def test_weights_at_a_rank_by_hand():
    weigh = AtRank(torch.tensor([0.5, 1.0]), 2.0)
    found = weigh(torch.tensor([2.5, 1.0]), slice(0, 2))
    torch.testing.assert_close(found, torch.tensor([1 / (1 + np.exp(-1.0)), 0.5]).float())


def worked_out(model, scoring, batch, rank):
    """The K-th largest score by sorting the whole table."""
    model = model.eval()
    with torch.no_grad():
        users, items, *_ = model(batch)
        if scoring.kind == "cosine":
            scores = torch.cosine_similarity(users[:, None], items.vectors, dim=-1)
        elif scoring.kind == "euclidean":
            inside = [x / x.norm(dim=1, keepdim=True).clamp(min=1) for x in (users, items.vectors)]
            scores = -(inside[0][:, None] - inside[1]).square().sum(-1)
        else:
            scores = users @ items.vectors.T
        logits = (scores + (0 if items.bias is None else items.bias)) / scoring.temperature
    return logits.sort(1, descending=True).values[:, rank - 1]


SCORINGS = [Scoring(), Scoring("cosine", 0.2), Scoring("euclidean", 2.0)]


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("rank", [1, 3, N])
def test_one_for_each_user(scoring, rank):
    torch.manual_seed(0)
    model = MF(N, n_users=4, dim=3, output_bias=True, dropout=0.5)
    torch.nn.init.normal_(model.bias)
    data = examples(LOG, "interactions", 1)
    source = Thresholds(data, 4, model.reads, scoring, rank=rank, every=3)
    source.begin_epoch(model, 0)
    assert model.training
    for batch in batches_of(data):
        torch.testing.assert_close(source(batch), worked_out(model, scoring, batch, rank))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("windows", ["last", "positions", "prefixes", "sliding"])
def test_one_for_each_context(windows, side):
    torch.manual_seed(0)
    model = SASRec(N, dim=4, length=5, dropout=0.5)
    data, scoring = examples(LOG, windows, 5, stride=2), Scoring("cosine", 0.5)
    source = Thresholds(data, 4, model.reads, scoring, rank=2, every=1, side=side)
    source.begin_epoch(model, 0)
    for batch in batches_of(data, side=side):
        torch.testing.assert_close(source(batch), worked_out(model, scoring, batch, 2))


def test_they_are_renewed_after_some_epochs_and_once():
    torch.manual_seed(0)
    model, scoring = MF(N, n_users=4, dim=3), Scoring()
    data = examples(LOG, "interactions", 1)
    batch = next(batches_of(data, 9))
    source = Thresholds(data, 4, model.reads, scoring, rank=2, every=3)
    seen = {}
    for epoch in range(7):
        source.begin_epoch(model, epoch)
        seen[epoch] = source(batch)
        with torch.no_grad():
            model.user_table.weight.mul_(1.5)
        source.begin_epoch(model, epoch)  # as a resumed training does
        assert torch.equal(source(batch), seen[epoch])
    renewed = [not torch.equal(seen[epoch], seen[epoch - 1]) for epoch in range(1, 7)]
    assert renewed == [False, False, True, False, False, True]
    torch.testing.assert_close(seen[6], 1.5**6 * seen[0])


def test_a_checkpoint_has_them():
    torch.manual_seed(0)
    model, data = MF(N, n_users=4, dim=3), examples(LOG, "interactions", 1)
    first, again = (Thresholds(data, 4, model.reads, Scoring(), rank=2, every=2) for _ in range(2))
    first.begin_epoch(model, 2)
    again.load_state_dict(first.state_dict())
    with torch.no_grad():
        model.user_table.weight.mul_(-1)
    again.begin_epoch(model, 2)
    batch = Batch(torch.full((4, 1), N), *([torch.arange(4)] * 3))
    assert torch.equal(first(batch), again(batch))
    again.begin_epoch(model, 4)
    assert not torch.equal(first(batch), again(batch))
