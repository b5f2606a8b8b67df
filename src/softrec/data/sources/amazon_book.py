"""Amazon-Book as in NGCF and LightGCN."""

from softrec.data.sources.amazon_reviews import CITATION as REVIEWS_CITATION
from softrec.data.sources.amazon_reviews import LICENCE
from softrec.data.sources.base import Counts, Source
from softrec.data.sources.lightgcn import CITATION, HOMEPAGE, NOTES, SPLIT, files, read

SOURCE = Source(
    name="amazon-book",
    title="Amazon-Book as in LightGCN: book reviews",
    # The checksums are those that RecZoo publishes for its copy, AmazonBooks_m1.
    files=files(
        "amazon-book",
        train="md5:c916ecac04ca72300a016228258b41ed",
        test="md5:30f8ccfea18d25007ba9fb9aba4e174d",
    ),
    read=read,
    licence=LICENCE,
    citation=f"{REVIEWS_CITATION}\n{CITATION}",
    homepage=HOMEPAGE,
    split=SPLIT,
    counts=Counts(52_643, 91_599, 2_984_108),
    notes=f"{NOTES} Counts are the published ones.",
)
