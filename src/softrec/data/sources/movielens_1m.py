"""MovieLens 1M: ratings with times, the sequences of SASRec, and a copy with all times."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.reading import BROKEN
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source
from softrec.data.sources.genrec import timed_source
from softrec.data.sources.grouplens import CITATION, LICENCE
from softrec.data.sources.parsing import KINDS, checked, columns, content
from softrec.errors import DataError, one_line


def read(ratings: Path) -> Parts:
    """Read `ratings.tsv`, or `ratings.dat` (`user::item::rating::seconds`), alone or zipped."""
    if ratings.name.startswith("ratings.tsv"):
        table = _with_order(ratings)
    else:
        places = {"user": 0, "item": 2, "weight": 4, "time": 6}
        table = columns(ratings, places, separator=":", member="ml-1m/ratings.dat")
    return Parts(Interactions.together([table])[0])


def _with_order(path: Path) -> pl.DataFrame:
    """Read a copy that has the order of each user's events, but the times of only some events.

    The times are left out, because a log has times for all events or none. The rows are sorted by
    the given order, which is then the order of events.
    """
    wanted = {"user_id": "user", "movie_id": "item", "rating": "weight", "timestamp": "time"}
    types = {old: KINDS[new] for old, new in wanted.items()}
    try:
        raw = pl.read_csv(
            content(path), separator="\t", schema_overrides={**types, "order": pl.Int64}
        )
        table = raw.sort("user_id", "order").select(*wanted).rename(wanted)
    except BROKEN as error:
        raise DataError(
            f"{path} does not have the expected layout, tab-separated with the header "
            f"{', '.join([*wanted, 'order'])}: {one_line(str(error), 150)}"
        ) from error
    return checked(table.drop("time") if table["time"].null_count() else table, path)


def read_sasrec(sequences: Path) -> Parts:
    """Read lines `user item`, oldest first inside a user."""
    table = columns(sequences, {"user": 0, "item": 1}, separator=" ")
    return Parts(Interactions.together([table])[0])


HOMEPAGE = "https://grouplens.org/datasets/movielens/1m/"

SOURCE = Source(
    name="movielens-1m",
    title="MovieLens 1M: film ratings, 2000 to 2003",
    files=(
        RemoteFile(
            "ml-1m.zip",
            "https://files.grouplens.org/datasets/movielens/ml-1m.zip",
            "md5:c4d9eecfca2ab87c1945afe126590906",  # from the owner's ml-1m.zip.md5
            local=("movielens-1m/ratings.dat", "ml-1m/ratings.dat", "movielens-1m/ratings.tsv"),
        ),
    ),
    read=read,
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    counts=Counts(6_040, 3_706, 1_000_209),
    notes=(
        "More than half of neighbouring ratings share a second, so who breaks the ties decides "
        "many test items. ratings.dat has times, and ties keep the order of its rows; ratings.tsv "
        "lacks half of the times, so it is read by its stated order and without times. Results on "
        "the two, and on movielens-1m-sasrec, are not comparable digit by digit."
    ),
)

SASREC = Source(
    name="movielens-1m-sasrec",
    title="MovieLens 1M as in SASRec: items with 5 ratings or more, in order",
    files=(
        RemoteFile(
            "ml-1m.txt",
            "https://raw.githubusercontent.com/kang205/SASRec/master/data/ml-1m.txt",
            "sha256:b725f3acb3986fe3130bffd1e77a74d182a1f51799567a236dbd60270f95b0a2",
            local=("movielens-1m/sasrec_ml-1m.txt",),
        ),
    ),
    read=read_sasrec,
    licence=LICENCE,
    citation=(
        "W.-C. Kang and J. McAuley. Self-Attentive Sequential Recommendation. ICDM 2018. "
        f"https://arxiv.org/abs/1808.09781\n{CITATION}"
    ),
    homepage="https://github.com/kang205/SASRec",
    counts=Counts(6_040, 3_416, 999_611),
    notes="Ids are those of SASRec, not of MovieLens. No times; the order of rows is the order.",
)

TIMED = timed_source(
    "movielens-1m-timed",
    "MovieLens 1M, items with 5 ratings or more, with all times and titles",
    "MovieLens-1M",
    events="sha256:0e7c20a87fcecfb100a2165eab8832aaf3eb210fe38d61798399ac2c749d0aac",
    titles="sha256:84c05ff5b34d6f25f6734aed3e9c6335d0378747b4ff4562b5b82443826ece8e",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    counts=Counts(6_040, 3_416, 999_611),
    notes="No ratings. More than half of neighbouring events share a second.",
)
