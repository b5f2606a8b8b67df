"""Amazon Sports and Outdoors 2014, 5-core: as sequences (S3-Rec) and as the owner's reviews."""

from softrec.data.sources.amazon_reviews import reviews_source, sequences_source
from softrec.data.sources.base import Counts

COUNTS = Counts(35_598, 18_357, 296_337)

SOURCE = sequences_source(
    "amazon-sports",
    "Amazon Sports and Outdoors 2014, 5-core, as in S3-Rec",
    items=(
        "Sports_and_Outdoors",
        "sha256:2a095e0648872beb9982408958290f5d655db5be2911c3756b5446de9f0b8de2",
    ),
    times=("Sports", "sha256:c442ed4744f1de95b00744861bbaa503fcc98380d8b7ec08d52231450356c3a2"),
    counts=COUNTS,
)
REVIEWS = reviews_source(
    "amazon-sports-reviews",
    "Amazon Sports and Outdoors 2014, 5-core, original reviews",
    "Sports_and_Outdoors",
    COUNTS,
)
