"""The target of items with a similar text: its numbers, what it teaches, what it refuses."""

from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch

import softrec
from messages import refused
from softrec.errors import DataError, RecipeError
from softrec.limits import limited
from softrec.recipe.recipe import read_recipe
from softrec.targets.build.text import LabelNeighbours, nearest_texts, nearest_vectors
from softrec.testing import check_target, oracles
from softrec.testing.known import batch_of

TITLES = [
    "red tea", "green tea", "black tea, loose", "a frying pan", "a pan of iron", "", "red pan",
    "tea", "something else",
]  # fmt: skip
N = len(TITLES)


def tfidf(texts):
    """The vectors by their definition, each of length 1, (N, words)."""
    words = [[w for w in text.replace(",", "").split() if len(w) > 1] for text in texts]
    found = sorted({word for own in words for word in own})
    df = Counter(word for own in words for word in set(own))
    idf = {word: 1 + np.log((1 + len(texts)) / (1 + df[word])) for word in found}
    rows = np.array([[own.count(word) * idf[word] for word in found] for own in words])
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def expected(vectors, k, temperature):
    """s of each label by its definition, (N, N)."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, 0)
    s = np.eye(len(vectors))
    for label, row in enumerate(cosines):
        kept = [i for i in np.argsort(-row, kind="stable")[:k] if row[i] > 1e-9]
        if kept:
            s[label] = 0
            s[label, kept] = row[kept] ** (1 / temperature)
            s[label] /= s[label].sum()
    return torch.tensor(s)


def answers(source, n_items):
    label = torch.arange(n_items)
    target = source(batch_of(label[:, None], label))
    check_target(target, n_items, n_items)
    return oracles.dense(target, n_items, n_items)


@pytest.mark.parametrize(("k", "temperature"), [(8, 1.0), (1, 1.0), (2, 0.3), (8, 4.0)])
@pytest.mark.parametrize("budget", [1, 2**22])
def test_it_is_the_cosine_of_the_words_without_the_label(k, temperature, budget):
    with limited(products=budget):
        near = nearest_texts(TITLES, k)
    table = answers(LabelNeighbours(*near, temperature), N)
    torch.testing.assert_close(table, expected(tfidf(TITLES), k, temperature), atol=1e-5, rtol=1e-4)
    assert table[5, 5] == 1  # an item without a text: the label alone


def test_words_of_too_many_texts_are_left_out():
    items, cosines = nearest_texts(TITLES, 8, max_df=0.4)  # of nine texts, four have tea
    assert not cosines[7].any()
    assert set(items[0][cosines[0] > 0].tolist()) == {6}  # red


@pytest.mark.parametrize(("k", "temperature"), [(2, 1.0), (8, 0.5), (30, 1.0)])
def test_it_is_the_cosine_of_given_vectors(k, temperature):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(N, 4)).astype(np.float32) * rng.uniform(0.1, 9, size=(N, 1))
    vectors[3] = 0
    with limited(gathered=1):
        near = nearest_vectors(vectors, k)
    table = answers(LabelNeighbours(*near, temperature), N)
    torch.testing.assert_close(table, expected(vectors, k, temperature), atol=1e-5, rtol=1e-4)
    assert table[3, 3] == 1


def test_one_vector_alone_has_no_neighbour():
    near = nearest_vectors(np.array([[1.0, 2.0], [0.0, 0.0]], np.float32), 1)
    assert (answers(LabelNeighbours(*near), 2) == torch.eye(2)).all()


def test_a_small_cosine_to_a_high_power_is_not_nothing():
    source = LabelNeighbours(np.array([[1, 2]] * 3), np.array([[2e-3, 1e-3]] * 3), 0.05)
    assert answers(source, 3)[0, 2].item() == pytest.approx(1 / (1 + 2**20))


# --- in a recipe ---

KINDS, EACH = 5, 6  # the last item of each kind is new: nobody had it in training
WORDS = ("tea", "pan", "lamp", "kite", "drum")
LOOKS = ("red", "old", "big", "new", "tin", "odd")


@pytest.fixture
def shelves():
    """Users who stay with one kind of item, and titles that name the kind."""
    rng = np.random.default_rng(0)
    rows, users = [], 300
    for user in range(users):
        kind = user % KINDS
        items = rng.permutation(EACH - 1)[:4]
        rows += [(user, f"{kind}-{item}", time) for time, item in enumerate(items)]
    rows += [(user, f"{user % KINDS}-{EACH - 1}", 9) for user in range(KINDS)]
    log = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    titles = pl.DataFrame(
        {"id": [f"{kind}-{item}" for kind in range(KINDS) for item in range(EACH)],
         "title": [f"{look} {word}" for word in WORDS for look in LOOKS],
         "kind": [word for word in WORDS for _ in LOOKS]}
    )  # fmt: skip
    return log, titles


SMALL = {"model": "sasrec", "epochs": 20, "batch_size": 64, "length": 4, "lr": 0.03,
         "model.dim": 16, "model.layers": 1, "model.heads": 1, "model.dropout": 0.0,
         "metrics": ("ndcg@10",), "cold_items": "keep"}  # fmt: skip


def rank_of_new(run):
    """Return the mean rank of the new item of each kind, for histories of the kind."""
    lists = run.recommender().recommend(
        histories=[[f"{kind}-0", f"{kind}-1"] for kind in range(KINDS)], k=KINDS * EACH - 2
    )
    new = np.repeat([f"{kind}-{EACH - 1}" for kind in range(KINDS)], KINDS * EACH - 2)
    return lists.filter(pl.Series(lists["item"].to_numpy() == new))["rank"].mean()


def test_a_new_item_is_found_by_its_title(tmp_path, shelves):
    """Nobody had it: one-hot labels put it anywhere, the target among the items of its kind."""
    log, titles = shelves
    plain = softrec.fit(log, out=tmp_path / "plain", items=titles, **SMALL)
    target = {"name": "text-neighbours", "alpha": 0.3}
    run = softrec.fit(log, out=tmp_path / "run", items=titles, target=target, **SMALL)
    assert rank_of_new(run) <= EACH + 1
    assert rank_of_new(plain) > 2 * EACH
    assert run.facts["soft_weight"] == 0.3


def test_vectors_of_a_file_stand_in_for_words(tmp_path, shelves):
    log, titles = shelves
    vectors = tfidf(titles["title"].to_list())
    pl.DataFrame({"id": titles["id"], "vector": vectors.tolist()}).write_parquet(
        tmp_path / "vectors.parquet"
    )
    few, found = SMALL | {"epochs": 1}, {}
    for name, options in {
        "words": {"items": titles},
        "vectors": {"target.vectors": str(tmp_path / "vectors.parquet")},
    }.items():
        run = softrec.fit(log, out=tmp_path / name, target="text-neighbours", **options, **few)
        found[name] = run.facts["valid"]["ndcg@10"]
    assert found["words"] == pytest.approx(found["vectors"], abs=1e-3)


def test_a_source_of_ones_own_vectors(tmp_path, shelves):
    """Any function of titles makes vectors; the target is then an object."""
    log, titles = shelves
    order = softrec.Interactions.read(log).items.raw
    own = titles.select(pl.col("id"), "kind").join(pl.DataFrame({"id": order}), on="id")
    ordered = pl.DataFrame({"id": order}).join(own, on="id", how="left", maintain_order="left")
    vectors = np.array([[word == kind for word in WORDS] for kind in ordered["kind"]], np.float32)
    source = LabelNeighbours(*nearest_vectors(vectors, 5))
    run = softrec.fit(log, out=tmp_path / "run", target=source, alpha=0.3, **SMALL)
    assert rank_of_new(run) <= EACH + 1


TARGET = "text-neighbours"


@pytest.mark.parametrize("said", ["no table", "no column", "no word"])
def test_where_there_is_no_text(tmp_path, shelves, said):
    log, titles = shelves
    options = {
        "no table": {},
        "no column": {"items": titles, "target.columns": ["title", "brand"]},
        "no word": {"items": titles.with_columns(title=pl.lit("?"))},
    }[said]
    with refused(RecipeError):
        softrec.fit(log, out=tmp_path / "run", target=TARGET, **options)
    assert not (tmp_path / "run.part").exists()


BROKEN_VECTORS = {
    "no vectors": pl.DataFrame({"id": ["0-0", "0-1"], "width": [1, 2]}),
    "numbers": pl.DataFrame({"id": ["0-0", "0-1"], "vector": ["a", "b"]}),
    "lengths": pl.DataFrame({"id": ["0-0", "0-1"], "vector": [[1.0], [1.0, 2.0]]}),
    "nan": pl.DataFrame({"id": ["0-0", "0-1"], "vector": [[1.0], [float("nan")]]}),
    "ids": pl.DataFrame({"id": ["x", "y"], "vector": [[1.0], [2.0]]}),
}


@pytest.mark.parametrize("broken", BROKEN_VECTORS)
def test_vectors_that_cannot_be_used(tmp_path, monkeypatch, shelves, broken):
    monkeypatch.chdir(tmp_path)
    BROKEN_VECTORS[broken].write_parquet("vectors.parquet")
    target = {"name": TARGET, "vectors": "vectors.parquet"}
    with refused(DataError):
        softrec.fit(shelves[0], out="run", target=target)


def test_a_mixture_has_the_files_and_packages_of_its_parts():
    of = [{"weight": 0.5, "target": {"name": TARGET, "vectors": "v.parquet"}},
          {"weight": 0.5, "target": {"name": TARGET}}]  # fmt: skip
    recipe = read_recipe({"data": {"source": "shop"}, "target": {"name": "mixture", "of": of}})
    assert recipe.target.packages == ("faiss", "sklearn")
    assert recipe.target.files == ("v.parquet",)
