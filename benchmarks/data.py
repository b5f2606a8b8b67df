"""The two data sets of the benchmarks, or random data of the same sizes if they are missing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl

from softrec.data import sources, splits
from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Split
from softrec.data.vocabulary import Vocabulary
from softrec.experiments.build.data import load_split
from softrec.recipe.specs.data import DataSettings


def diginetica() -> tuple[Split, str]:
    """Return Diginetica as in DesoRec and where it comes from."""
    real = _real("diginetica")
    if real is not None:
        return real, "Diginetica"
    return synthetic(62_502, 43_229, 7.5, 20), "synthetic, of Diginetica's shape"


def movielens() -> tuple[Split, str]:
    """Return MovieLens 1M as in SASRec and where it comes from."""
    real = _real("movielens-1m-sasrec")
    if real is not None:
        return real, "MovieLens 1M"
    return synthetic(6_040, 3_416, 165.0, 2_300), "synthetic, of MovieLens 1M's shape"


def _real(name: str) -> Split | None:
    """Return a public data set without a download."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    given = os.environ.get("SOFTREC_DATA")
    folder = Path(given) if given else beside if beside.is_dir() else None
    source = sources.get(name)
    if any(sources.find(source, file, folder) is None for file in source.files):
        return None
    return load_split(DataSettings(source=name), folder)


def synthetic(n_users: int, n_items: int, mean: float, longest: int) -> Split:
    """Return random sequences of 5 or more items: lengths geometric, items by Zipf's law."""
    draw = np.random.default_rng(0)
    lengths = np.minimum(4 + draw.geometric(1 / (mean - 4), n_users), longest)
    share = 1 / np.arange(1, n_items + 1)
    items = draw.choice(n_items, int(lengths.sum()), p=share / share.sum())
    sequences = Sequences(np.concatenate([[0], np.cumsum(lengths)]), items.astype(np.int64))
    vocabulary = Vocabulary(pl.Series("raw", np.arange(n_items)))
    log = Interactions.from_sequences(sequences, items=vocabulary)
    return splits.leave_last_out(log, cold="keep")
