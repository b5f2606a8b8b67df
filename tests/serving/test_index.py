"""What an index finds is what all scores say, and a list is never shorter than the exact one."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from messages import refused
from softrec.data.interactions import Interactions
from softrec.errors import RunError, SoftrecError
from softrec.experiments.index import index_folder
from softrec.models.comirec import ComiRecSA
from softrec.models.gru4rec import GRU4Rec
from softrec.models.mf import MF
from softrec.serving.exact import ExactRanking, ItemScores, Seen
from softrec.serving.exported import ExportedRecommender
from softrec.serving.exporting.write import write_files, write_manifest
from softrec.serving.index.kinds import KINDS, asked_with, of_one_length, with_bias
from softrec.serving.index.ranking import IndexRanking
from softrec.serving.index.report import Measured, Questions, choose, report
from softrec.serving.prior import Offsets, stacked
from softrec.serving.recommender import Recommender

N, D = 400, 6
RANDOM = np.random.default_rng(5)
ITEMS = ItemScores(
    RANDOM.normal(size=(N, D)).astype(np.float32)
    * RANDOM.uniform(0.5, 3, (N, 1)).astype(np.float32),
    RANDOM.normal(size=N).astype(np.float32),
)
USERS = RANDOM.normal(size=(9, D)).astype(np.float32)
INTERESTS = RANDOM.normal(size=(9, 3, D)).astype(np.float32)
NOTHING = np.empty(0, dtype=np.int64)
WHOLE = slice(0, 9)
SEEN = Seen(np.arange(10) * 4, RANDOM.integers(0, N, 36))


@pytest.fixture(scope="module")
def built():
    """Each kind of index, with so much effort that it finds all there is."""
    made = {}
    for name, kind in KINDS.items():
        made[name] = kind.build(ITEMS)
        made[name].set_effort(2000)
    return made


def equal(found, wanted):
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.items, wanted.items)


# --- the bias and the distances, exactly ---


@given(st.integers(0, 99), st.booleans())
def test_one_more_number_is_the_bias(seed, biased):
    random = np.random.default_rng(seed)
    items = ItemScores(random.normal(size=(20, 4)), random.normal(size=20) if biased else None)
    users = random.normal(size=(3, 4))
    products = asked_with(users, width=5) @ with_bias(items).T
    np.testing.assert_allclose(products, items.scores(users), rtol=1e-5, atol=1e-5)


@given(st.integers(0, 99))
def test_two_more_numbers_make_the_nearest_the_best(seed):
    random = np.random.default_rng(seed)
    items = ItemScores(random.normal(size=(20, 4)), random.normal(size=20))
    users = random.normal(size=(3, 4))
    vectors, asked = of_one_length(with_bias(items)), asked_with(users, width=6)
    np.testing.assert_allclose(
        np.linalg.norm(vectors, axis=1), np.linalg.norm(vectors[0]), rtol=1e-5
    )
    squares = np.square(asked[:, None] - vectors).sum(2)
    length = np.square(with_bias(items)).sum(1).max()
    scores = (np.square(users).sum(1)[:, None] + 1 + length - squares) / 2
    np.testing.assert_allclose(scores, items.scores(users), rtol=1e-4, atol=1e-4)


# --- the ranking ---


@pytest.mark.parametrize("users", [USERS, INTERESTS], ids=["one", "several"])
@pytest.mark.parametrize("kind", KINDS)
def test_with_all_effort_it_is_the_exact_ranking(built, kind, users):
    for seen in (None, SEEN):
        exact = ExactRanking(ITEMS, users, seen)
        ranking = IndexRanking(built[kind], ITEMS, users, seen)
        also = np.array([3, 17])
        (found, own), (wanted, theirs) = (r.best(WHOLE, 7, None, also) for r in (ranking, exact))
        equal(found, wanted)
        np.testing.assert_allclose(own, theirs, rtol=1e-5, atol=1e-5)
        some = slice(4, 6)
        equal(ranking.best(some, 7, None, NOTHING)[0], exact.best(some, 7, None, NOTHING)[0])


def test_two_small_indices_of_usearch_are_equal(tmp_path):
    for name in ("one", "two"):
        KINDS["usearch"].build(ITEMS).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.6, 0.98])
@pytest.mark.parametrize("kind", KINDS)
def test_rules_never_make_a_list_short(built, kind, share):
    allowed = np.random.default_rng(1).random(N) < share
    exact = ExactRanking(ITEMS, USERS, SEEN)
    ranking = IndexRanking(built[kind], ITEMS, USERS, SEEN)
    (found, own), (wanted, theirs) = (
        r.best(WHOLE, 5, allowed, SEEN.items[:2]) for r in (ranking, exact)
    )
    listed = wanted.scores > -np.inf
    np.testing.assert_array_equal(found.scores > -np.inf, listed)
    np.testing.assert_array_equal(found.items[listed], wanted.items[listed])
    np.testing.assert_allclose(own, theirs, rtol=1e-5, atol=1e-5)


class Poor:
    """An index that finds nothing but the items that somebody has seen."""

    def search(self, users, k):
        found = np.full((len(users), k), -1)
        found[:, :2] = SEEN.items[:2]
        return found


def test_what_an_index_does_not_find_is_scored():
    users, seen = USERS[:1], Seen(SEEN.offsets[:2], SEEN.items[:4])
    ranking = IndexRanking(Poor(), ITEMS, users, seen)
    wanted, _ = ExactRanking(ITEMS, users, seen).best(slice(0, 1), 5, None, NOTHING)
    equal(ranking.best(slice(0, 1), 5, None, NOTHING)[0], wanted)


def raised(rows=9, entries=12):
    """Offsets above 0 for some items of each row; the last row has none."""
    random = np.random.default_rng(1)
    items = np.sort([random.permutation(N)[:entries] for _ in range(rows - 1)], axis=1)
    starts = np.append(np.arange(rows) * entries, (rows - 1) * entries)
    return Offsets(starts, items.ravel(), random.uniform(0, 9, items.size).astype(np.float32))


class Best:
    """An index that finds the best items by their products, and no others."""

    def search(self, users, k):
        return np.argsort(-ITEMS.scores(users), axis=1)[:, :k]


@pytest.mark.parametrize("users", [USERS, INTERESTS], ids=["one", "several"])
@pytest.mark.parametrize("seen", [None, SEEN], ids=["all", "new"])
def test_items_with_an_offset_are_found_though_an_index_knows_none(users, seen):
    offsets, also = raised(), np.array([3, 0, 7])
    wanted, theirs = ExactRanking(ITEMS, users, seen, offsets).best(WHOLE, 9, None, also)
    plain, _ = ExactRanking(ITEMS, users, seen).best(WHOLE, 9, None, also)
    assert (wanted.items != plain.items).any(1).sum() > 4  # else it shows nothing
    found, own = IndexRanking(Best(), ITEMS, users, seen, offsets).best(WHOLE, 9, None, also)
    equal(found, wanted)
    np.testing.assert_allclose(own, theirs, rtol=1e-5, atol=1e-5)
    rows = report(ITEMS, Questions(users, offsets), 9, ["ivf"])
    assert rows[-1].recall > 0.9


def test_offsets_are_added_where_they_belong():
    offsets, table = raised(), np.zeros((9, N), np.float32)
    for row in range(9):
        for place in range(offsets.starts[row], offsets.starts[row + 1]):
            table[row, offsets.items[place]] = offsets.values[place]
    rows, items = slice(2, 6), RANDOM.integers(0, N, (4, 50))
    np.testing.assert_array_equal(offsets.add(rows, np.zeros((4, N), np.float32)), table[rows])
    np.testing.assert_array_equal(
        offsets.at(rows, items), np.take_along_axis(table[rows], items, 1)
    )
    listed = offsets.listed(slice(7, 9))
    np.testing.assert_array_equal(listed[0], np.flatnonzero(table[7]))
    assert (listed[1] == -1).all()
    parts = [offsets.of(slice(0, 4)), offsets.of(slice(4, 9))]
    for column, own in zip(stacked(parts), offsets, strict=True):
        np.testing.assert_array_equal(column, own)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_has_the_whole_index(built, kind, tmp_path):
    path = tmp_path / built[kind].file
    built[kind].save(path)
    back = KINDS[kind].read(path, 2000)
    wanted, _ = ExactRanking(ITEMS, USERS).best(WHOLE, 5, None, NOTHING)
    equal(IndexRanking(back, ITEMS, USERS).best(WHOLE, 5, None, NOTHING)[0], wanted)
    assert back.effort == 2000


# --- the report ---


def test_the_report_has_exact_and_all_efforts():
    items = ItemScores(RANDOM.normal(size=(2000, D)).astype(np.float32))
    rows = report(items, Questions(USERS), 5, ["ivf"])
    assert [(row.kind, row.effort) for row in rows] == [
        ("exact", None), ("ivf", 8), ("ivf", 32), ("ivf", 128),
    ]  # fmt: skip
    recalls = [row.recall for row in rows]
    assert recalls[0] == recalls[-1] == 1
    assert recalls[1] < 1  # 8 of 51 cells
    assert all(0 < row.p50 <= row.p99 for row in rows)
    assert rows[0].mib == pytest.approx(2000 * D * 4 / 2**20)
    assert rows[1].settings == {"cells": 51}


def row(kind, p50, recall):
    return Measured(kind, {}, None, recall, p50, p50, 1.0, 0.0)


@pytest.mark.parametrize(
    ("fast", "least", "wanted"),
    [(10, 0.9, "exact"), (9, 0.9, "b"), (9, 0.7, "a"), (9, 0.99, "exact"), (9, 0.995, "exact")],
)
def test_exact_while_it_is_fast_then_the_fastest_that_finds_enough(fast, least, wanted):
    rows = [row("exact", 10, 1), row("a", 1, 0.8), row("b", 2, 0.95), row("c", 11, 1.0)]
    assert choose(rows, fast, least).kind == wanted


# --- in an export ---


@pytest.fixture
def export(tmp_path):
    """Return a function from a model to the folder of its export, and the run's recommender."""
    lists = np.random.default_rng(3).integers(0, N, (30, 8))
    frame = pl.DataFrame({"user": np.repeat(np.arange(30), 8), "item": lists.ravel()})
    everything = pl.DataFrame({"user": np.full(N, 30), "item": np.arange(N)})
    log = Interactions.read(pl.concat([frame, everything]))

    def made(model, **options):
        torch.manual_seed(2)
        with torch.no_grad():
            for part in model.parameters():
                part += 0.5 * torch.randn_like(part)
        run = Recommender(model, log, length=5)
        write_manifest(tmp_path, write_files(run, tmp_path, **options), {})
        return tmp_path, run

    return made


