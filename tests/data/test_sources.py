"""The readers: on small files in the published layouts, and on the real ones where they are."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import tarfile
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.io import savemat
from typer.testing import CliRunner

from messages import refused
from softrec.cli.data import data_app
from softrec.data import sources, splits
from softrec.data.interactions import Interactions
from softrec.data.sources import Counts, Parts, diginetica_sessions
from softrec.data.sources.download import verify
from softrec.data.sources.lastfm_1k import PLAYS as PLAYS_FILE
from softrec.data.sources.parsing import content
from softrec.errors import DataError, SoftrecError

BESIDE_THE_CHECKOUT = Path(__file__).parents[2].parent / "shared" / "data"
REAL = Path(os.environ.get("SOFTREC_DATA", BESIDE_THE_CHECKOUT))


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests away from the user's folders, and from the network."""
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SOFTREC_DATA", raising=False)

    def no_network(*args: object, **kwargs: object) -> None:
        raise AssertionError("a test went to the network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir()
    return made


def put(folder: Path, place: str, text: str) -> None:
    """Write `text` under `place`, packed as the ending says."""
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode("iso-8859-1")
    pack = {".xz": lzma.compress, ".gz": gzip.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(data))


def put_zip(folder: Path, place: str, member: str, text: str) -> None:
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / place, "w") as archive:
        archive.writestr("ml/README", "read me")
        archive.writestr(member, text)


def published(parts: Parts) -> tuple[Interactions, Interactions]:
    assert parts.published is not None
    return parts.published


def raw(log: Interactions | None, *columns: str) -> list[tuple[object, ...]]:
    """Return the rows of a log with raw ids."""
    assert log is not None
    frame = log.frame.with_columns(
        user=log.users.ids(log.frame["user"]), item=log.items.ids(log.frame["item"])
    )
    return frame.select("user", "item", *columns).rows()


# --- the names ---


def test_the_table_of_names_is_that_of_the_sources():
    assert [sources.get(name).name for name in sources.names()] == sources.names()


@pytest.mark.parametrize("name", sources.names())
def test_a_source_states_its_terms_and_addresses(name):
    source = sources.get(name)
    assert all([source.title, source.licence, source.citation, source.homepage, source.files])
    assert source.split["split"] in ("leave-last-out", "time", "user-ratio", "given")
    for file in source.files:
        assert file.url or file.how
        assert file.url is None or file.url.startswith("https://")
        if file.checksum is not None:
            kind, _, digest = file.checksum.partition(":")
            assert len(digest) == {"md5": 32, "sha256": 64}[kind]
            int(digest, 16)


def test_an_unknown_name_gets_names_alike():
    with refused(DataError):
        sources.get("movielens1m")
    with refused(DataError):
        sources.get("zzz")


# --- the readers, on small files ---

ML_1M = "2::10::5::978300760\n1::1193::5::978300761\n1::661::3::978300759\n"
ML_1M_ROWS = [
    (2, 10, 5.0, 978300760), (1, 1193, 5.0, 978300761), (1, 661, 3.0, 978300759)
]  # fmt: skip


@pytest.mark.parametrize(
    "place", ["movielens-1m/ratings.dat", "ml-1m/ratings.dat", "movielens-1m/ratings.dat.gz"]
)
def test_movielens_1m_original(folder, place):
    put(folder, place, ML_1M)
    log = sources.load("movielens-1m", folder).whole
    assert raw(log, "weight", "time") == ML_1M_ROWS


def test_movielens_1m_archive(folder):
    put_zip(folder, "movielens-1m/ml-1m.zip", "ml-1m/ratings.dat", ML_1M)
    log = sources.load("movielens-1m", folder).whole
    assert raw(log, "weight", "time") == ML_1M_ROWS
    assert log.users.raw.dtype == log.items.raw.dtype == pl.Int64


def test_movielens_1m_by_stated_order_where_times_are_missing(folder):
    put(
        folder,
        "movielens-1m/ratings.tsv.xz",
        "user_id\tmovie_id\trating\ttimestamp\torder\n"
        "1\t1193\t5\t978300760\t1\n1\t661\t3\t978302109\t0\n2\t7\t1\t\t2\n2\t8\t2\t\t0\n"
        "2\t9\t3\t\t1\n",
    )
    log = sources.load("movielens-1m", folder).whole
    assert raw(log, "weight") == [(1, 661, 3), (1, 1193, 5), (2, 8, 2), (2, 9, 3), (2, 7, 1)]
    assert not log.has_time


