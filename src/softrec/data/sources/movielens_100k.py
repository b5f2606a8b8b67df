"""MovieLens 100K: ratings with times."""

from __future__ import annotations

from pathlib import Path

from softrec.data.interactions import Interactions
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source
from softrec.data.sources.grouplens import CITATION, LICENCE
from softrec.data.sources.parsing import columns


def read(ratings: Path) -> Parts:
    """Read `u.data` (tab-separated: user, item, rating, seconds), alone or in `ml-100k.zip`."""
    places = {"user": 0, "item": 1, "weight": 2, "time": 3}
    table = columns(ratings, places, separator="\t", member="ml-100k/u.data")
    return Parts(Interactions.together([table])[0])


SOURCE = Source(
    name="movielens-100k",
    title="MovieLens 100K: film ratings, 1997 to 1998",
    files=(
        RemoteFile(
            "ml-100k.zip",
            "https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            "md5:0e33842e24a9c977be4e0107933c0723",  # from the owner's ml-100k.zip.md5
            local=("movielens-100k/u.data", "ml-100k/u.data"),
        ),
    ),
    read=read,
    licence=LICENCE,
    citation=CITATION,
    homepage="https://grouplens.org/datasets/movielens/100k/",
    counts=Counts(943, 1_682, 100_000),
    notes="The rows are in no order; times are seconds and often tied.",
)