def by_number():
    return MF(N, n_users=31, dim=6, output_bias=True)


@pytest.mark.parametrize("kind", ["hnsw", "usearch"])
def test_an_export_recommends_with_its_index(export, kind):
    folder, run = export(by_number())
    plain = ExportedRecommender(folder)
    assert plain.index is None
    found = index_folder(folder, kind=kind, recall=1.0, questions=20)
    assert found.stored
    assert found.chosen.kind == kind
    served = ExportedRecommender(folder)
    assert served.index.kind == kind
    assert served.index.effort == found.chosen.effort
    users = list(range(31))  # the last one has seen everything
    own, theirs = (s.recommend(users, 5) for s in (run, served))
    assert own["user"].to_list() == theirs["user"].to_list()
    assert (own["item"] == theirs["item"]).mean() > 0.9
    report = json.loads((folder / "index.json").read_text())
    assert report["chosen"]["kind"] == kind
    index_folder(folder, kind="exact")
    assert not list(folder.glob("index.*s*ch")) + list(folder.glob("index.faiss"))
    assert ExportedRecommender(folder).index is None


@pytest.mark.slow
def test_several_interests_are_asked_one_by_one(export):
    folder, run = export(ComiRecSA(N, dim=6, length=5, interests=3, output_bias=True))
    index_folder(folder, kind="hnsw", recall=1.0)
    served = ExportedRecommender(folder)
    own, theirs = (s.recommend(list(range(30)), 5) for s in (run, served))
    assert (own["item"] == theirs["item"]).mean() > 0.95