def test_movielens_1m_with_order_and_all_times(folder):
    put(
        folder,
        "movielens-1m/ratings.tsv",
        "user_id\tmovie_id\trating\ttimestamp\torder\n1\t5\t5\t70\t1\n1\t6\t3\t70\t0\n",
    )
    log = sources.load("movielens-1m", folder).whole
    assert raw(log, "time") == [(1, 6, 70), (1, 5, 70)]


def test_movielens_1m_as_in_sasrec(folder):
    put(folder, "movielens-1m/sasrec_ml-1m.txt.xz", "1 1\n1 3\n1 2\n2 1\n")
    log = sources.load("movielens-1m-sasrec", folder).whole
    assert raw(log) == [(1, 1), (1, 3), (1, 2), (2, 1)]


def test_movielens_100k_in_both_layouts(folder):
    text = "196\t242\t3\t881250949\n186\t302\t3\t891717742\n"
    rows = [(196, 242, 3.0, 881250949), (186, 302, 3.0, 891717742)]
    put(folder, "movielens-100k/u.data.xz", text)
    assert raw(sources.load("movielens-100k", folder).log, "weight", "time") == rows
    put_zip(folder, "movielens-100k/ml-100k.zip", "ml-100k/u.data", text)
    assert (
        sources.find(sources.get("movielens-100k"), sources.get("movielens-100k").files[0], folder)
        == folder / "movielens-100k" / "ml-100k.zip"
    )
    assert raw(sources.load("movielens-100k", folder).log, "weight", "time") == rows


def test_movielens_20m(folder):
    text = "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,29,4.0,1112484676\n"
    put_zip(folder, "movielens-20m/ml-20m.zip", "ml-20m/ratings.csv", text)
    log = sources.load("movielens-20m", folder).whole
    assert raw(log, "weight", "time") == [(1, 2, 3.5, 1112486027), (1, 29, 4.0, 1112484676)]


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("amazon-beauty", "amazon-beauty-2014/Beauty"),
        ("amazon-sports", "amazon-sports-2014/Sports_and_Outdoors"),
    ],
)
def test_amazon_sequences_get_the_times_of_the_same_places(folder, name, first):
    put(folder, f"{first}.txt.xz", "1 1 2\n2 3 2 1\n")
    times = f"{first.replace('_and_Outdoors', '')}_time_org_rank.txt.xz"
    put(folder, times, "1 100 200\n2 50 50 60\n")
    log = sources.load(name, folder).whole
    assert raw(log, "time") == [(1, 1, 100), (1, 2, 200), (2, 3, 50), (2, 2, 50), (2, 1, 60)]
    assert [log.items.ids(log.sequences[user]).to_list() for user in (0, 1)] == [[1, 2], [3, 2, 1]]


def test_amazon_times_of_other_sequences_are_refused(folder):
    put(folder, "amazon-beauty-2014/Beauty.txt", "1 1 2\n2 3 2 1\n")
    put(folder, "amazon-beauty-2014/Beauty_time_org_rank.txt", "1 100\n2 50 50 60\n")
    with refused(DataError):
        sources.load("amazon-beauty", folder)


def test_amazon_reviews(folder):
    review = {
        "reviewerID": "A1",
        "asin": "B00",
        "reviewerName": "x",
        "helpful": [0, 1],
        "reviewText": "nice",
        "overall": 4.0,
        "summary": "s",
        "unixReviewTime": 1391040000,
    }
    lines = [json.dumps(review), json.dumps(review | {"asin": "007", "overall": 1.0})]
    put(folder, "amazon-beauty-reviews/reviews_Beauty_5.json.gz", "\n".join(lines))
    log = sources.load("amazon-beauty-reviews", folder).whole
    assert raw(log, "weight", "time") == [
        ("A1", "B00", 4.0, 1391040000), ("A1", "007", 1.0, 1391040000)
    ]  # fmt: skip


def test_diginetica_keeps_duplicates_and_drops_padding(folder):
    put(folder, "diginetica-desorec/Diginetica.csv.xz", "0,0,3,1\n0,2,10,3\n0,2,10,3\n5,6,7,8\n")
    log = sources.load("diginetica", folder).whole
    assert raw(log) == [
        (1, 3), (1, 1), (2, 2), (2, 10), (2, 3), (3, 2), (3, 10), (3, 3),
        (4, 5), (4, 6), (4, 7), (4, 8),
    ]  # fmt: skip
    assert 0 not in log.items.raw


