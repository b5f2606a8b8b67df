"""Common parts of the MovieLens data sets: terms of use, and an archive with a file of ratings."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from softrec.data.interactions import Interactions
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source
from softrec.data.sources.parsing import columns

LICENCE = (
    "GroupLens, University of Minnesota: for research; no redistribution without separate "
    "permission, no commercial use without permission, no implied endorsement; acknowledge the "
    "use in publications"
)
CITATION = (
    "F. M. Harper and J. A. Konstan. The MovieLens Datasets: History and Context. "
    "ACM Transactions on Interactive Intelligent Systems 5(4), 2015. "
    "https://doi.org/10.1145/2827872"
)


def read_ratings(
    ratings: Path, *, places: Mapping[str, int | str], separator: str, member: str
) -> Parts:
    """Read the file of ratings, alone or in its archive; see `columns` for the layout."""
    table = columns(ratings, places, separator=separator, member=member)
    return Parts(Interactions.together([table])[0])


def ratings_source(
    size: str,
    title: str,
    file: str,
    *,
    places: Mapping[str, int | str],
    separator: str,
    checksum: str,
    counts: Counts,
    notes: str,
) -> Source:
    """Return the source of the ratings in `file` of the archive `ml-SIZE.zip`."""
    name, folder = f"movielens-{size}", f"ml-{size}"
    return Source(
        name=name,
        title=title,
        files=(
            RemoteFile(
                f"{folder}.zip",
                f"https://files.grouplens.org/datasets/movielens/{folder}.zip",
                checksum,
                local=(f"{name}/{file}", f"{folder}/{file}"),
            ),
        ),
        read=partial(read_ratings, places=places, separator=separator, member=f"{folder}/{file}"),
        licence=LICENCE,
        citation=CITATION,
        homepage=f"https://grouplens.org/datasets/movielens/{size}/",
        counts=counts,
        notes=notes,
    )
