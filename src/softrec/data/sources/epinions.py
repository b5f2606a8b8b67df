"""Epinions: ratings of 262,614 products, an extreme long tail."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source, github
from softrec.data.sources.parsing import columns, content
from softrec.errors import DataError


def read(ratings: Path) -> Parts:
    """Read `ratings.tsv` (header user_id, item_id, category_id, rating) or `rating.mat`.

    All rows are kept, repeated ones too.
    """
    if ratings.suffix == ".mat":
        table = _matrix(ratings)
    else:
        places = {"user": "user_id", "item": "item_id", "weight": "rating"}
        table = columns(ratings, places, separator="\t")
    return Parts(Interactions.together([table])[0])


def _matrix(path: Path) -> pl.DataFrame:
    """Read the one MATLAB matrix of a file, with the columns user, item, category, rating."""
    from scipy.io import loadmat  # slow to import, and of use here alone

    try:
        variables = loadmat(BytesIO(content(path)))
    except (ValueError, TypeError, NotImplementedError) as error:
        raise DataError(f"{path} is no MATLAB file: {error}") from error
    matrices = [value for name, value in variables.items() if not name.startswith("__")]
    if len(matrices) != 1 or matrices[0].ndim != 2 or matrices[0].shape[1] < 4:
        raise DataError(
            f"{path} should hold one matrix of the columns user, item, category, "
            f"rating; it holds {[matrix.shape for matrix in matrices]}"
        )
    user, item, _, rating, *_ = matrices[0].T
    return pl.DataFrame({"user": user, "item": item, "weight": rating}).cast(
        {"user": pl.Int64, "item": pl.Int64, "weight": pl.Float32}
    )


SOURCE = Source(
    name="epinions",
    title="Epinions: product ratings, an extreme long tail",
    files=(
        RemoteFile(
            "rating.mat",
            github(
                "MEICRS/GDSRec",
                "9108d8d433a5266544facd23aeee2af70abdb994",
                "datasets/Epinions/rating.mat",
            ),
            local=("epinions/ratings.tsv",),
        ),
    ),
    read=read,
    licence="J. Tang, H. Gao and H. Liu: for research, cite; no formal licence known",
    citation=(
        "J. Tang, H. Gao and H. Liu. mTrust: Discerning Multi-Faceted Trust in a Connected World. "
        "WSDM 2012."
    ),
    homepage="https://www.cse.msu.edu/~tangjili/trust.html",
    split={"split": "user-ratio", "cold": "keep"},
    counts=Counts(18_564, 262_614, 770_000),
    notes=(
        "8,205 rows repeat a user and item and are kept; drop them with a cleaning step. The order "
        "of rows means nothing: not for sequences. Three in four items have at most two ratings, "
        "so most test items are cold or nearly so."
    ),
)