def test_diginetica_with_padding_inside_is_refused(folder):
    put(folder, "diginetica/Diginetica.csv", "0,1,2\n1,0,2\n")
    with refused(DataError):
        sources.load("diginetica", folder)


def test_diginetica_sessions_as_text(folder):
    put(folder, "diginetica-sessions/train_sessions.txt.xz", "1 2\n3 3 5\n")
    tests = "7 3 1 2\n7 3 1\n7 3\n2 5\n1 3 3\n1 3\n"
    put(folder, "diginetica-sessions/test_prefixes.txt.xz", tests)
    parts = sources.load("diginetica-sessions", folder)
    assert raw(parts.train) == [(1, 1), (1, 2), (2, 3), (2, 3), (2, 5)]
    assert raw(parts.test) == [
        (3, 7), (3, 3), (3, 1), (3, 2), (4, 2), (4, 5), (5, 1), (5, 3), (5, 3)
    ]  # fmt: skip
    train, test = published(parts)
    assert train.items is test.items
    assert train.users is test.users


def test_diginetica_sessions_as_pickles_are_the_same(folder, tmp_path):
    for name, value in {
        "all_train_seq.txt": [[1, 2], [3, 3, 5]],
        "test.txt": ([[7, 3, 1], [7, 3], [7], [2]], [2, 1, 3, 5]),
    }.items():
        path = folder / "diginetica-sessions" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps(value))
    parts = sources.load("diginetica-sessions", folder)
    assert raw(parts.train) == [(1, 1), (1, 2), (2, 3), (2, 3), (2, 5)]
    assert raw(parts.test) == [(3, 7), (3, 3), (3, 1), (3, 2), (4, 2), (4, 5)]


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    for name, value in {"train": [Harmful()], "test": ([[1]], [2])}.items():
        (tmp_path / name).write_bytes(pickle.dumps(value))
    with refused(DataError):
        diginetica_sessions.read(tmp_path / "train", tmp_path / "test")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "tests", ["7 3 1\n2 5\n", "7 3 1\n7 5\n", "7 3\n2 5 1\n", "7 3 1\n7 3\n9\n"]
)
def test_test_prefixes_in_another_order_are_refused(folder, tests):
    put(folder, "diginetica-sessions/train_sessions.txt", "1 2\n")
    put(folder, "diginetica-sessions/test_prefixes.txt", tests)
    with refused(DataError):
        sources.load("diginetica-sessions", folder)


@pytest.mark.parametrize("name", ["yelp2018", "gowalla", "amazon-book"])
def test_lightgcn_parts_share_their_vocabularies(folder, name):
    # Published files have users without items, a blank at the end of a line, and other oddities.
    put(folder, f"{name}/train.txt.xz", "0 5 0 \n1 2\r\n2 \n\n3 1  9\n")
    put(folder, f"{name}/test.txt.xz", "0 2\n1 7 5")
    parts = sources.load(name, folder)
    assert raw(parts.train) == [(0, 5), (0, 0), (1, 2), (3, 1), (3, 9)]
    assert raw(parts.test) == [(0, 2), (1, 7), (1, 5)]
    assert Counts.of(parts.whole) == Counts(3, 6, 8)
    train, test = published(parts)
    assert splits.given(train, test, test, cold="keep").train.n_items == 6


def test_lastfm_hetrec_sequences(folder):
    put(folder, "lastfm-hetrec/LastFM.txt.xz", "1 4 2 9\n2 2\n")
    assert raw(sources.load("lastfm-hetrec", folder).log) == [(1, 4), (1, 2), (1, 9), (2, 2)]


def test_lastfm_hetrec_parts_with_counts_in_scientific_form(folder):
    put(folder, "lastfm-hetrec/lightgcn_data1.txt.xz", "424\t4076\t993\n1311\t7\t3.2466e+05\n")
    put(folder, "lastfm-hetrec/lightgcn_test1.txt.xz", "424\t7\t57\n")
    parts = sources.load("lastfm-hetrec-lightgcn", folder)
    assert raw(parts.train, "weight") == [(424, 4076, 993.0), (1311, 7, 324660.0)]
    assert raw(parts.test, "weight") == [(424, 7, 57.0)]


