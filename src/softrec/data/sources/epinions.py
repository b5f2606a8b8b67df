"""Epinions: ratings of 262,614 products, an extreme long tail."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source, github
from softrec.data.sources.parsing import checked, columns, content
from softrec.errors import DataError, one_line, shown


def read(ratings: Path) -> Parts:
    """Read `ratings.tsv` (header user_id, item_id, category_id, rating) or `rating.mat`.

    All rows are kept, including repeated ones.
    """
    if ratings.suffix == ".mat":
        table = _matrix(ratings)
    else:
        places = {"user": "user_id", "item": "item_id", "weight": "rating"}
        table = columns(ratings, places, separator="\t")
    return Parts(Interactions.together([table])[0])


# SciPy crashes the whole process at some damaged files, so a separate process reads them.
LOAD = """
import io, sys
import numpy, scipy.io
variables = scipy.io.loadmat(io.BytesIO(sys.stdin.buffer.read()))
matrices = [value for name, value in variables.items() if not name.startswith("__")]
numpy.savez(sys.stdout.buffer, *(matrix.astype(float) for matrix in matrices))
"""


def _matrix(path: Path) -> pl.DataFrame:
    """Read the one MATLAB matrix of a file, with the columns user, item, category, rating."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD], input=content(path), capture_output=True, check=False
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise DataError(
            f"{path} is no MATLAB file, or is damaged: "
            f"{one_line(reason, 150) or 'SciPy crashed'}; download it again"
        )
    matrices = list(np.load(BytesIO(done.stdout)).values())
    if len(matrices) != 1 or matrices[0].ndim != 2 or matrices[0].shape[1] < 4:
        raise DataError(
            f"{path} must contain one matrix with the columns user, item, category, rating; it "
            f"contains {shown([matrix.shape for matrix in matrices])}"
        )
    user, item, _, rating, *_ = matrices[0].T
    return checked(pl.DataFrame({"user": user, "item": item, "weight": rating}), path)


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
