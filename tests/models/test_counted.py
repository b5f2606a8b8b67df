"""Models that are counted: their contract, and each against its definition in loops."""

from functools import partial
from itertools import pairwise

import pytest
import torch

from softrec.errors import DataError
from softrec.models.counted.popularity import Popularity, RecentPopularity
from softrec.models.registry import MODELS
from softrec.testing import check_scorer
from softrec.testing.encoders import padded
from softrec.testing.scorers import sample_events, table
from softrec.types import Events, ItemVectors, Products, Scorer

N = 12
COUNTED = [name for name, model in MODELS.items() if issubclass(model, Scorer)]


def sequences_of(events):
    bounds = events.offsets.tolist()
    return [events.items[a:b].tolist() for a, b in pairwise(bounds)]


@pytest.mark.parametrize("name", COUNTED)
def test_contract(name):
    check_scorer(partial(MODELS[name], N), N)


def test_popularity_counts_events():
    events = sample_events(N)
    model = Popularity(N)
    model.fit(events)
    expected = [events.items.tolist().count(item) for item in range(N)]
    assert table(model, padded([[1, 2], [3]], N)).tolist() == [expected, expected]


@pytest.mark.parametrize("half_life", [0.001, 0.3, 5.0])
def test_recent_popularity_halves_with_age(half_life):
    events = sample_events(N)
    times = events.times.tolist()
    expected = [0.0] * N
    for item, time in zip(events.items.tolist(), times, strict=True):
        expected[item] += 0.5 ** ((max(times) - time) / (half_life * (max(times) - min(times))))
    model = RecentPopularity(N, half_life=half_life)
    model.fit(events)
    torch.testing.assert_close(table(model, padded([[1]], N))[0], torch.tensor(expected))


def test_recent_popularity_needs_times_and_takes_equal_ones():
    model = RecentPopularity(3)
    offsets, items = torch.tensor([0, 2]), torch.tensor([1, 1])
    with pytest.raises(DataError, match="the log has none"):
        model.fit(Events(offsets, items))
    model.fit(Events(offsets, items, torch.tensor([7, 7])))
    assert model.weights.tolist() == [0, 2, 0]


class _Forgetful(Popularity):
    """Scores of what stood in the table before."""

    def forward(self, batch):
        scores = super().forward(batch)
        fill = scores.fill
        scores.fill = lambda rows, out: out.add_(fill(rows, torch.empty_like(out)))
        return scores


class _Counting(Popularity):
    """Adds to what it counted before."""

    def fit(self, events):
        before = self.weights
        super().fit(events)
        self.weights = self.weights + before.sum()


class _Wider(Popularity):
    """Sees how wide the padded history is."""

    def forward(self, batch):
        wide = self.weights + batch.history.shape[1]
        return Products(wide.new_ones(len(batch.label), 1), ItemVectors(wide[:, None]))


class _Later(Popularity):
    """Adds the last item of the whole history at every step."""

    def forward(self, batch):
        last = batch.history.masked_fill(batch.history == self.n_items, -1).amax(1)
        rows = last if batch.row is None else last[batch.row]
        return Products(rows[:, None].float(), ItemVectors(self.weights[:, None]))


class _Named(Popularity):
    GRID = {"k": (1, 2)}  # noqa: RUF012


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        (_Forgetful, "unwritten"),
        (_Counting, "a second fit remembers"),
        (_Wider, "padding on the"),
        (_Later, "later items count"),
        (_Named, "k of GRID"),
        (lambda n: Popularity(n + 1), "n_items"),
    ],
)
def test_the_contract_finds(broken, match):
    with pytest.raises(AssertionError, match=match):
        check_scorer(partial(broken, N), N)
