"""Yelp2018 as in NGCF and LightGCN."""

from softrec.data.sources.base import Counts, Source
from softrec.data.sources.lightgcn import CITATION, HOMEPAGE, NOTES, SPLIT, files, read

SOURCE = Source(
    name="yelp2018",
    title="Yelp2018 as in LightGCN: visits to local businesses",
    files=files(
        "yelp2018",
        train="sha256:1e9568725a9e833d0ac3bae01c94cd95367f73b3bb6104fd26b5f65ea5054093",
        test="sha256:9cd9b37926cd1447a06625ffa7914527573fb097c10cb0bbdb1d1b8ded3742fe",
    ),
    read=read,
    licence="Yelp Inc., Yelp Dataset terms of use: academic use, no redistribution",
    citation=f"Yelp Inc. Yelp Dataset, 2018. https://business.yelp.com/data/resources/open-dataset/"
    f"\n{CITATION}",
    homepage=HOMEPAGE,
    split=SPLIT,
    counts=Counts(31_668, 38_048, 1_561_406),
    notes=NOTES,
)
