"""MovieLens 20M: ratings with times."""

from softrec.data.sources.base import Counts
from softrec.data.sources.grouplens import ratings_source

SOURCE = ratings_source(
    "20m",
    "MovieLens 20M: film ratings, 1995 to 2015",
    "ratings.csv",
    places={"user": "userId", "item": "movieId", "weight": "rating", "time": "timestamp"},
    separator=",",
    checksum="md5:cd245b17a1ae2cc31bb14903e1204af3",  # from the owner's ml-20m.zip.md5
    counts=Counts(138_493, 26_744, 20_000_263),
    notes="Reading takes about 2 GB of memory. Counts are the owner's.",
)
