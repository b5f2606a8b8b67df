"""Amazon Beauty 2014, 5-core: as sequences (S3-Rec) and as the owner's reviews."""

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

COUNTS = Counts(22_363, 12_101, 198_502)

SOURCE = Source(
    name="amazon-beauty",
    title="Amazon Beauty 2014, 5-core, as in S3-Rec",
    files=(
        RemoteFile(
            "Beauty.txt",
            s3rec("data/Beauty.txt"),
            "sha256:226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8",
            local=("amazon-beauty-2014/Beauty.txt",),
        ),
        RemoteFile(
            "Beauty_time_org_rank.txt",
            ticosrec("data/Beauty/Beauty_time_org_rank.txt"),
            "sha256:4e6a6e30f9dba1985ad9adae79a891df6b403e2132f0422a6f6e88f67d1fcc75",
            local=("amazon-beauty-2014/Beauty_time_org_rank.txt",),
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
    "amazon-beauty-reviews", "Amazon Beauty 2014, 5-core, original reviews", "Beauty", COUNTS
)
