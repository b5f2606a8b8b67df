"""MovieLens 100K: ratings with times."""

from softrec.data.sources.base import Counts
from softrec.data.sources.grouplens import ratings_source

SOURCE = ratings_source(
    "100k",
    "MovieLens 100K: film ratings, 1997 to 1998",
    "u.data",
    places={"user": 0, "item": 1, "weight": 2, "time": 3},
    separator="\t",
    checksum="md5:0e33842e24a9c977be4e0107933c0723",  # from the owner's ml-100k.zip.md5
    counts=Counts(943, 1_682, 100_000),
    notes="The rows are in no order; times are seconds and often tied.",
)
