"""Last.FM of HetRec 2011: as sequences (S3-Rec), and as training and test parts (LightGCN)."""

from __future__ import annotations

from pathlib import Path

from softrec.data.interactions import Interactions
from softrec.data.sources import lightgcn
from softrec.data.sources.amazon_reviews import S3REC_CITATION, s3rec
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source, github
from softrec.data.sources.parsing import columns, user_lists


def read(sequences: Path) -> Parts:
    """Read lines `user artist artist ...`, in order."""
    return Parts(Interactions.together([user_lists(sequences)])[0])


def read_lightgcn(train: Path, test: Path) -> Parts:
    """Read two tables, tab-separated: user, artist, how often listened to."""
    places = {"user": 0, "item": 1, "weight": 2}
    tables = [columns(path, places, separator="\t") for path in (train, test)]
    parts = Interactions.together(tables)
    return Parts(train=parts[0], test=parts[1])


LICENCE = "HetRec 2011 Last.FM 2K: non-commercial use, Last.fm terms of service"
CITATION = (
    "I. Cantador, P. Brusilovsky and T. Kuflik. 2nd Workshop on Information Heterogeneity and "
    "Fusion in Recommender Systems (HetRec 2011). RecSys 2011."
)
HOMEPAGE = "https://grouplens.org/datasets/hetrec-2011/"

SOURCE = Source(
    name="lastfm-hetrec",
    title="Last.FM of HetRec 2011 as in S3-Rec: artists, in order of tagging",
    files=(
        RemoteFile(
            "LastFM.txt",
            s3rec("data/LastFM.txt"),
            "sha256:9ded486adb5b0fe9dc761950afa0a9a05e93ff018992e0c52bf11afec529f802",
        ),
    ),
    read=read,
    licence=LICENCE,
    citation=f"{CITATION}\n{S3REC_CITATION}",
    homepage=HOMEPAGE,
    counts=Counts(1_090, 3_646, 52_551),
    notes="The order is that of S3-Rec, by tagging time; there are no times to check it by.",
)

LIGHTGCN = Source(
    name="lastfm-hetrec-lightgcn",
    title="Last.FM of HetRec 2011 as in LightGCN-PyTorch: artists, with play counts",
    files=(
        RemoteFile(
            "data1.txt",
            github("gusye1234/LightGCN-PyTorch", lightgcn.COMMIT, "data/lastfm/data1.txt"),
            "sha256:c82af3228cbbda2f55a39244de09ed93292894f1d0d9f1908ebb57e27598fded",
            local=("lastfm-hetrec/lightgcn_data1.txt",),
        ),
        RemoteFile(
            "test1.txt",
            github("gusye1234/LightGCN-PyTorch", lightgcn.COMMIT, "data/lastfm/test1.txt"),
            "sha256:de4417c0e6123284ce59a0934bcf5288ec1ec8774a18a1eef453c9952dfa48f9",
            local=("lastfm-hetrec/lightgcn_test1.txt",),
        ),
    ),
    read=read_lightgcn,
    licence=LICENCE,
    citation=f"{CITATION}\n{lightgcn.CITATION}",
    homepage=HOMEPAGE,
    split=lightgcn.SPLIT,
    counts=Counts(1_880, 4_489, 52_668),
    notes=lightgcn.NOTES,
)
