"""Diginetica as in DesoRec: sessions of 5 to 20 items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.reading import BROKEN
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source, github
from softrec.data.sources.parsing import checked, content
from softrec.errors import DataError, one_line

PADDING = 0


def read(table: Path) -> Parts:
    """Read lines of comma-separated items, padded with 0 on the left; a line is a user, from 1."""
    try:
        frame = pl.read_csv(content(table), has_header=False, infer_schema_length=None)
        rows = frame.cast(pl.Int64).to_numpy()
    except BROKEN as error:
        reason = one_line(str(error), 150)
        raise DataError(f"{table} must have lines of comma-separated integers: {reason}") from error
    real = rows != PADDING
    broken = (real[:, :-1] & ~real[:, 1:]).any(axis=1)
    if broken.any():
        raise DataError(
            f"{table}: line {int(broken.argmax()) + 1:,} has a 0 after an item; 0 is padding and "
            "may stand only at the start of a line"
        )
    events = pl.DataFrame(
        {"user": np.repeat(np.arange(1, len(rows) + 1), real.sum(axis=1)), "item": rows[real]}
    )
    return Parts(Interactions.together([checked(events, table)])[0])


LICENCE = "DIGINETICA, CIKM Cup 2016 track 2: terms of the cup, for research"
HOMEPAGE = "https://competitions.codalab.org/competitions/11161"

SOURCE = Source(
    name="diginetica",
    title="Diginetica as in DesoRec: shop sessions of 5 to 20 items",
    files=(
        RemoteFile(
            "Diginetica.csv",
            github("zh-ustc/desorec", "25031d32306490d10369407a371fa12e6e1ec776", "Diginetica.csv"),
            "sha256:e6f35ca453bd379dd9c5d1a3f6975712caa7b9c85355cab3762c06e0f651ffbd",
            local=("diginetica-desorec/Diginetica.csv",),
        ),
    ),
    read=read,
    licence=LICENCE,
    citation="CIKM Cup 2016 Track 2: Personalized E-Commerce Search Challenge, DIGINETICA.\n"
    "H. Zhang et al. Learning Recommender Systems with Soft Target: A Decoupled Perspective. "
    "DASFAA 2024. https://arxiv.org/abs/2410.06536",
    homepage=HOMEPAGE,
    counts=Counts(62_502, 43_229, 467_631),
    notes=(
        "The last item of a line is for test, the one before for validation. 1,694 items occur "
        "only as test item and cannot be learned. 12 lines are duplicates and are kept. Not the "
        "preprocessing of diginetica-sessions."
    ),
)
