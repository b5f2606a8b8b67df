"""Amazon Beauty 2014, 5-core: as sequences (S3-Rec), as the owner's reviews, and with titles."""

from softrec.data.sources.amazon_reviews import (
    CITATION,
    HOMEPAGE,
    LICENCE,
    reviews_source,
    sequences_source,
)
from softrec.data.sources.base import Counts
from softrec.data.sources.genrec import timed_source

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
TIMED = timed_source(
    "amazon-beauty-2014-timed",
    "Amazon Beauty 2014, 5-core, with times and titles",
    "Amazon-2014-Beauty",
    events="sha256:bfbd72719923d78c1e81bb435c354c5a3ce7173f3b7260011810379caaca418e",
    titles="sha256:b06369aad7c2e7846fb37e0419a14c428b6af2db48a46574028efcdc6759b936",
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    counts=Counts(22_332, 12_086, 198_215),
    notes="Times are whole days, so ties are the rule. Items without a title were removed.",
)
