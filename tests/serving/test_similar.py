"""Similar items equal cosines, distances and rows of tables that are computed by hand."""

import numpy as np
import polars as pl
import pytest
import torch

from messages import refused
from softrec.data.interactions import Interactions
from softrec.errors import DataError
from softrec.models.counted.ease import EASE
from softrec.models.counted.item_knn import ItemKNN
from softrec.models.counted.markov import Markov
from softrec.models.counted.popularity import Popularity
from softrec.models.counted.session_knn import SessionKNN
from softrec.models.mf import MF
from softrec.models.sasrec import SASRec
from softrec.scoring import Scored, Scoring
from softrec.serving.catalogue import Catalogue
from softrec.serving.recommender import Recommender
from softrec.types import Events

N_ITEMS = 12
IDS = [f"i{n:02}" for n in range(N_ITEMS)]
GENERATOR = np.random.default_rng(4)
EVENTS = [(u, IDS[i]) for u in range(20) for i in GENERATOR.permutation(N_ITEMS)[: 3 + u % 4]]
LOG = Interactions.read(pl.DataFrame(EVENTS, schema=["user", "item"], orient="row"))


def encoder(kind="inner"):
    torch.manual_seed(3)
    model = SASRec(N_ITEMS, dim=8, length=4, layers=1)
    with torch.no_grad():
        for part in model.parameters():
            part.mul_(5)
    return model if kind == "inner" else Scored(model, Scoring(kind))


def vectors():
    with torch.no_grad():
        return encoder().items().vectors.double().numpy()


def cosines():
    unit = vectors() / np.linalg.norm(vectors(), axis=1, keepdims=True)
    return unit @ unit.T


def distances():
    own = vectors()
    short = own / np.maximum(np.linalg.norm(own, axis=1, keepdims=True), 1)
    return -np.square(short[:, None] - short[None]).sum(-1)


def fitted(scorer, log):
    rows = log.sequences
    scorer.fit(Events(torch.tensor(rows.offsets), torch.tensor(rows.items)))
    return scorer


def counted(scorer):
    return fitted(scorer, LOG)


def service(model, **others):
    return Recommender(model, LOG, length=4, **others)


def assert_similar(table, scores, left_out, k):
    order = [n for n in np.argsort(-scores, kind="stable") if n not in left_out][:k]
    assert table["item"].to_list() == [IDS[n] for n in order]
    assert table["score"].to_list() == pytest.approx(scores[order].tolist(), abs=1e-5)
    assert table["rank"].to_list() == list(range(1, len(order) + 1))


KINDS = {"inner": cosines, "cosine": cosines, "euclidean": distances}


@pytest.mark.parametrize("k", [1, 5, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_each_item_has_a_list(kind, k):
    found = service(encoder(kind)).similar(IDS[:3], k)
    assert found.columns == ["similar_to", "rank", "item", "score"]
    for n in range(3):
        mine = found.filter(pl.col("similar_to") == IDS[n])
        assert_similar(mine, KINDS[kind]()[n], {n}, k)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_make_one_list(kind):
    found = service(encoder(kind)).similar([IDS[4], IDS[1], IDS[7]], 6, weights=[1, 0, 3])
    table = KINDS[kind]()
    assert_similar(found, (table[4] + 3 * table[7]) / 4, {1, 4, 7}, 6)
    assert set(found["similar_to"]) == {"i04, i01, i07"}


def test_models_that_read_no_history_have_similar_items_too():
    torch.manual_seed(0)
    model = MF(N_ITEMS, n_users=20, dim=4)
    with torch.no_grad():
        own = model.items().vectors.numpy()
    unit = own / np.linalg.norm(own, axis=1, keepdims=True)
    assert_similar(service(model).similar("i05", 4), unit @ unit[5], {5}, 4)


def test_ease_compares_by_its_table():
    model = counted(EASE(N_ITEMS, l2=3.0))
    users = np.zeros((20, N_ITEMS))
    for user, item in EVENTS:
        users[user, IDS.index(item)] = 1
    inverse = np.linalg.inv(users.T @ users + 3.0 * np.eye(N_ITEMS))
    table = -inverse / np.diag(inverse)
    np.fill_diagonal(table, 0)
    assert_similar(service(model).similar("i05", 5), table[5], {5}, 5)
    both = service(model).similar(["i05", "i06"], 5, weights=[1, 1])
    assert_similar(both, (table[5] + table[6]) / 2, {5, 6}, 5)


def test_a_table_lists_only_items_that_have_something_in_common():
    log = pl.DataFrame({"user": [1, 1, 2, 2, 3], "item": ["a", "b", "b", "c", "d"]})
    log = Interactions.read(log)
    model = fitted(Markov(4, steps=1, recency=0.5, smoothing=1.0), log)
    recommender = Recommender(model, log, length=4)
    assert recommender.similar(["a", "b", "d"], 3).rows() == [
        ("a", 1, "b", 1.0),
        ("b", 1, "c", 1.0),
    ]
    assert recommender.similar(["a", "b"], 3, weights=[3, 1]).rows() == [("a, b", 1, "c", 0.25)]


def test_item_knn_is_symmetric_here():
    model = counted(ItemKNN(N_ITEMS, k=N_ITEMS))
    found = service(model).similar(IDS, N_ITEMS)
    scores = {(a, b): s for a, _, b, s in found.rows()}
    assert scores
    assert all(scores[b, a] == pytest.approx(s) for (a, b), s in scores.items())


@pytest.mark.parametrize("model", [Popularity, SessionKNN])
def test_models_that_do_not_compare_items(model):
    with refused(DataError):
        service(counted(model(N_ITEMS))).similar("i05")


@pytest.mark.parametrize(
    ("items", "weights"),
    [
        (["i05", "unknown"], None),
        ([], None),
        (["i05"], [1, 2]),
        (["i05"], [-1]),
        (["i05"], [float("nan")]),
        (["i05", "i06"], [0, 0]),
    ],
)
def test_what_cannot_be_compared(items, weights):
    with refused(DataError):
        service(encoder()).similar(items, weights=weights)


def test_rules_and_titles():
    table = pl.DataFrame({"id": IDS, "title": [f"Item {i}" for i in IDS], "kind": [1, 2] * 6})
    recommender = service(encoder(), catalogue=Catalogue.read(table))
    rules = {"where": "kind = 1", "pinned": ["i08"], "block": ["i02"], "at_most": {"id": 1}}
    found = recommender.similar("i00", 20, rules=rules)
    order = [n for n in np.argsort(-cosines()[0]) if n in (4, 6, 10)]
    assert found["item"].to_list() == ["i08", *(IDS[n] for n in order)]
    assert found["title"].to_list() == [f"Item {i}" for i in found["item"]]


def test_items_at_once_do_not_matter(limit):
    whole = service(encoder()).similar(IDS, 4)
    limit(encoded=5)
    parts = service(encoder()).similar(IDS, 4)
    assert parts["item"].to_list() == whole["item"].to_list()
    assert parts["score"].to_list() == pytest.approx(whole["score"].to_list(), abs=1e-6)
