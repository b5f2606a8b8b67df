"""Models that cannot read a given history say so before they are asked anything."""

import numpy as np
import pytest
import torch
from polars.testing import assert_frame_equal

from messages import refused
from softrec.data.interactions import Interactions, Sequences
from softrec.errors import DataError
from softrec.models.lightgcn import LightGCN
from softrec.models.mf import MF
from softrec.models.ngcf import NGCF
from softrec.models.tisasrec import TiSASRec
from softrec.scoring import Scored, Scoring
from softrec.serving.recommender import Recommender

LISTS = [[0, 1, 2, 3], [4], [5, 6]]
N_ITEMS, N_USERS = 9, len(LISTS)
EDGES = torch.tensor([[0, 0, 1], [0, 3, 4]])  # the last user has no training event
BY_NUMBER = {
    "MF": lambda: MF(N_ITEMS, n_users=N_USERS, dim=4),
    "LightGCN": lambda: LightGCN(N_ITEMS, n_users=N_USERS, edges=EDGES, dim=4),
    "NGCF": lambda: NGCF(N_ITEMS, n_users=N_USERS, edges=EDGES, dim=4),
}
TIMED = {"TiSASRec": lambda: TiSASRec(N_ITEMS, dim=4, length=3, layers=1, heads=1)}
MODELS = BY_NUMBER | TIMED


def make_log(lists=LISTS) -> Interactions:
    sequences = Sequences.of(lists)
    return Interactions.from_sequences(
        sequences,
        times=1000 + 7 * np.arange(len(sequences.items)) ** 3,
        items=Interactions.from_sequences(Sequences.of([range(N_ITEMS)])).items,
    )


def service(name: str, scored: bool = False, log: Interactions | None = None) -> Recommender:
    torch.manual_seed(2)
    model = MODELS[name]()
    encoder = Scored(model, Scoring("cosine")) if scored else model
    return Recommender(encoder, log or make_log(), length=3)


@pytest.fixture
def unasked(monkeypatch):
    """Fail when a model is asked anything."""

    def ask(*_):
        raise AssertionError("the model was asked")

    for model in (MF, LightGCN, NGCF, TiSASRec, Scored):
        monkeypatch.setattr(model, "forward", ask)
        monkeypatch.setattr(model, "items", ask)


@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("users", [None, [0, 1], ["nobody"]])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("unasked")
def test_histories_are_refused_at_once(name, users, scored):
    """With known users beside them, too: an answer for some would hide that of the others."""
    asked = service(name, scored)
    for ask in (asked.recommend, asked.interests):
        with refused(DataError) as caught:
            ask(users, histories={"new": [1], "newer": ["no such item"]})
        text = str(caught.value)
        assert text.startswith(f"the history of 'new', 'newer' cannot be used: {name} ")
        assert "train a model that reads histories" in text
        assert ("times of events" in text) == (name in TIMED)
        assert "-1" not in text


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("unasked")
def test_unknown_users_are_not_sent_to_histories(name):
    with refused(DataError) as caught:
        service(name).recommend([0, 77])
    assert "--history" not in str(caught.value)


@pytest.mark.parametrize("histories", [None, {}])
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_users_of_the_log_are_served(name, scored, histories):
    """One by one as together; the last one has no training event."""
    asked = service(name, scored)
    found = asked.recommend([2, 0, 1], 3, histories=histories)
    assert found["user"].to_list() == [2] * 3 + [0] * 3 + [1] * 3
    for user in range(N_USERS):
        alone = asked.recommend([user], 3)
        assert_frame_equal(alone, found.filter(user=user), rel_tol=1e-4, abs_tol=1e-6)
        assert not set(alone["item"]) & set(LISTS[user])


@pytest.mark.parametrize("name", BY_NUMBER)
def test_a_user_without_any_event_is_served(name):
    log = make_log([*LISTS[:2], []])
    found = service(name, log=log).recommend([2], N_ITEMS)
    assert sorted(found["item"]) == list(range(N_ITEMS))
    assert found["score"].is_finite().all()


def test_times_are_read():
    """Otherwise nothing above says that known users come with theirs."""
    lists = [[0, 1, 2, 3], [0, 1, 2, 3]]
    log = make_log(lists)
    first, second = (service("TiSASRec", log=log).recommend([user], 3)["score"] for user in (0, 1))
    assert (first != second).any()
