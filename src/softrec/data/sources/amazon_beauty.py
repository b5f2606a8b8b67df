"""Amazon Beauty 2014, 5-core: as sequences (S3-Rec) and as the owner's reviews."""

from softrec.data.sources.amazon_reviews import reviews_source, sequences_source
from softrec.data.sources.base import Counts

COUNTS = Counts(22_363, 12_101, 198_502)

SOURCE = sequences_source(
    "amazon-beauty",
    "Amazon Beauty 2014, 5-core, as in S3-Rec",
    items=("Beauty", "sha256:226cce9c3105299ca0db9615d7d3fb32b3175e90da43100ae352599f0f0107b8"),
    times=("Beauty", "sha256:4e6a6e30f9dba1985ad9adae79a891df6b403e2132f0422a6f6e88f67d1fcc75"),
    counts=COUNTS,
)
REVIEWS = reviews_source(
    "amazon-beauty-reviews", "Amazon Beauty 2014, 5-core, original reviews", "Beauty", COUNTS
)
