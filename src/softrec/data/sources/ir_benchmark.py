"""Common parts of the data sets of IR-Benchmark-Dataset: published parts, no times, no order."""

from __future__ import annotations

from pathlib import Path

from softrec.data.interactions import Interactions
from softrec.data.sources.amazon_reviews import CITATION as REVIEWS_CITATION
from softrec.data.sources.amazon_reviews import HOMEPAGE, LICENCE
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source
from softrec.data.sources.parsing import columns

REPOSITORY = "https://github.com/Tiny-Snow/IR-Benchmark-Dataset"
COMMIT = "18bbbe892301c6013579ae70f3cab9d666878e23"
CITATION = (
    "W. Yang et al. PSL: Rethinking and Improving Softmax Loss from Pairwise Perspective for "
    "Recommendation. NeurIPS 2024. https://arxiv.org/abs/2411.00163\n"
    "W. Yang et al. Breaking the Top-K Barrier: Advancing Top-K Ranking Metrics Optimization in "
    "Recommender Systems. KDD 2025. https://arxiv.org/abs/2508.05673"
)
# There is no published validation part; the papers, too, hold out a tenth of the training part.
SPLIT = {"split": "given", "valid": 0.1, "cold": "keep"}


def read(train: Path, test: Path) -> Parts:
    """Read two tables with the header user_procid, item_procid: numbers given after cleaning."""
    places = {"user": "user_procid", "item": "item_procid"}
    parts = Interactions.together([columns(path, places, separator="\t") for path in (train, test)])
    return Parts(train=parts[0], test=parts[1])


def parts_source(
    name: str, title: str, upstream: str, *, train: str, test: str, counts: Counts, notes: str = ""
) -> Source:
    """Return the source of published parts.

    Args:
        name: of the data set, and of its folder.
        title: a description in one line.
        upstream: its folder in the repository.
        train: checksum of train.tsv.
        test: checksum of test.tsv.
        counts: its size.
        notes: special notes.
    """
    how = f"Unpack {upstream}/proc.zip of {REPOSITORY} (commit {COMMIT[:12]}), take {{}}"
    common = (
        "The published training and test part of ratings of 3 and more, 10-core. No times and no "
        "order: not for sequences."
    )
    return Source(
        name=name,
        title=title,
        files=tuple(
            RemoteFile(file, None, checksum, how=how.format(file))
            for file, checksum in (("train.tsv", train), ("test.tsv", test))
        ),
        read=read,
        licence=LICENCE,
        citation=f"{REVIEWS_CITATION}\n{CITATION}",
        homepage=HOMEPAGE,
        split=SPLIT,
        counts=counts,
        notes=f"{common} {notes}".strip(),
    )
