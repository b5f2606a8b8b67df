"""Why an item came, against one product at a time in float64."""

import pickle
from copy import deepcopy

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from messages import refused, warned
from softrec.data.interactions import Interactions, Sequences
from softrec.errors import DataError
from softrec.models.comirec import ComiRecSA
from softrec.models.comirec_dr import ComiRecDR
from softrec.models.gru4rec import GRU4Rec
from softrec.models.mf import MF
from softrec.models.mind import MIND
from softrec.models.timirec import TiMiRec
from softrec.scoring import Scored, Scoring
from softrec.serving.recommender import Recommender, UnknownItemWarning
from softrec.testing.encoders import padded

N_USERS, N_ITEMS, LENGTH, K = 8, 21, 4, 3
SIZES = {"dim": 6, "length": LENGTH, "interests": K}
ANYBODY = np.random.default_rng(0)
LISTS = [ANYBODY.permutation(N_ITEMS)[: 2 + u % 5].tolist() for u in range(N_USERS)]
LOG = Interactions.read(
    pl.DataFrame(
        [(f"u{u}", f"x{i:02}") for u, items in enumerate([*LISTS, range(N_ITEMS)]) for i in items],
        schema=["user", "item"],
        orient="row",
    )
)
SUMS = {  # models that expect interests: a score is the sum of their parts
    "timirec": lambda: biased(TiMiRec(N_ITEMS, **SIZES, output_bias=True)),
    "cosine timirec": lambda: Scored(TiMiRec(N_ITEMS, **SIZES), Scoring("cosine", 0.5)),
    "distance timirec": lambda: Scored(TiMiRec(N_ITEMS, **SIZES), Scoring("euclidean")),
}
BESTS = {  # models whose best interest alone gives the score
    "comirec-sa": lambda: biased(ComiRecSA(N_ITEMS, **SIZES, output_bias=True)),
    "comirec-dr": lambda: ComiRecDR(N_ITEMS, **SIZES),
    "mind": lambda: MIND(N_ITEMS, **SIZES, relu_layer=True),
    "cosine comirec-sa": lambda: Scored(ComiRecSA(N_ITEMS, **SIZES), Scoring("cosine")),
}
MODELS = SUMS | BESTS
USERS = [f"u{u}" for u in range(N_USERS)]


def biased(model):
    """Biases large enough to change the order."""
    bias = model.items().bias
    with torch.no_grad():
        bias.copy_(torch.linspace(-0.1, 0.1, N_ITEMS)[torch.randperm(N_ITEMS)])
    return model


def recommender(name: str) -> Recommender:
    torch.manual_seed(3)
    return Recommender(MODELS[name](), LOG, length=LENGTH)


def raw(numbers) -> list[str]:
    return [f"x{n:02}" for n in numbers]


def by_hand(service: Recommender, history: list[int]):
    """Return interests (K, D) and weights of one history, item vectors and bias, in float64."""
    batch = padded([history[-LENGTH:]], N_ITEMS)
    scoring = Scoring()
    model = service.model
    if isinstance(model, Scored):
        model, scoring = model.encoder, model.scoring
    with torch.no_grad():
        vectors, bias = (
            None if p is None else p.numpy().astype(float) for p in scoring.items(model.items())[:2]
        )
        bias = np.zeros(N_ITEMS) if bias is None else bias
        if not isinstance(model, TiMiRec):
            users = scoring.users(model(batch).users)[0].numpy().astype(float)
            return users, None, vectors, bias
        found = model(batch).interests
    interests, logits = (part[0].numpy().astype(float) for part in found)
    weights = np.exp(logits) / np.exp(logits).sum()
    mean = weights @ interests
    length = np.sqrt((mean**2).sum())
    factor = {"inner": 1, "cosine": 1 / length, "euclidean": 2 / max(1, length)}[scoring.kind]
    interests = interests * factor
    if scoring.kind == "euclidean":  # (2 u, -|u|^2) . (w, 1)
        squared = np.full((len(interests), 1), -(min(1, length) ** 2))
        interests = np.concatenate([interests, squared], 1)
    return interests / scoring.temperature, weights, vectors, bias


