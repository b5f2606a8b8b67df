"""Amazon Sports and Outdoors 2014, 5-core: as sequences (S3-Rec) and as the owner's reviews."""

from __future__ import annotations

from softrec.data.sources.amazon_reviews import (
    CITATION,
    HOMEPAGE,
    LICENCE,
    S3REC_CITATION,
    SEQUENCE_NOTES,
    read_sequences,
    reviews_source,
    s3rec,
    ticosrec,
)
from softrec.data.sources.base import Counts, RemoteFile, Source

COUNTS = Counts(35_598, 18_357, 296_337)

SOURCE = Source(
    name="amazon-sports",
    title="Amazon Sports and Outdoors 2014, 5-core, as in S3-Rec",
    files=(
        RemoteFile(
            "Sports_and_Outdoors.txt",
            s3rec("data/Sports_and_Outdoors.txt"),
            "sha256:2a095e0648872beb9982408958290f5d655db5be2911c3756b5446de9f0b8de2",
            local=("amazon-sports-2014/Sports_and_Outdoors.txt",),
        ),
        RemoteFile(
            "Sports_time_org_rank.txt",
            ticosrec("data/Sports/Sports_time_org_rank.txt"),
            "sha256:c442ed4744f1de95b00744861bbaa503fcc98380d8b7ec08d52231450356c3a2",
            local=("amazon-sports-2014/Sports_time_org_rank.txt",),
        ),
    ),
    read=read_sequences,
    licence=LICENCE,
    citation=f"{CITATION}\n{S3REC_CITATION}",
    homepage=HOMEPAGE,
    counts=COUNTS,
    notes=SEQUENCE_NOTES,
)

REVIEWS = reviews_source(
    "amazon-sports-reviews",
    "Amazon Sports and Outdoors 2014, 5-core, original reviews",
    "Sports_and_Outdoors",
    COUNTS,
)