PLAYS = (
    'user_1\t2009-04-08T01:57:47Z\ta-id\tThe "Dogs\tt-2\tFall\n'
    "user_1\t2009-04-08T01:57:47Z\ta-id\tDogs\tt-1\tBefore\n"
    "user_1\t2009-04-08T01:53:56Z\t\tNobody\t\tUnknown\n"
    "user_1\t2009-04-08T01:53:55Z\ta-id\tDogs\tt-2\tFall\n"
)
PLAYS_ROWS = [
    ("user_1", "t-2", 1239155635), ("user_1", "t-1", 1239155867), ("user_1", "t-2", 1239155867)
]  # fmt: skip


def test_lastfm_1k_unpacked(folder):
    put(folder, f"lastfm-1k/{PLAYS_FILE}", PLAYS)
    assert raw(sources.load("lastfm-1k", folder).log, "time") == PLAYS_ROWS


def test_lastfm_1k_archive_is_unpacked_to_the_cache(folder):
    archive = folder / "lastfm-1k" / "lastfm-dataset-1K.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as members:
        info = tarfile.TarInfo(f"lastfm-dataset-1K/{PLAYS_FILE}")
        info.size = len(PLAYS)
        members.addfile(info, io.BytesIO(PLAYS.encode()))
    for _ in range(2):
        assert raw(sources.load("lastfm-1k", folder).log, "time") == PLAYS_ROWS
    kept = sources.cache_dir() / "lastfm-1k"
    assert [path.name for path in kept.iterdir()] == [PLAYS_FILE]
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]


def test_lastfm_1k_sample(folder):
    put(folder, "lastfm-1k-sample/user-filter-20000items-session5.csv.xz", "b,a,b\nc,b,a\n")
    log = sources.load("lastfm-1k-sample", folder).whole
    assert raw(log) == [(1, "b"), (1, "a"), (1, "b"), (2, "c"), (2, "b"), (2, "a")]


def test_epinions_keeps_repeated_rows_in_both_layouts(folder):
    put(
        folder,
        "epinions/ratings.tsv.xz",
        "user_id\titem_id\tcategory_id\trating\n1\t1\t3\t2\n1\t2\t2\t5\n1\t2\t2\t5\n",
    )
    rows = [(1, 1, 2.0), (1, 2, 5.0), (1, 2, 5.0)]
    assert raw(sources.load("epinions", folder).log, "weight") == rows
    matrix = np.array([[1, 1, 3, 2, 0.5, 99], [1, 2, 2, 5, 0.5, 98], [1, 2, 2, 5, 0.5, 97]])
    savemat(folder / "epinions" / "rating.mat", {"rating": matrix})
    assert raw(sources.load("epinions", folder).log, "weight") == rows


TIMED = [
    "movielens-1m-timed", "amazon-beauty-2014-timed", "amazon-games-2018-timed", "yoochoose-buys"
]  # fmt: skip
IR = ["ir-electronic", "ir-electronic-temporal", "ir-electronic-popularity", "ir-health"]


@pytest.mark.parametrize("name", TIMED)
def test_logs_with_times_keep_repeats_and_the_order_of_ties(folder, name):
    events = "user\titem\ttime\n0\t9\t50\n0\t2\t50\n0\t9\t70\n3\t1\t1412042969362\n"
    put(folder, f"{name}/events.tsv.xz", events)
    log = sources.load(name, folder).whole
    assert raw(log, "time") == [(0, 9, 50), (0, 2, 50), (0, 9, 70), (3, 1, 1412042969362)]
    assert log.items.ids(log.sequences[0]).to_list() == [9, 2, 9]


@pytest.mark.parametrize("name", TIMED[:3])
def test_titles_are_read_letter_by_letter(folder, name):
    titles = 'item\ttitle\n2\tTom &amp;amp; Viv\n1\tIvan "Ironman" Stewart, 1" Pad\n3\t"Tea"\n'
    put(folder, f"{name}/titles.tsv", titles)
    assert sources.item_table(name, folder).rows() == [
        (2, "Tom & Viv"), (1, 'Ivan "Ironman" Stewart, 1" Pad'), (3, '"Tea"')
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["item\ttitle\n1\tTea\n1\tMilk\n", "item\ttitle\n1\t\n", "id\tname\n1\tTea\n", ""]
)
def test_titles_of_another_layout_are_named(folder, text):
    put(folder, "movielens-1m-timed/titles.tsv", text)
    with refused(DataError):
        sources.item_table("movielens-1m-timed", folder)


