"""Common parts of the Amazon review data of 2014: terms of use, and readers of two formats."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.reading import BROKEN
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source, github
from softrec.data.sources.parsing import checked, content, user_lists
from softrec.errors import DataError, one_line

LICENCE = (
    "J. McAuley, UC San Diego, Amazon review data 2014: no formal licence known; for academic "
    "research"
)
LICENCE_2018 = LICENCE.replace("2014", "2018")
CITATION = (
    "J. McAuley, C. Targett, Q. Shi and A. van den Hengel. Image-based Recommendations on Styles "
    "and Substitutes. SIGIR 2015. https://arxiv.org/abs/1506.04757\n"
    "R. He and J. McAuley. Ups and Downs: Modeling the Visual Evolution of Fashion Trends with "
    "One-Class Collaborative Filtering. WWW 2016. https://arxiv.org/abs/1602.01585"
)
S3REC_CITATION = (
    "K. Zhou et al. S3-Rec: Self-Supervised Learning for Sequential Recommendation with Mutual "
    "Information Maximization. CIKM 2020. https://arxiv.org/abs/2008.07873"
)
HOMEPAGE = "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html"


def s3rec(path: str) -> str:
    """Return the address of a file of the S3-Rec repository."""
    return github("RUCAIBox/CIKM2020-S3Rec", "2a81540ae18615d88ef88227b0c066e5b74781e5", path)


def ticosrec(path: str) -> str:
    """Return the address of a file of the TiCoSeRec repository."""
    return github("KingGugu/TiCoSeRec", "302b2959f27bb16bb77acae5a471de82819bd1bd", path)


def read_sequences(sequences: Path, times: Path) -> Parts:
    """Read S3-Rec's lines `user item item ...`, with TiCoSeRec's times at the same positions."""
    table, moments = user_lists(sequences), user_lists(times)
    if not table["user"].equals(moments["user"]):
        raise DataError(
            f"{times} does not have one time for each item of {sequences}; both files must be "
            "complete and of the same data set"
        )
    return Parts(Interactions.together([table.with_columns(time=moments["item"])])[0])


def read_reviews(reviews: Path) -> Parts:
    """Read the owner's reviews, one JSON object per line."""
    schema = {
        "reviewerID": pl.String,
        "asin": pl.String,
        "overall": pl.Float32,
        "unixReviewTime": pl.Int64,
    }
    try:
        raw = pl.read_ndjson(BytesIO(content(reviews)), schema=schema)
    except BROKEN as error:
        reason = one_line(str(error), 150)
        raise DataError(f"{reviews} must have one JSON object on each line: {reason}") from error
    names = dict(zip(schema, ("user", "item", "weight", "time"), strict=True))
    table = raw.select(*schema).rename(names)
    if any(column.null_count() for column in table):
        raise DataError(f"{reviews} has reviews without one of the fields {', '.join(schema)}")
    return Parts(Interactions.together([checked(table, reviews)])[0])


def sequences_source(
    name: str, title: str, items: tuple[str, str], times: tuple[str, str], counts: Counts
) -> Source:
    """Return the source of S3-Rec's sequences with TiCoSeRec's times.

    `items` and `times` are the name of the category in each repository, and the checksum.
    """
    (category, items_checksum), (times_category, times_checksum) = items, times
    items_file, times_file = f"{category}.txt", f"{times_category}_time_org_rank.txt"
    folder = f"{name}-2014"
    return Source(
        name=name,
        title=title,
        files=(
            RemoteFile(
                items_file,
                s3rec(f"data/{items_file}"),
                items_checksum,
                local=(f"{folder}/{items_file}",),
            ),
            RemoteFile(
                times_file,
                ticosrec(f"data/{times_category}/{times_file}"),
                times_checksum,
                local=(f"{folder}/{times_file}",),
            ),
        ),
        read=read_sequences,
        licence=LICENCE,
        citation=f"{CITATION}\n{S3REC_CITATION}",
        homepage=HOMEPAGE,
        counts=counts,
        notes="Ids and order are those of S3-Rec, times those of TiCoSeRec for the same events. "
        "Times are whole days, so ties are the rule and the order inside a day is S3-Rec's "
        "choice; a file with other ties has other test items.",
    )


def reviews_source(name: str, title: str, category: str, counts: Counts) -> Source:
    """Return the source of the owner's 5-core reviews of one category."""
    file = f"reviews_{category}_5.json.gz"
    return Source(
        name=name,
        title=title,
        files=(
            RemoteFile(
                file,
                f"https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/{file}",
                local=(f"{name.removesuffix('-reviews')}-2014/reviews_{category}_5.json",),
            ),
        ),
        read=read_reviews,
        licence=LICENCE,
        citation=CITATION,
        homepage=HOMEPAGE,
        counts=counts,
        notes="Original ids and ratings. Times are whole days; ties keep the order of the file, "
        "which is sorted by product.",
    )
