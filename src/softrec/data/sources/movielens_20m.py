"""MovieLens 20M: ratings with times."""

from __future__ import annotations

from pathlib import Path

from softrec.data.interactions import Interactions
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source
from softrec.data.sources.grouplens import CITATION, LICENCE
from softrec.data.sources.parsing import columns


def read(ratings: Path) -> Parts:
    """Read `ratings.csv` (header userId, movieId, rating, timestamp), alone or in `ml-20m.zip`."""
    places = {"user": "userId", "item": "movieId", "weight": "rating", "time": "timestamp"}
    table = columns(ratings, places, separator=",", member="ml-20m/ratings.csv")
    return Parts(Interactions.together([table])[0])


SOURCE = Source(
    name="movielens-20m",
    title="MovieLens 20M: film ratings, 1995 to 2015",
    files=(
        RemoteFile(
            "ml-20m.zip",
            "https://files.grouplens.org/datasets/movielens/ml-20m.zip",
            "md5:cd245b17a1ae2cc31bb14903e1204af3",  # from the owner's ml-20m.zip.md5
            local=("movielens-20m/ratings.csv", "ml-20m/ratings.csv"),
        ),
    ),
    read=read,
    licence=LICENCE,
    citation=CITATION,
    homepage="https://grouplens.org/datasets/movielens/20m/",
    counts=Counts(138_493, 26_744, 20_000_263),
    notes="Reading takes about 2 GB of memory. Counts are the owner's.",
)