def test_a_log_does_not_need_the_titles_but_who_asks_is_told(folder):
    put(folder, "movielens-1m-timed/events.tsv", "user\titem\ttime\n0\t9\t50\n")
    assert len(sources.load("movielens-1m-timed", folder).whole) == 1
    for name in ("movielens-1m-timed", "yoochoose-buys"):
        with pytest.raises(DataError):  # its words hold a path, and are cut where that is long
            sources.item_table(name, folder)


@pytest.mark.parametrize("name", IR)
def test_parts_of_ir_benchmark(folder, name):
    put(folder, f"{name}/train.tsv.xz", "user_procid\titem_procid\n0\t7\n0\t3\n4\t3\n")
    put(folder, f"{name}/test.tsv.xz", "user_procid\titem_procid\n4\t7\n0\t1\n")
    parts = sources.load(name, folder)
    assert raw(parts.train) == [(0, 7), (0, 3), (4, 3)]
    assert raw(parts.test) == [(4, 7), (0, 1)]
    train, test = published(parts)
    assert train.items is test.items
    assert Counts.of(parts.whole) == Counts(2, 3, 5)  # numbers without an event are no items


def test_parts_of_ir_benchmark_with_other_columns_are_refused(folder):
    for part in ("train", "test"):
        put(folder, f"ir-health/{part}.tsv", "user_orgid\titem_orgid\n0\t7\n")
    with pytest.raises(DataError):
        sources.load("ir-health", folder)


def test_parts_are_one_log_or_two():
    log = Interactions.read(pl.DataFrame({"user": [1], "item": [1]}))
    assert Parts(log).published is None
    assert Parts(train=log, test=log).log is None
    for wrong in ({}, {"log": log, "train": log, "test": log}, {"train": log}):
        with refused(TypeError):
            Parts(**wrong)


# --- broken files ---


@pytest.mark.parametrize(("name", "place", "text"), [
    ("movielens-1m", "movielens-1m/ratings.dat", "1,2,3\n"),
    ("movielens-1m", "movielens-1m/ratings.dat", ""),
    ("movielens-1m", "movielens-1m/ratings.dat", "1::tea::5::978300760\n"),
    ("movielens-1m", "movielens-1m/ratings.dat", "1::2::::978300760\n"),
    ("movielens-1m", "movielens-1m/ratings.tsv", "user\titem\n1\t2\n"),
    ("movielens-1m", "movielens-1m/ratings.tsv", "user_id\tmovie_id\trating\ttimestamp\torder\n"
                                                 "1\ttea\t3\t4\t0\n"),
    ("movielens-20m", "movielens-20m/ratings.csv", "user,item\n1,2\n"),
    ("amazon-beauty-reviews", "amazon-beauty-reviews/reviews_Beauty_5.json.gz", "no json"),
    ("amazon-beauty-reviews", "amazon-beauty-reviews/reviews_Beauty_5.json.gz", '{"asin": "B"}\n'),
    ("diginetica", "diginetica/Diginetica.csv", "1,2,tea\n"),
    ("lastfm-hetrec", "lastfm-hetrec/LastFM.txt", "1 2 tea\n"),
    ("lastfm-hetrec", "lastfm-hetrec/LastFM.txt", ""),
    ("lastfm-1k", f"lastfm-1k/{PLAYS_FILE}", "user\tyesterday\ta\tb\tc\td\n"),
    ("yoochoose-buys", "yoochoose-buys/events.tsv", "user\titem\n1\t2\n"),
    ("yoochoose-buys", "yoochoose-buys/events.tsv", "user\titem\ttime\n1\t2\ttea\n"),
    ("epinions", "epinions/rating.mat", "not MATLAB, though long enough to be looked at " * 9),
])  # fmt: skip
def test_a_file_of_another_layout_is_named(folder, name, place, text):
    put(folder, place, text)
    with pytest.raises(DataError) as caught:
        sources.load(name, folder)
    assert str(folder / place) in str(caught.value)