@pytest.mark.parametrize("name", MODELS)
def test_why_an_item_came(name):
    service = recommender(name)
    found = service.recommend(USERS, 5, why=True)
    assert found.columns == ["user", "rank", "item", "score", "interest", "contribution"]
    assert found.schema["contribution"] == pl.Float32
    for user, history in zip(USERS, LISTS, strict=True):
        interests, weights, vectors, bias = by_hand(service, history)
        for _, _, item, score, interest, share in found.filter(user=user).iter_rows():
            number = int(item[1:])
            parts = [interests[k] @ vectors[number] for k in range(K)]
            if weights is not None:
                parts = [weight * part for weight, part in zip(weights, parts, strict=True)]
                assert sum(parts) + bias[number] == pytest.approx(score, abs=1e-5)
                assert share == pytest.approx(max(parts), abs=1e-5)
            else:
                assert max(parts) + bias[number] == pytest.approx(score, abs=1e-5)
                assert share is None
            assert max(parts) - parts[interest] < 1e-6
    assert found["interest"].n_unique() > 1


@pytest.mark.parametrize("name", MODELS)
def test_asking_why_changes_no_ranking(name):
    service = recommender(name)
    plain = service.recommend(USERS, 6)
    assert_frame_equal(
        service.recommend(USERS, 6, why=True).drop("interest", "contribution"), plain
    )


