"""What is recommended equals the obvious way: score all, leave out the seen, sort."""

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from messages import refused, warned
from softrec.data.interactions import Interactions
from softrec.errors import DataError
from softrec.models.counted.popularity import Popularity
from softrec.models.gru4rec import GRU4Rec
from softrec.models.sasrec import SASRec
from softrec.serving.files import read_users, write_table
from softrec.serving.recommender import Recommender, UnknownItemWarning
from softrec.types import Batch, Events

N_USERS, N_ITEMS, LENGTH = 30, 25, 4
MODELS = {
    "gru4rec": lambda: GRU4Rec(N_ITEMS, dim=8),
    "sasrec": lambda: SASRec(N_ITEMS, dim=8, length=LENGTH, layers=1),
}


def make_log(user_ids: str = "number", item_ids: str = "text") -> Interactions:
    generator = np.random.default_rng(1)
    rows = [(u, i) for u in range(N_USERS) for i in generator.permutation(N_ITEMS)[: 3 + u % 15]]
    rows += [(0, i) for i in range(N_ITEMS)]  # every item occurs
    users, items = (np.array(column) for column in zip(*rows, strict=True))
    names = {"number": lambda values: values * 10, "text": lambda v: [f"x{n:03}" for n in v]}
    return Interactions.read(
        pl.DataFrame({"user": names[user_ids](users), "item": names[item_ids](items)})
    )


LOG = make_log()


def recommender(model: str = "gru4rec", log: Interactions = LOG) -> Recommender:
    torch.manual_seed(5)
    return Recommender(MODELS[model](), log, length=LENGTH)


def by_hand(service: Recommender, history: np.ndarray, user: int, k: int, mask_seen: bool = True):
    """The k best (raw item, score) of one history, one score at a time."""
    read = torch.from_numpy(np.array(history[-LENGTH:], dtype=np.int64))[None]
    one = torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        vector = service.model(Batch(read, one, one, torch.tensor([user]))).users[0]
        items = service.model.items()
        scores = {n: float(items.vectors[n] @ vector) for n in range(N_ITEMS)}
        if items.bias is not None:
            scores = {n: score + float(items.bias[n]) for n, score in scores.items()}
    left = [n for n in scores if not (mask_seen and n in set(history.tolist()))]
    best = sorted(left, key=lambda n: -scores[n])[:k]
    return [(service.log.items.raw[n], scores[n]) for n in best]


def assert_list(table: pl.DataFrame, wanted: list) -> None:
    assert table["item"].to_list() == [item for item, _ in wanted]
    assert table["score"].to_list() == pytest.approx([s for _, s in wanted], abs=1e-5)
    assert table["rank"].to_list() == list(range(1, len(wanted) + 1))


@pytest.mark.slow
@pytest.mark.parametrize("mask_seen", [True, False])
@pytest.mark.parametrize("k", [1, 7, N_ITEMS])
@pytest.mark.parametrize("model", MODELS)
def test_equals_the_slow_way(model, k, mask_seen):
    service = recommender(model)
    raw = LOG.users.raw.to_list()
    found = service.recommend(raw, k, mask_seen=mask_seen)
    assert found.columns == ["user", "rank", "item", "score"]
    for number, name in enumerate(raw):
        wanted = by_hand(service, LOG.sequences[number], number, k, mask_seen)
        assert_list(found.filter(pl.col("user") == name), wanted)


def test_never_recommends_what_was_seen():
    found = recommender().recommend(LOG.users.raw.to_list(), N_ITEMS)
    for number, name in enumerate(LOG.users.raw.to_list()):
        seen = set(LOG.items.ids(LOG.sequences[number]).to_list())
        listed = found.filter(pl.col("user") == name)["item"].to_list()
        assert set(listed) == set(LOG.items.raw.to_list()) - seen


def test_nothing_left_is_no_row():
    """User 0 has taken the whole catalogue."""
    found = recommender().recommend([0, 10], 5)
    assert found["user"].to_list() == [10] * 5


def test_k_beyond_the_catalogue_gives_what_there_is():
    everything = recommender().recommend([10, 20], N_ITEMS)
    assert_frame_equal(recommender().recommend([10, 20], 10**6), everything)
    assert 0 < len(everything.filter(pl.col("user") == 10)) < N_ITEMS


@pytest.mark.parametrize("at_once", [1, 7, N_USERS])
@pytest.mark.parametrize("model", MODELS)
def test_users_at_once_do_not_matter(model, at_once, limit):
    whole = recommender(model).recommend(LOG.users.raw.to_list(), 6)
    limit(encoded=at_once)
    parts = recommender(model).recommend(LOG.users.raw.to_list(), 6)
    assert_frame_equal(parts, whole, rel_tol=1e-5, abs_tol=1e-6)  # scores near 0


def test_equal_scores_are_listed_by_number_alone_and_among_others():
    model = Popularity(N_ITEMS)
    numbers = np.arange(N_ITEMS)
    items = torch.from_numpy(numbers.repeat(1 + numbers % 4))  # the only user's
    model.fit(Events(torch.tensor([0, len(items)]), items))
    service = Recommender(model, LOG, length=LENGTH, mask_seen=False)
    together = service.recommend(LOG.users.raw, 10)
    wanted = LOG.items.ids(np.lexsort((numbers, -(numbers % 4)))[:10]).to_list()
    for user in LOG.users.raw:
        assert service.recommend([user], 10)["item"].to_list() == wanted
        assert together.filter(pl.col("user") == user)["item"].to_list() == wanted