@pytest.mark.parametrize("name", ["ml-1m.zip", "ratings.dat.xz", "ratings.dat.gz"])
def test_a_damaged_archive_is_named(folder, name):
    path = folder / "movielens-1m" / name
    path.parent.mkdir()
    packed = {".xz": lzma.compress, ".gz": gzip.compress}.get(path.suffix, bytes)
    path.write_bytes(packed(ML_1M.encode() * 100)[:60])
    with refused(DataError) as caught:
        sources.load("movielens-1m", folder)
    assert str(path) in str(caught.value)


def test_an_archive_without_its_member_is_named(folder):
    put_zip(folder, "movielens-1m/ml-1m.zip", "other/ratings.dat", ML_1M)
    with refused(DataError):
        sources.load("movielens-1m", folder)


# --- the command line ---


def test_list_shows_every_name_and_what_is_here(folder):
    put(folder, "lastfm-hetrec/LastFM.txt", "1 2\n")
    result = CliRunner().invoke(data_app, ["list", "--data-dir", str(folder)])
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.output.splitlines()}
    assert set(sources.names()) <= set(lines)
    assert "data folder" in lines["lastfm-hetrec"]
    assert "1,000,209" in lines["movielens-1m"]
    assert " no " in lines["movielens-1m"]


def test_get_prints_terms_and_paths(folder):
    put(folder, "epinions/ratings.tsv", "user_id\titem_id\tcategory_id\trating\n1\t1\t3\t2\n")
    result = CliRunner().invoke(data_app, ["get", "epinions", "--data-dir", str(folder)])
    assert result.exit_code == 0, result.output
    source = sources.get("epinions")
    for text in (source.licence, source.citation, str(folder / "epinions" / "ratings.tsv")):
        assert text in result.output
    assert "from your data folder, used as it is" in result.output


@pytest.mark.parametrize(
    ("checksum", "told"),
    [
        (None, "not verified, because no checksum is known"),
        (f"md5:{hashlib.md5(b'1 2').hexdigest()}", "verified, md5:"),
    ],
)
def test_get_says_whether_a_cached_file_was_verified(restored, checksum, told):
    kept = sources.cache_dir() / "lastfm-hetrec" / "LastFM.txt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"1 2")
    source = sources.get("lastfm-hetrec")
    file = replace(source.files[0], checksum=checksum)
    restored(sources.SOURCES)[source.name] = replace(source, files=(file,))
    assert f"({told}" in CliRunner().invoke(data_app, ["get", source.name]).output


def test_a_cached_file_with_a_wrong_checksum_is_an_error():
    kept = sources.cache_dir() / "lastfm-hetrec" / "LastFM.txt"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"1 2")
    with refused(DataError):
        sources.load("lastfm-hetrec")


def test_describe_measures(folder, monkeypatch):
    put(
        folder,
        "movielens-100k/u.data",
        "1\t7\t3\t874724710\n1\t8\t5\t893286638\n2\t7\t1\t880000000\n",
    )
    monkeypatch.setenv("SOFTREC_DATA", str(folder))
    result = CliRunner().invoke(data_app, ["describe", "movielens-100k"])
    assert result.exit_code == 0, result.output
    for text in (
        "licence: GroupLens", "cite: F. M. Harper", "users: 2", "items: 2", "events: 3",
        "events per user: min 1, 25% 1.25, median 1.5, 75% 1.75, 99% 1.99, max 2, mean 1.50",
        "times: 1997-09-20 to 1998-04-22", "weights: 1 to 5, mean 3.00", "split=leave-last-out",
    ):  # fmt: skip
        assert text in result.output


def test_items_prints_or_writes_titles(folder, tmp_path):
    put(folder, "movielens-1m-timed/titles.tsv", "item\ttitle\n2\tTea\n1\tMilk &amp; Co\n")
    asked = ["items", "movielens-1m-timed", "--data-dir", str(folder)]
    result = CliRunner().invoke(data_app, asked)
    assert (result.exit_code, result.output) == (0, "item\ttitle\n2\tTea\n1\tMilk & Co\n")
    out = tmp_path / "items.parquet"
    assert CliRunner().invoke(data_app, [*asked, "--out", str(out)]).exit_code == 0
    assert pl.read_parquet(out).rows() == [(2, "Tea"), (1, "Milk & Co")]


def test_an_unknown_name_is_an_error_of_the_user():
    result = CliRunner().invoke(data_app, ["describe", "netflix"])
    assert isinstance(result.exception, SoftrecError)