@pytest.mark.slow
def test_without_users_an_index_is_asked_for_histories(export):
    folder, run = export(GRU4Rec(N, dim=6), users=False)
    index_folder(folder, kind="hnsw", recall=1.0)
    own, theirs = (
        s.recommend(histories={n: [n, n + 1] for n in range(40)})
        for s in (run, ExportedRecommender(folder))
    )
    assert (own["item"] == theirs["item"]).mean() > 0.9


def test_a_damaged_index_is_refused(export):
    folder, _ = export(by_number())
    index_folder(folder, kind="ivf")
    (folder / "index.faiss").write_bytes(b"nothing")
    with refused(RunError):
        ExportedRecommender(folder)


def test_what_cannot_be_indexed(export):
    folder, _ = export(by_number())
    with refused(RunError):
        index_folder(folder, kind="annoy")
    with refused(RunError):
        index_folder(folder, kind="ivf", k=51)
    assert [row.kind for row in index_folder(folder, k=51).rows] == ["exact"]
    with refused(SoftrecError):
        index_folder(folder / "none")


def test_runtime_and_usearch_may_be_loaded_in_any_order(tmp_path):
    """Imported by hand, ONNX Runtime after USearch ends the process."""
    code = """
import numpy as np
from softrec.serving.exact import ItemScores
from softrec.serving.index.kinds import USearch
USearch.build(ItemScores(np.eye(20, dtype=np.float32)))
import onnxruntime
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
