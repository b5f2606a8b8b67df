"""The target of items that occur together: its numbers, whose events it counts, what it teaches."""

import numpy as np
import polars as pl
import pytest
import torch

import softrec
from messages import refused
from softrec.errors import RecipeError
from softrec.models.counted.folds import Folds, last_items, table_of
from softrec.models.counted.item_knn import ItemKNN
from softrec.targets.build.cooccurrence import CooccurrenceSource
from softrec.testing import check_target, oracles
from softrec.testing.encoders import at_every_step, padded
from softrec.types import Events, Offset

N, RECENCY = 12, 0.5
HISTORIES = [[0, 1, 2], [1, 2, 3], [0, 2, 4], [5, 6, 0], [2, 1, 0, 7], [3, 4], [8, 9]]


def events_of(histories):
    lengths = torch.tensor([0, *map(len, histories)]).cumsum(0)
    return Events(lengths, torch.tensor([item for history in histories for item in history]))


def source_of(k=N, last=10, folds=0, temperature=1.0, histories=HISTORIES):
    counts = Folds(lambda: ItemKNN(N, k=N, recency=RECENCY), folds, events_of(histories))

    def scores(batch):
        read = last_items(batch, N, last)
        return table_of(counts.shares(read, batch.prediction_user, k + 1))

    return CooccurrenceSource(scores, k, temperature)


def cosines(histories):
    """Return the cosines of items by the users that have both, (N, N)."""
    has = np.array([[item in history for item in range(N)] for history in histories], dtype=float)
    sizes = np.sqrt(np.maximum(has.sum(0), 1))
    table = has.T @ has / np.outer(sizes, sizes)
    np.fill_diagonal(table, 0)
    return table


def expected(history, label, histories, *, k, last, temperature):
    """Return s of one history by its definition, (N,)."""
    read = history[-last:]
    table = cosines(histories)
    scores = sum(RECENCY ** (len(read) - 1 - t) * table[i] for t, i in enumerate(read))
    scores[label] = 0
    scores[np.argsort(-scores, kind="stable")[k:]] = 0
    powers = np.where(scores > 0, scores ** (1 / temperature), 0)
    return powers / powers.sum() if powers.sum() else np.eye(N)[label]


def asked(histories, labels, users=None):
    batch = padded(histories, N)._replace(label=torch.tensor(labels))
    return batch if users is None else batch._replace(user=torch.tensor(users))


@pytest.mark.parametrize("settings", [
    {"k": N, "last": 10, "temperature": 1.0}, {"k": 2, "last": 10, "temperature": 1.0},
    {"k": N, "last": 1, "temperature": 1.0}, {"k": 3, "last": 2, "temperature": 0.5},
    {"k": N, "last": 10, "temperature": 4.0},
])  # fmt: skip
def test_it_is_the_recency_weighted_cosine_without_the_label(settings):
    histories, labels = [[0, 1, 2], [5], [9, 8], [11], [3, 0]], [4, 0, 3, 7, 2]
    target = source_of(**settings)(asked(histories, labels))
    table = oracles.dense(target, len(labels), N)
    made = [expected(h, y, HISTORIES, **settings) for h, y in zip(histories, labels, strict=True)]
    torch.testing.assert_close(table, torch.tensor(np.array(made)), atol=1e-6, rtol=1e-5)
    assert (table[3] == torch.eye(N)[7]).all()  # nobody had item 11: the label alone
    check_target(target, N, len(labels))


def test_the_users_of_a_fold_read_the_counts_of_the_others():
    folds, users = 3, [6, 0, 4, 5]
    histories, labels = [HISTORIES[u][:-1] for u in users], [HISTORIES[u][-1] for u in users]
    table = oracles.dense(source_of(folds=folds)(asked(histories, labels, users)), len(users), N)
    for row, user in enumerate(users):
        others = [h if u % folds != user % folds else [] for u, h in enumerate(HISTORIES)]
        made = expected(histories[row], labels[row], others, k=N, last=10, temperature=1.0)
        torch.testing.assert_close(table[row], torch.tensor(made), atol=1e-6, rtol=1e-5)
    assert table[0, 9] == 1  # nobody else had 8 and 9: nothing is left but the label


