"""Gowalla as in NGCF and LightGCN."""

from softrec.data.sources.base import Counts, Source
from softrec.data.sources.lightgcn import CITATION, NOTES, SPLIT, files, read

SOURCE = Source(
    name="gowalla",
    title="Gowalla as in LightGCN: check-ins at places",
    # The checksums are those that RecZoo publishes for its copy, Gowalla_m1.
    files=files(
        "gowalla",
        train="md5:5eec1eb2edb8dd648377d348b8e136cf",
        test="md5:c04e2c4bcd2389f53ed8281816166149",
    ),
    read=read,
    licence="SNAP, Stanford University: public check-ins; no formal licence known; for research",
    citation=(
        "E. Cho, S. A. Myers and J. Leskovec. Friendship and Mobility: User Movement in "
        f"Location-Based Social Networks. KDD 2011.\n{CITATION}"
    ),
    homepage="https://snap.stanford.edu/data/loc-gowalla.html",
    split=SPLIT,
    counts=Counts(29_858, 40_981, 1_027_370),
    notes=f"{NOTES} Counts are the published ones.",
)