@pytest.mark.parametrize("mask_seen", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_what_each_interest_would_rank_first(name, mask_seen):
    service = recommender(name)
    found = service.interests(USERS, items=4, mask_seen=mask_seen)
    assert found.columns == ["user", "interest", "weight", "items"]
    assert found["user"].to_list() == [user for user in USERS for _ in range(K)]
    assert found["interest"].to_list() == list(range(K)) * N_USERS
    for user, history in zip(USERS, LISTS, strict=True):
        own = found.filter(user=user)
        interests, weights, vectors, bias = by_hand(service, history)
        for k, items in enumerate(own["items"]):
            scores = vectors @ interests[k] + bias
            if mask_seen:
                scores[history] = -np.inf
            assert items.to_list() == raw(np.argsort(-scores)[:4])
        if weights is None:
            assert own["weight"].null_count() == K
        else:
            assert own["weight"].to_list() == pytest.approx(weights.tolist(), abs=1e-6)
    assert found["items"].n_unique() > N_USERS


def test_short_histories_of_an_adaptive_model_repeat_their_first_interest():
    torch.manual_seed(0)
    model = MIND(N_ITEMS, **SIZES, adaptive=True)
    service = Recommender(model, LOG, length=LENGTH)
    histories = {"short": raw([4, 9])}
    found = service.interests(histories=histories, items=3)
    assert found["items"].n_unique() == 1
    assert service.recommend(histories=histories, why=True)["interest"].unique().to_list() == [0]


def test_nothing_left_is_an_empty_list():
    """The last user has taken the whole catalogue."""
    service = recommender("timirec")
    everything = f"u{N_USERS}"
    found = service.interests([everything, "u0"], items=N_ITEMS)
    assert found["items"].list.len().to_list() == [0] * K + [N_ITEMS - len(LISTS[0])] * K
    assert service.recommend([everything], why=True).is_empty()


def test_more_items_than_there_are():
    service = recommender("mind")
    found = service.interests(["u1"], items=10**6, mask_seen=False)
    assert [sorted(items) for items in found["items"]] == [raw(range(N_ITEMS))] * K


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("name", ["timirec", "mind"])
def test_blocks_do_not_matter(limit, name, at_once):
    service = recommender(name)
    options = {"histories": {"new": raw([3, 1])}}
    wanted = [service.recommend(USERS, why=True, **options), service.interests(USERS, **options)]
    limit(encoded=at_once, gathered=70)
    found = [service.recommend(USERS, why=True, **options), service.interests(USERS, **options)]
    for one, other in zip(found, wanted, strict=True):
        assert_frame_equal(one, other, rel_tol=1e-4, abs_tol=1e-6)


def test_histories_count_as_users_with_them():
    service = recommender("timirec")
    newcomer = service.interests(histories={"new": raw(LISTS[2])})
    assert newcomer["user"].to_list() == ["new"] * K
    known = service.interests(["u2"])
    assert_frame_equal(newcomer.drop("user"), known.drop("user"), rel_tol=1e-4)


def test_numbers_stay_numbers_and_warnings_name_the_caller():
    sequences = Sequences.of([*LISTS, range(N_ITEMS)])
    service = Recommender(recommender("mind").model, Interactions.from_sequences(sequences),
                          length=LENGTH)  # fmt: skip
    for ask in (service.interests, service.recommend):
        with warned(UnknownItemWarning) as caught:
            found = ask([0], histories={7: [1, 99]})
        assert caught[0].filename == __file__
        assert found["user"].unique().sort().to_list() == [0, 7]
    assert service.interests([0]).schema["items"] == pl.List(pl.Int64)


@pytest.mark.parametrize("scored", [False, True])
def test_models_without_interests_say_so(scored):
    model = GRU4Rec(N_ITEMS, dim=4)
    service = Recommender(Scored(model, Scoring("cosine")) if scored else model, LOG, length=LENGTH)
    for ask in (lambda: service.interests(["u0"]), lambda: service.recommend(["u0"], why=True)):
        with refused(DataError):
            ask()


def test_items_start_at_one():
    with refused(ValueError):
        recommender("mind").interests(["u0"], items=0)


@pytest.mark.parametrize("nobody", [None, []])
def test_nobody_is_refused(nobody):
    with refused(DataError):
        recommender("mind").interests(nobody)


# --- scored encoders ---


@pytest.mark.parametrize("kind", ["inner", "cosine", "euclidean"])
@pytest.mark.parametrize("size", [0.0, 0.01, 100.0])
def test_scored_interests_make_the_scored_user(kind, size):
    """Also of a user vector of 0, which has no direction."""
    torch.manual_seed(0)
    model = TiMiRec(N_ITEMS, **SIZES).eval()
    with torch.no_grad():
        model.extractor.table.weight.mul_(size)
    scored, batch = Scored(model, Scoring(kind, 0.5)), padded([[0, 3, 2], [1]], N_ITEMS)
    assert scored.predicts_interests
    users, _, found = scored(batch)[:3]
    torch.testing.assert_close(found.mean(), users)
    torch.testing.assert_close(found.logits, model(batch).interests.logits)


def test_scored_interests_are_there_only_where_they_are():
    batch = padded([[0, 3, 2], [1]], N_ITEMS)
    for model in (GRU4Rec(N_ITEMS, dim=4), MIND(N_ITEMS, **SIZES)):
        scored = Scored(model, Scoring())
        assert not scored.predicts_interests
        assert scored(batch).interests is None
    twice = Scored(Scored(TiMiRec(N_ITEMS, **SIZES), Scoring()), Scoring())
    assert twice.predicts_interests
    assert twice(batch).interests is not None


@pytest.mark.parametrize("copied", [deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_of_scored_encoders_stand_alone(copied):
    scored = Scored(TiMiRec(N_ITEMS, **SIZES), Scoring("cosine")).eval()
    batch = padded([[0, 3, 2], [1]], N_ITEMS)
    copy = copied(scored)
    torch.testing.assert_close(copy(batch).interests.vectors, scored(batch).interests.vectors)
    with torch.no_grad():
        for parameter in scored.parameters():
            parameter.zero_()
    assert copy(batch).interests.vectors.abs().sum() > 0


def test_scored_encoders_read_what_theirs_read():
    plain = Scored(GRU4Rec(N_ITEMS, dim=4), Scoring())
    assert (plain.name, plain.reads, plain.needs_times) == ("GRU4Rec", "history", False)
    users = Scored(Scored(MF(N_ITEMS, n_users=3), Scoring()), Scoring("cosine"))
    assert (users.name, users.reads, users.needs_times) == ("MF", "user", False)