# --- the real files, where they are ---


@pytest.fixture
def real_data() -> Path:
    if not REAL.is_dir():
        pytest.skip(f"no real data: the folder {REAL} is absent (SOFTREC_DATA names another)")
    return REAL


LOCAL = [
    "movielens-1m", "movielens-1m-sasrec", "movielens-100k", "amazon-beauty", "amazon-sports",
    "diginetica", "diginetica-sessions", "yelp2018", "lastfm-hetrec", "lastfm-hetrec-lightgcn",
    "lastfm-1k-sample", "epinions", *TIMED, *IR,
]  # fmt: skip


def load_real(name: str, folder: Path) -> Parts:
    source = sources.get(name)
    if not all(sources.find(source, file, folder) for file in source.files):
        pytest.skip(f"{name} is absent from {folder}")
    return sources.load(name, folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOCAL)
def test_real_counts_and_the_recommended_split(real_data, name):
    parts = load_real(name, real_data)
    source = sources.get(name)
    assert Counts.of(parts.whole) == source.counts
    options = {key: value for key, value in source.split.items() if key == "cold"}
    if source.split["split"] == "given":
        train, test = published(parts)
        made = splits.given(train, test, test, **options)
    else:
        make = {
            "leave-last-out": splits.leave_last_out,
            "user-ratio": splits.by_user_ratio,
            "time": splits.by_time,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", splits.LeakageWarning)
            made = make[str(source.split["split"])](parts.whole, **options)
        left_out = made.aside.cold_events if made.aside.cold == "drop" else 0
        assert len(made.train) + len(made.valid) + len(made.test) + left_out == len(parts.whole)
    assert made.train.n_items == source.counts.items  # the catalogue is kept


@pytest.mark.slow
def test_real_movielens_1m(real_data):
    log = load_real("movielens-1m", real_data).whole
    lengths = log.sequences.lengths
    assert (lengths.min(), np.median(lengths), lengths.max()) == (20, 96, 2314)
    stars = log.frame["weight"].value_counts().sort("weight")["count"].to_list()
    assert stars == [56_174, 107_557, 261_197, 348_971, 226_310]


def test_real_movielens_100k(real_data):
    log = load_real("movielens-100k", real_data).whole
    assert (log.frame["time"].min(), log.frame["time"].max()) == (874724710, 893286638)
    assert np.quantile(log.sequences.lengths, [0.25, 0.5, 0.75, 1]).tolist() == [33, 65, 148, 737]


@pytest.mark.parametrize(("name", "quantiles", "first", "last", "ties"), [
    ("amazon-beauty", [5, 5, 6, 9, 204], "2002-06-12", "2014-07-23", 77_402),
    ("amazon-sports", [5, 5, 6, 9, 296], "2002-03-07", "2014-07-23", None),
])  # fmt: skip
def test_real_amazon(real_data, name, quantiles, first, last, ties):
    log = load_real(name, real_data).whole
    assert np.quantile(log.sequences.lengths, [0, 0.25, 0.5, 0.75, 1]).tolist() == quantiles
    days = log.frame.select(pl.from_epoch("time").dt.date())["time"]
    assert (str(days.min()), str(days.max())) == (first, last)
    # Times never contradict the published order, so ordering by them changes nothing.
    assert log.ordered.equals(log.frame)
    assert (log.frame["time"] % 86_400 == 0).all()
    if ties is not None:
        same_user = log.frame["user"].diff() == 0
        assert int((same_user & (log.frame["time"].diff() == 0)).sum()) == ties


def test_real_diginetica_has_the_stated_cold_items_and_duplicates(real_data):
    log = load_real("diginetica", real_data).whole
    lengths = log.sequences.lengths
    assert (lengths.min(), np.median(lengths), lengths.max()) == (5, 6, 20)
    assert (np.sum(lengths == 5), np.sum(lengths == 20)) == (18_394, 592)
    last = log.sequences.offsets[1:] - 1
    before = np.ones(len(log), dtype=bool)
    before[last] = False
    seen = np.bincount(log.sequences.items[before], minlength=log.n_items) > 0
    assert (log.n_items - seen.sum(), np.sum(~seen[log.sequences.items[last]])) == (1_694, 5_324)
    sessions = log.frame.group_by("user", maintain_order=True).agg("item")["item"]
    assert (
        len(sessions) - sessions.list.eval(pl.element().cast(pl.String)).list.join(" ").n_unique()
        == 12
    )


@pytest.mark.slow
def test_real_diginetica_sessions_ask_the_published_examples(real_data):
    train, test = published(load_real("diginetica-sessions", real_data))
    assert Counts.of(train) == Counts(186_670, 43_097, 906_140)
    assert (test.frame["user"].n_unique(), len(test)) == (15_963, 76_821)
    assert len(test) - 15_963 == 60_858  # one example at every position but the first
    repeats = (train.frame["user"].diff() == 0) & (train.frame["item"].diff() == 0)
    assert int(repeats.sum()) == 66_187


@pytest.mark.slow
def test_real_yelp2018(real_data):
    parts = load_real("yelp2018", real_data)
    train, test = published(parts)
    assert (len(train), len(test)) == (1_237_259, 324_147)
    assert parts.whole.items.raw.to_list() == list(range(38_048))
    assert not parts.whole.frame.is_duplicated().any()
    assert test.frame.join(train.frame, on=["user", "item"], how="semi").is_empty()
    lengths = train.sequences.lengths
    assert (lengths.min(), np.median(lengths), lengths.max()) == (16, 25, 1848)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "first", "last", "repeats", "unit"), [
    ("movielens-1m-timed", 956703932, 1046454590, 0, 1),
    ("amazon-beauty-2014-timed", 1023840000, 1406073600, 0, 86_400),
    ("amazon-games-2018-timed", 939859200, 1538438400, 390, 86_400),
    ("yoochoose-buys", 1396322949230, 1412042969362, 47_112, 1),
])  # fmt: skip
def test_real_logs_with_times(real_data, name, first, last, repeats, unit):
    log = load_real(name, real_data).whole
    times = log.frame["time"]
    assert (times.min(), times.max()) == (first, last)
    assert (times % unit == 0).all()
    assert log.ordered.equals(log.frame)
    assert len(log) - log.frame.select("user", "item").n_unique() == repeats
    if name != "yoochoose-buys":
        table = sources.item_table(name, real_data)
        assert set(table["item"]) == set(log.items.raw)
        assert not table["title"].str.contains("&amp;|&quot;|&#").any()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "train_events", "test_events", "test_users", "test_items"), [
    ("ir-electronic", 182_398, 52_123, 13_455, 8_131),
    ("ir-electronic-temporal", 140_712, 24_668, 7_210, 4_607),
    ("ir-electronic-popularity", 187_616, 46_905, 12_610, 8_335),
    ("ir-health", 37_784, 10_405, 1_974, 1_187),
])  # fmt: skip
def test_real_parts_of_ir_benchmark(
    real_data, name, train_events, test_events, test_users, test_items
):
    train, test = published(load_real(name, real_data))
    assert len(train) == train_events
    assert Counts.of(test) == Counts(test_users, test_items, test_events)
    whole = pl.concat([train.frame, test.frame])
    assert not whole.is_duplicated().any()  # no pair twice, and none in both parts
    for kind in ("user", "item"):  # all that is asked about can be learned
        assert set(test.frame[kind]) <= set(train.frame[kind])


@pytest.mark.slow
def test_real_parts_of_ir_electronic_are_of_the_same_events(real_data):
    def pairs(name):
        return set(raw(load_real(name, real_data).whole))

    every = pairs("ir-electronic")
    assert pairs("ir-electronic-popularity") == every
    assert pairs("ir-electronic-temporal") < every


@pytest.mark.slow
def test_real_epinions_keeps_its_duplicates(real_data):
    log = load_real("epinions", real_data).whole
    assert len(log) - log.frame.select("user", "item").n_unique() == 8_205


@pytest.mark.slow
def test_real_files_are_what_the_addresses_give(real_data, tmp_path):
    """The checksums are of the content at the address; packed copies hold the same content."""
    checked = 0
    for source in map(sources.get, LOCAL):
        for file in source.files:
            path = sources.find(source, file, real_data)
            # A zip's checksum is not that of the one file of it that lies here.
            if path is None or file.checksum is None or file.name.endswith(".zip"):
                continue
            copy = tmp_path / file.name
            copy.write_bytes(content(path))
            verify(copy, file.checksum)
            checked += 1
    if not checked:
        pytest.skip(f"none of the files in {real_data} has a checksum")