def test_each_prediction_has_the_items_of_its_prefix():
    whole = asked([[0, 1, 2], [5, 6]], [0, 0], [0, 3])
    steps = at_every_step(whole, [3, 2])
    steps = steps._replace(label=torch.tensor([1, 2, 3, 6, 0]))
    parts = asked([[0], [0, 1], [0, 1, 2], [5], [5, 6]], [1, 2, 3, 6, 0], [0, 0, 0, 3, 3])
    source = source_of(folds=2)
    torch.testing.assert_close(
        oracles.dense(source(steps), 5, N), oracles.dense(source(parts), 5, N)
    )


def test_small_scores_are_no_nothing():
    """A low temperature raises to a high power, where a small number would become 0."""
    scores = Offset(torch.tensor([0, 2]), torch.tensor([1, 3]), torch.tensor([1e-4, 2e-4]))
    batch = asked([[0]], [5])
    table = oracles.dense(CooccurrenceSource(lambda batch: scores, 2, 0.05)(batch), 1, N)
    torch.testing.assert_close(table[0, 3], torch.tensor(1 / (1 + 0.5**20)).double())


@pytest.fixture
def clicks():
    """Pairs of items: each user has both items of a pair, and at the end item 0 or 1.

    So the items from 2 on are never a label where only the last item of a user is one.
    """
    rng = np.random.default_rng(0)
    pair = 2 + 2 * rng.integers(9, size=300)
    order = rng.integers(2, size=300)
    rows = np.stack([pair + order, pair + 1 - order, rng.integers(2, size=300)], 1)
    rows = np.concatenate([rows, rng.integers(2, size=(300, 2))], 1)  # for validation and test
    return pl.DataFrame(
        {"user": np.repeat(np.arange(300), 5), "item": rows.ravel(),
         "time": np.tile(np.arange(5), 300)}
    )  # fmt: skip


SMALL = {"model": "sasrec", "epochs": 8, "batch_size": 32, "length": 3, "lr": 0.02,
         "model.dim": 16, "model.layers": 1, "model.heads": 1, "model.dropout": 0.0,
         "metrics": ("ndcg@10",), "windows": "last", "mask_seen": False}  # fmt: skip


def found_partners(run):
    """Return the mean rank of the other item of a pair, for histories of one item, from 1."""
    pairs = pl.DataFrame({"history": range(2, 20)}).with_columns(
        partner=pl.col("history").cast(pl.Int64) // 2 * 2 + 1 - pl.col("history") % 2
    )
    lists = run.recommender().recommend(histories=[[item] for item in pairs["history"]], k=20)
    partner = np.repeat(pairs["partner"].to_numpy(), 20)
    return lists.filter(pl.Series(lists["item"].to_numpy() == partner))["rank"].mean()


def test_items_that_are_never_a_label_are_learned(tmp_path, clicks):
    """One-hot labels put them anywhere; the target puts the partner before all other such items."""
    plain = softrec.fit(clicks, out=tmp_path / "plain", **SMALL)
    target = {"name": "co-occurrence", "alpha": 0.4, "model": {"name": "item-knn", "recency": 0.8}}
    run = softrec.fit(clicks, out=tmp_path / "run", target=target, **SMALL)
    found = found_partners(run), found_partners(plain)
    assert found[0] <= 4 < 7 < found[1]  # behind the labels, 0 and 1, and at times the item itself
    assert run.facts["soft_weight"] == 0.4


@pytest.mark.parametrize("target", [
    {"model": "popularity"}, {"model": "sasrec"}, {"model": "no-such"},
    {"model": {"name": "item-knn", "recency": 3}}, {"model": {"name": "item-knn", "depth": 3}},
    {"folds": 1}, {"k": 0},
])  # fmt: skip
def test_what_a_recipe_refuses(clicks, tmp_path, target):
    with refused(RecipeError):
        softrec.fit(clicks, out=tmp_path / "run", target={"name": "co-occurrence", **target})


def test_a_part_of_a_mixture_is_checked(clicks, tmp_path):
    of = [{"weight": 1.0, "target": {"name": "co-occurrence", "model": "ease"}}]
    with refused(RecipeError):
        softrec.fit(clicks, out=tmp_path / "run", target={"name": "mixture", "of": of})
