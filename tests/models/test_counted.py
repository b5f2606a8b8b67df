"""Models that are counted: their contract, and each against its definition in loops."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse

from messages import refused
from softrec import products
from softrec.errors import DataError
from softrec.limits import limited
from softrec.models.counted import sparse as sparse_tables
from softrec.models.counted.ease import EASE
from softrec.models.counted.item_knn import ItemKNN
from softrec.models.counted.markov import Markov
from softrec.models.counted.markov_rp3beta import MarkovRP3Beta
from softrec.models.counted.popularity import Popularity, RecentPopularity
from softrec.models.counted.rp3beta import RP3Beta
from softrec.models.counted.rp3beta_popularity import RP3BetaPopularity
from softrec.models.counted.session_knn import SessionKNN
from softrec.models.registry import MODELS
from softrec.recipe.specs.arguments import arguments
from softrec.testing import check_scorer, counted
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
    with refused(DataError):
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
    "broken",
    [
        _Forgetful,
        _Counting,
        _Wider,
        _Later,
        _Named,
        lambda n: Popularity(n + 1),
    ],
)
def test_the_contract_finds(broken):
    with refused(AssertionError):
        check_scorer(partial(broken, N), N)


# --- each against its definition ---


@st.composite
def logs(draw):
    """Training sequences of a few users, repeats and empty ones among them, and histories."""
    item = st.integers(0, N - 1)
    lists = draw(st.lists(st.lists(item, max_size=8), min_size=1, max_size=12))
    histories = draw(st.lists(st.lists(item, min_size=1, max_size=7), min_size=1, max_size=4))
    return lists, histories


def events_of(lists, times=None):
    offsets = torch.tensor([0, *(len(items) for items in lists)]).cumsum(0)
    items = torch.tensor([item for row in lists for item in row], dtype=torch.int64)
    return Events(offsets, items, times)


def scored(model, lists, histories, users=None):
    model.fit(events_of(lists))
    unknown = [-1] * len(histories)
    found = table(model.eval(), padded(histories, N, users=unknown if users is None else users))
    return found.double().numpy()


def agree(model, similar, lists, histories):
    expected = [counted.summed(similar, history, model.recency) for history in histories]
    np.testing.assert_allclose(scored(model, lists, histories), expected, rtol=2e-5, atol=1e-6)


RECENCY = st.sampled_from([0.0, 0.5, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1, 7, 2**22])
@given(logs(), st.sampled_from(["cosine", "conditional"]), st.sampled_from([0.0, 0.5, 0.9]),
       st.sampled_from([0.0, 3.0]), RECENCY)  # fmt: skip
def test_item_knn(budget, log, kind, power, shrinkage, recency):
    similar = counted.item_similarity(log[0], N, kind=kind, power=power, shrinkage=shrinkage)
    model = ItemKNN(N, k=N, similarity=kind, power=power, shrinkage=shrinkage, recency=recency)
    with limited(products=budget):
        agree(model, counted.cut(similar, N), *log)


@pytest.mark.parametrize("room", [0, 2**20])
def test_sums_from_a_dense_table_are_the_same(room):
    """The table of a Markov chain is not symmetric, and here it has fewer cells than terms."""
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, N, 30).tolist() for _ in range(20)]
    histories = [rng.integers(0, N, 9).tolist() for _ in range(40)]
    model = Markov(N, steps=3, recency=0.5)
    similar = counted.transitions(lists, N, 3)
    with limited(scores=room):
        agree(model, similar, lists, histories)
        scores = model(padded(histories, N, users=None))
        assert isinstance(scores.table, np.ndarray) == (room > 0)


@pytest.mark.slow
@given(logs(), st.sampled_from([0.5, 1.0]), st.sampled_from([0.0, 0.7]), RECENCY)
def test_rp3beta(log, alpha, beta, recency):
    similar = counted.walks(log[0], N, alpha=alpha, beta=beta)
    model = RP3Beta(N, k=N, alpha=alpha, beta=beta, recency=recency)
    agree(model, counted.cut(similar, N), *log)


@pytest.mark.slow
@given(logs(), st.sampled_from([0.0, 0.5, 2.0]), st.sampled_from([0.1, 1.0]), RECENCY)
def test_rp3beta_popularity(log, factor, half_life, recency):
    """Of a log whose events are each a second after the one before."""
    lists, histories = log
    events = [item for items in lists for item in items]
    assume(events)
    ages = np.arange(len(events))[::-1] / (half_life * max(len(events) - 1, 1))
    recent = np.bincount(events, 0.5**ages, minlength=N)
    popular = factor * np.log(1 + recent / recent.sum() / 1e-5)
    similar = counted.cut(counted.walks(lists, N, alpha=0.5, beta=0.1), N)
    shares = shares_of(similar, histories, recency)
    model = RP3BetaPopularity(N, k=N, recency=recency, popularity=factor, half_life=half_life)
    model.fit(events_of(lists, torch.arange(len(events))))
    unknown = [-1] * len(histories)
    found = table(model.eval(), padded(histories, N, users=unknown)).double().numpy()
    expected = np.log(1 + shares / 1e-5) + popular
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


def shares_of(similar, histories, recency):
    """Return what a table gives the items of histories, divided by the sum of each."""
    sums = np.array([counted.summed(similar, history, recency) for history in histories])
    total = sums.sum(1, keepdims=True)
    return np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)


@pytest.mark.slow
@given(logs(), st.sampled_from([1, 3]), st.sampled_from([0.0, 0.5, 2.0]), RECENCY)
def test_markov_rp3beta(log, steps, weight, recency):
    lists, histories = log
    chain = shares_of(counted.transitions(lists, N, steps), histories, 0.7)
    walks = counted.cut(counted.walks(lists, N, alpha=0.5, beta=0.25), N)
    other = shares_of(walks, histories, recency)
    model = MarkovRP3Beta(
        N, steps=steps, k=N, recency=recency, chain_recency=0.7, walk_weight=weight
    )
    found = scored(model, lists, histories)
    assert model(padded(histories, N, users=None)).tables == 2
    expected = np.log(1 + chain / 1e-5) + weight * np.log(1 + other / 1e-5)
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


@pytest.mark.slow
@given(logs(), st.integers(1, 4), RECENCY, st.sampled_from([0.0, 0.3]))
def test_markov(log, steps, recency, smoothing):
    lists, histories = log
    model = Markov(N, steps=steps, recency=recency, smoothing=smoothing)
    similar = counted.transitions(lists, N, steps)
    total = max(1, sum(map(len, lists)))
    popular = np.array([sum(items.count(i) for items in lists) for i in range(N)]) / total
    expected = [counted.summed(similar, h, recency) + smoothing * popular for h in histories]
    np.testing.assert_allclose(scored(model, lists, histories), expected, rtol=2e-5, atol=1e-6)


@pytest.mark.slow
@given(logs(), st.sampled_from([0.5, 20.0]), RECENCY)
def test_ease(log, l2, recency):
    agree(EASE(N, l2=l2, recency=recency), counted.autoencoder(log[0], N, l2), *log)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1, 7, 2**22])
@given(logs(), st.integers(1, 8), st.sampled_from([0.5, 1.0]))
def test_session_knn(budget, log, last, recency):
    lists, histories = log
    users = [row % len(lists) for row in range(len(histories))]
    model = SessionKNN(N, k=len(lists), last=last, recency=recency)
    expected = [
        counted.votes(lists, N, history, user, k=len(lists), last=last, recency=recency)
        for history, user in zip(histories, users, strict=True)
    ]
    with limited(products=budget):
        found = scored(model, lists, histories, users)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_session_knn_lets_the_most_similar_vote():
    """Two sequences share more with the history than the others: with k = 2 they alone vote."""
    lists = [[0, 1, 5], [0, 1, 2, 6], [0, 7], [1, 8]]
    model = SessionKNN(N, k=2, recency=1.0)
    found = scored(model, lists, [[0, 1]])[0]
    assert set(np.flatnonzero(found > 0)) == {0, 1, 2, 5, 6}


@pytest.mark.parametrize("timed", [True, False])
def test_session_knn_looks_at_the_most_recent(timed):
    """Without times, the last users of the log; with them, those of the latest last event."""
    lists = [[0, 3], [0, 4], [0, 5]]
    times = torch.tensor([9, 9, 1, 2, 5, 6]) if timed else None
    model = SessionKNN(N, sample=2)
    model.fit(events_of(lists, times))
    found = table(model, padded([[0]], N, users=[-1]))[0]
    assert set((found > 0).nonzero().flatten().tolist()) == ({0, 3, 5} if timed else {0, 4, 5})


@given(st.lists(st.lists(st.integers(0, 9), max_size=9), min_size=1, max_size=6),
       st.integers(1, 5), st.sampled_from([1, 6, 2**22]))  # fmt: skip
def test_the_largest_of_each_row_are_kept(rows, k, budget):
    dense = np.zeros((len(rows), 9))
    for row, values in enumerate(rows):
        dense[row, : len(values)] = values
    with limited(products=budget):
        found = products.largest(sparse.csr_matrix(dense), k).toarray()
    for values, kept in zip(dense, found, strict=True):
        assert sorted(kept[kept > 0], reverse=True) == sorted(values[values > 0], reverse=True)[:k]
        assert all(kept[j] in (0, values[j]) for j in range(9))


@given(st.lists(st.integers(1, 3), min_size=2, max_size=40), st.integers(1, 9), st.booleans())
def test_of_equal_ones_the_first_are_kept(values, k, shuffled):
    """Also where the places of a row are stored in another order."""
    order = np.random.default_rng(0).permutation(len(values)) if shuffled else slice(None)
    columns = np.arange(len(values))[order]
    row = sparse.csr_matrix((np.array(values, dtype="f4")[order], columns, [0, len(values)]))
    found = products.largest(row, k).toarray()[0]
    best = sorted(range(len(values)), key=lambda j: (-values[j], j))[:k]
    assert set(np.flatnonzero(found)) == set(best)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["item-knn", "rp3beta", "markov", "markov-rp3beta", "session-knn"])
@given(log=logs())
def test_items_without_a_score_follow_by_their_popularity(name, log):
    lists, histories = log
    model = MODELS[name](N)
    found = scored(model, lists, histories)
    counts = np.array([sum(items.count(i) for items in lists) for i in range(N)])
    for row in found:
        rest = np.flatnonzero(row <= 0)
        assert (row != 0).all()
        assert (np.delete(row, rest) > 0).all()
        order = sorted(rest, key=lambda j: -row[j])
        assert counts[order].tolist() == sorted(counts[rest], reverse=True)
        assert len(np.unique(row[rest])) == len(np.unique(counts[rest]))  # ties stay ties
        assert abs(row[rest]).max(initial=0) < 1e-6


def test_popularity_tells_large_counts_apart():
    model = ItemKNN(3)
    model.count(Events(torch.tensor([0]), torch.tensor([0] * 1_000_000 + [1] * 1_000_001)))
    assert model.unscored[1] > model.unscored[0] > model.unscored[2]


def test_runs_that_were_counted_before_have_zeros():
    model, old = ItemKNN(N), ItemKNN(N)
    model.fit(events_of([[0, 1], [2, 3]]))
    old.load_state_dict({n: v for n, v in model.state_dict().items() if n != "unscored"})
    assert table(old, padded([[0]], N))[0].tolist() == [0, 1, *([0] * (N - 2))]


@pytest.mark.slow
@given(logs(), st.integers(1, 4))
def test_neighbours_are_the_k_most_similar(log, k):
    whole, few = ItemKNN(N, k=N), ItemKNN(N, k=k)
    for model in (whole, few):
        model.fit(events_of(log[0]))
    full, cut = (one_row_each(model) for model in (whole, few))
    for row, kept in zip(full, cut, strict=True):
        assert sorted(kept[kept > 0], reverse=True) == sorted(row[row > 0], reverse=True)[:k]


def one_row_each(model):
    return table(model, padded([[item] for item in range(N)], N)).numpy()


def test_a_product_is_never_held_whole(monkeypatch, limit):
    """With a budget of 1,000 products no block has more, but for a row that has more alone."""
    limit(products=1000)
    n_items, draw = 300, np.random.default_rng(0)
    lists = [draw.choice(n_items, 6, replace=False).tolist() for _ in range(400)]
    held = []
    weigh = ItemKNN.fit

    def watched(left, right):
        for rows in blocks_of(left, right):
            held.append((left[rows] @ right).nnz)
            yield rows

    blocks_of = products.product_blocks
    monkeypatch.setattr(products, "product_blocks", watched)
    model = ItemKNN(n_items, k=5)
    weigh(model, events_of(lists))
    assert max(held) <= 1000
    assert len(held) > 10
    assert len(model.values) <= 5 * n_items


@given(logs(), st.integers(1, 60))
def test_blocks_of_a_product_have_as_many_terms_as_fit(log, budget):
    """No block has more, but for a row alone, and none could take the next row, too."""
    users = sparse_tables.interactions(events_of(log[0]), N)
    left = users.T.tocsr()
    terms = [sum(len(users[user].indices) for user in left[row].indices) for row in range(N)]
    with limited(products=budget):
        found = list(products.product_blocks(left, users))
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(range(N))
    for rows in found:
        assert sum(terms[rows]) <= budget or rows.stop - rows.start == 1
        assert rows.stop == N or sum(terms[rows.start : rows.stop + 1]) > budget


def test_ease_names_the_memory_of_a_large_catalogue():
    with refused(DataError):
        EASE(31_623)


@pytest.mark.parametrize("name", COUNTED)
def test_every_setting_changes_scores(name):
    """Two values of each setting, the others as they are, score otherwise."""
    tried = {
        "k": (1, 5), "similarity": ("cosine", "conditional"), "power": (0.2, 0.8),
        "shrinkage": (0.0, 5.0), "recency": (0.3, 0.9), "alpha": (0.5, 1.0), "beta": (0.1, 0.9),
        "l2": (1.0, 50.0), "steps": (1, 3), "smoothing": (0.0, 0.5), "sample": (1, 9),
        "last": (1, 5), "half_life": (0.1, 0.5), "popularity": (0.5, 2.0),
        "chain_recency": (0.3, 0.9), "walk_weight": (0.5, 2.0),
    }  # fmt: skip
    batch = padded([[1, 2, 3, 4], [5, 1, 7]], N, users=[-1, -1])
    for setting in arguments(MODELS[name], ("n_items",)):
        found = []
        for value in tried[setting]:
            model = MODELS[name](N, **{setting: value})
            model.fit(sample_events(N))
            found.append(table(model, batch))
        assert not torch.equal(*found), setting


@pytest.mark.parametrize("name", COUNTED)
def test_a_setting_of_scoring_changes_nothing_that_is_kept(name):
    for setting in MODELS[name].SCORING:
        kept = []
        for value in {"k": (1, 9), "last": (1, 9)}.get(setting, (0.2, 0.7)):
            model = MODELS[name](N, **{setting: value})
            model.fit(sample_events(N))
            kept.append(model.state_dict())
        assert all(part.equal(kept[1][entry]) for entry, part in kept[0].items()), setting
