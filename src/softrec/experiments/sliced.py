"""The variants of a comparison in slices of the test cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from softrec.data.splits import Split
from softrec.evaluation.asked import Asked
from softrec.evaluation.by_slice import differences_by_slice
from softrec.evaluation.slices import slices_of
from softrec.experiments.runs import Run
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import is_counted


def sliced(
    base: Recipe,
    split: Split,
    asked: Asked,
    names: Sequence[str],
    runs: Sequence[Sequence[Run]],
) -> pl.DataFrame:
    """Return how the variants differ from the first in the selection metric, by slice.

    Args:
        base: the recipe of all runs, except for target and seed.
        split: the data.
        asked: what was asked on them.
        names: of the variants, the baseline's first.
        runs: a row for each of them, a run for each seed; of a simple baseline one run.
    """
    labels = _label_counts(split, base.training.windows)
    slices = slices_of(asked.test, split.train, labels=labels)
    metric = base.training.monitor
    values = {
        name: np.stack([run.per_user[metric].to_numpy() for run in row])
        for name, row in zip(names, runs, strict=True)
    }
    counted = [
        name for name, row in zip(names, runs, strict=True) if is_counted(row[0].recipe.model.name)
    ]
    return differences_by_slice(slices, values, deterministic=counted)


def _label_counts(split: Split, windows: str) -> np.ndarray | None:
    """Return how often each item is a label; None where each event but the first of a user is."""
    train = split.train
    if windows == "interactions":
        return train.item_counts
    if windows == "last":
        rows = train.sequences
        last = rows.items[rows.offsets[1:][rows.lengths > 1] - 1]
        return np.bincount(last, minlength=train.n_items)
    return None