def test_order_and_repetition_of_users_are_kept():
    found = recommender().recommend([200, 10, 200], 2)
    assert found["user"].to_list() == [200, 200, 10, 10, 200, 200]
    assert found["item"][:2].to_list() == found["item"][4:].to_list()


# --- raw ids ---


def test_a_number_may_come_as_text():
    service = recommender()
    as_number, as_text = (service.recommend([user], 5) for user in (120, "120"))
    assert_frame_equal(as_number.drop("user"), as_text.drop("user"))


def test_text_ids_are_found():
    found = recommender(log=make_log("text", "number")).recommend(["x012"], 5)
    assert found["user"].to_list() == ["x012"] * 5
    assert found["item"].dtype == pl.Int64
    assert (found["item"] % 10 == 0).all()


@pytest.mark.parametrize("user", [5, "5", -1, 10**12])
def test_an_unknown_user_is_named(user):
    with refused(DataError):
        recommender().recommend([10, user], 5)


def test_text_for_numbers_is_refused():
    with refused(DataError):
        recommender().recommend(["ann"], 5)


# --- people who are not in the log ---


def test_a_history_counts_as_a_user_with_it():
    """Somebody with the history of user 120 is recommended the same."""
    service = recommender()
    raw = LOG.items.ids(LOG.sequences[12]).to_list()
    newcomer = service.recommend(None, 5, histories={"new": raw})
    assert newcomer["user"].to_list() == ["new"] * 5
    assert_frame_equal(newcomer.drop("user"), service.recommend([120], 5).drop("user"))


@pytest.mark.parametrize("known", [[10], ["10"]])
def test_known_users_and_given_histories_come_together(known):
    service = recommender()
    found = service.recommend(known, 3, histories={"new": ["x001"], "newer": ["x002", "x003"]})
    assert found["user"].to_list() == ["10"] * 3 + ["new"] * 3 + ["newer"] * 3
    assert_list(found[:3], by_hand(service, LOG.sequences[1], 1, 3))
    assert_list(found[6:], by_hand(service, np.array([2, 3]), -1, 3))


@pytest.mark.parametrize("known", [[10], ["10"]])
def test_a_history_called_as_a_user_is_refused(known):
    with refused(DataError):
        recommender().recommend(known, 3, histories={"10": ["x001"]})


def test_unknown_items_are_told_and_skipped():
    service = recommender()
    with warned(UnknownItemWarning):
        found = service.recommend(None, 4, histories={"new": ["y", "x001", "z", "x004"]})
    assert_frame_equal(found, service.recommend(None, 4, histories={"new": ["x001", "x004"]}))


@pytest.mark.parametrize("history", [[], ["y"]])
def test_a_history_without_known_items_is_refused(history):
    with refused(DataError):
        recommender().recommend(None, 4, histories={"new": history})


@pytest.mark.parametrize("items", [{"x001", "x002"}, frozenset({"x001"})], ids=["set", "frozen"])
def test_a_history_without_an_order_is_refused(items):
    for histories in ({"new": items}, [items], items):
        with refused(DataError):
            recommender().recommend(None, 4, histories=histories)


@pytest.mark.parametrize("nobody", [None, []])
def test_nobody_is_refused(nobody):
    with refused(DataError):
        recommender().recommend(nobody)


@pytest.mark.parametrize("k", [0, -1, 2.5, "3"])
def test_k_starts_at_one(k):
    with refused(ValueError):
        recommender().recommend([10], k)
    with refused(ValueError):
        recommender().similar([LOG.items.raw[0]], k)
    with refused(ValueError):
        recommender().interests([10], items=k)


def test_k_may_be_a_number_of_numpy():
    assert len(recommender().recommend([10], np.int32(3))) == 3


def test_the_model_is_asked_without_dropout():
    service = Recommender(GRU4Rec(N_ITEMS, dim=8, dropout=0.5).train(), LOG, length=LENGTH)
    assert_frame_equal(service.recommend([10], 9), service.recommend([10], 9))


# --- files ---

READ = {".csv": pl.read_csv, ".parquet": pl.read_parquet, ".json": pl.read_json}


@pytest.mark.parametrize("ending", READ)
def test_tables_are_written_whole(tmp_path, ending):
    table = recommender().recommend([10, 20], 3)
    write_table(table, tmp_path / f"best{ending}")
    back = READ[ending](tmp_path / f"best{ending}").cast(dict(table.schema))
    assert_frame_equal(back, table, rel_tol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [f"best{ending}"]


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "best.csv").mkdir()
    with refused(DataError):
        write_table(pl.DataFrame({"a": [1]}), tmp_path / "best.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["best.csv"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("users.txt", b"10\n\n 20 \n"),
        ("users.csv", b"user,age\n10,7\n20,8\n"),
        ("users.json", b'[{"user": "10"}, {"user": "20"}]'),
    ],
)
def test_users_of_a_file(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read_users(tmp_path / name) == ["10", "20"]


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("users.txt", b"\n", "contains no user"),
        ("users.txt", b"\xff\xfe\x00", "cannot be read"),
        ("users.csv", b"", "cannot be read"),
        ("users.csv", b"person\n10\n", "has no column 'user'; its columns are person"),
        ("users.csv", b"user\n", "contains no user"),
        ("users.parquet", b"PAR1", "cannot be read"),
        ("users.json", b"[{", "cannot be read"),
    ],
)
def test_a_broken_file_of_users_is_named(tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_users(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert text in str(caught.value)


def test_a_missing_file_of_users_is_named(tmp_path):
    with refused(DataError):
        read_users(tmp_path / "none.txt")
