"""Whatever the files of a public data set hold, they are read or refused in one line."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import pickle
import shutil
import tarfile
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from cases import attempted, cases
from damage import damaged
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from softrec.cli.data import measured
from softrec.data import sources
from softrec.data.sources.lastfm_1k import PLAYS

RATINGS = "1::661::3::978302109\n1::1193::5::978300760\n2::7::1::978300761\n"
ORDERED = "user_id\tmovie_id\trating\ttimestamp\torder\n1\t1193\t5\t978300760\t1\n1\t661\t3\t\t0\n"
ML_100K = "196\t242\t3\t881250949\n186\t302\t3\t891717742\n"
ML_20M = "userId,movieId,rating,timestamp\n1,2,3.5,1112486027\n1,29,4.0,1112484676\n"
REVIEWS = "\n".join(
    json.dumps({"reviewerID": user, "asin": "B00", "helpful": [0, 1], "reviewText": "n",
                "overall": 4.0, "unixReviewTime": 1391040000}) for user in ("A1", "A2")
)  # fmt: skip
PLAYED = (
    'user_1\t2009-04-08T01:57:47Z\ta-id\tThe "Dogs\tt-2\tFall\n'
    "user_1\t2009-04-08T01:53:56Z\t\tNobody\t\tUnknown\n"
)
EPINIONS = "user_id\titem_id\tcategory_id\trating\n1\t1\t3\t2\n1\t2\t2\t5\n"

TRAINED = [[1, 2], [3, 3, 5]]
TESTED = ([[7, 3, 1], [7, 3], [7], [2]], [2, 1, 3, 5])


def zipped(member: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, data)
        return file.getvalue()

    return pack


def tarred(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as members:
        info = tarfile.TarInfo(f"lastfm-dataset-1K/{PLAYS}")
        info.size = len(data)
        members.addfile(info, io.BytesIO(data))
    return file.getvalue()


def matrix(columns: int) -> bytes:
    file = io.BytesIO()
    savemat(file, {"rating": np.arange(1.0, 1 + 3 * columns).reshape(3, columns)})
    return file.getvalue()


# name, {place: (content, how it is packed)}
FILES: list[tuple[str, dict[str, tuple[bytes, Callable[[bytes], bytes]]]]] = [
    ("movielens-1m", {"movielens-1m/ratings.dat": (RATINGS.encode(), bytes)}),
    ("movielens-1m", {"movielens-1m/ml-1m.zip": (RATINGS.encode(), zipped("ml-1m/ratings.dat"))}),
    ("movielens-1m", {"movielens-1m/ratings.tsv": (ORDERED.encode(), bytes)}),
    ("movielens-1m-sasrec",
     {"movielens-1m/sasrec_ml-1m.txt.xz": (b"1 1\n1 3\n2 1\n", lzma.compress)}),
    ("movielens-100k", {"movielens-100k/u.data.xz": (ML_100K.encode(), lzma.compress)}),
    ("movielens-20m",
     {"movielens-20m/ml-20m.zip": (ML_20M.encode(), zipped("ml-20m/ratings.csv"))}),
    ("amazon-beauty",
     {"amazon-beauty-2014/Beauty.txt": (b"1 1 2\n2 3 2 1\n", bytes),
      "amazon-beauty-2014/Beauty_time_org_rank.txt": (b"1 100 200\n2 50 50 60\n", bytes)}),
    ("amazon-beauty-reviews",
     {"amazon-beauty-reviews/reviews_Beauty_5.json.gz": (REVIEWS.encode(), gzip.compress)}),
    ("diginetica", {"diginetica/Diginetica.csv": (b"0,0,3,1\n0,2,10,3\n5,6,7,8\n", bytes)}),
    ("diginetica-sessions",
     {"diginetica-sessions/train_sessions.txt": (b"1 2\n3 3 5\n", bytes),
      "diginetica-sessions/test_prefixes.txt": (b"7 3 1 2\n7 3 1\n7 3\n2 5\n", bytes)}),
    ("diginetica-sessions",
     {"diginetica-sessions/all_train_seq.txt": (pickle.dumps(TRAINED), bytes),
      "diginetica-sessions/test.txt": (pickle.dumps(TESTED), bytes)}),
    ("yelp2018", {"yelp2018/train.txt": (b"0 5 0 \n1 2\r\n2 \n\n3 1  9\n", bytes),
                  "yelp2018/test.txt": (b"0 2\n1 7 5", bytes)}),
    ("lastfm-hetrec", {"lastfm-hetrec/LastFM.txt": (b"1 4 2 9\n2 2\n", bytes)}),
    ("lastfm-hetrec-lightgcn",
     {"lastfm-hetrec/lightgcn_data1.txt": (b"424\t4076\t993\n1311\t7\t3.2466e+05\n", bytes),
      "lastfm-hetrec/lightgcn_test1.txt": (b"424\t7\t57\n", bytes)}),
    ("lastfm-1k", {f"lastfm-1k/{PLAYS}": (PLAYED.encode(), bytes)}),
    ("lastfm-1k", {"lastfm-1k/lastfm-dataset-1K.tar.gz": (PLAYED.encode(), tarred)}),
    ("lastfm-1k-sample",
     {"lastfm-1k-sample/user-filter-20000items-session5.csv": (b"b,a,b\nc,b,a\n", bytes)}),
    ("epinions", {"epinions/ratings.tsv": (EPINIONS.encode(), bytes)}),
    ("epinions", {"epinions/rating.mat": (matrix(6), bytes)}),
]  # fmt: skip
# What no change of single bytes would come upon: plain data of other types where lists should be.
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3),
              st.binary(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.tuples(inner, inner),
                            st.dictionaries(st.text(max_size=2), inner, max_size=2)),
    max_leaves=8,
)  # fmt: skip


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SOFTREC_DATA", raising=False)
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def used(name: str, folder) -> None:
    """Read a data set and describe it."""
    parts = attempted(lambda: sources.load(name, folder))
    shutil.rmtree(sources.cache_dir(), ignore_errors=True)
    if parts is not None:
        assert len(parts.whole) > 0
        assert measured(parts.whole)


@pytest.mark.parametrize("number", range(len(FILES)))
def test_whole_files_are_read(data_folder, number):
    name, files = FILES[number]
    for place, (content, pack) in files.items():
        path = data_folder / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pack(content))
    assert len(sources.load(name, data_folder).whole) > 0


@pytest.mark.slow
@cases(250)
@given(st.sampled_from(FILES), st.data())
def test_damaged_files(data_folder, choice, data):
    name, files = choice
    for place, (content, pack) in files.items():
        path = data_folder / place
        path.parent.mkdir(exist_ok=True)
        if data.draw(st.booleans()):
            content = data.draw(damaged(content))
        packed = pack(content)
        path.write_bytes(data.draw(damaged(packed)) if pack is not bytes else packed)
    used(name, data_folder)
    shutil.rmtree(data_folder)
    data_folder.mkdir()


@cases(80)
@given(plain, plain, st.sampled_from([0, 2, 4]))
def test_pickles_of_anything(data_folder, train, test, protocol):
    folder = data_folder / "diginetica-sessions"
    folder.mkdir(exist_ok=True)
    for name, value in (("all_train_seq.txt", train), ("test.txt", (test, train))):
        (folder / name).write_bytes(pickle.dumps(value, protocol=protocol))
    used("diginetica-sessions", data_folder)


@cases(50)
@given(st.lists(plain, max_size=3), st.sampled_from(["reviewerID", "overall", "unixReviewTime"]))
def test_reviews_of_anything(data_folder, values, field):
    review = {"reviewerID": "A", "asin": "B", "overall": 4.0, "unixReviewTime": 1391040000}
    folder = data_folder / "amazon-beauty-reviews"
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(review | {field: value}, default=str) for value in values]
    (folder / "reviews_Beauty_5.json.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    used("amazon-beauty-reviews", data_folder)


@pytest.mark.slow
@cases(6)  # each in a process of its own
@given(st.sampled_from([1, 3, 4, 6]), st.lists(st.floats(), min_size=4, max_size=4), st.booleans())
def test_matrices_of_anything(data_folder, columns, values, second):
    folder = data_folder / "epinions"
    folder.mkdir(exist_ok=True)
    rating = np.resize(np.array(values), (2, columns))
    savemat(folder / "rating.mat", {"rating": rating} | ({"more": rating} if second else {}))
    used("epinions", data_folder)
