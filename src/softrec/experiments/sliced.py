"""Differences between the variants of a comparison in slices of the test cases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from softrec.data.splits import Split
from softrec.data.vocabulary import Vocabulary
from softrec.evaluation.asked import Asked
from softrec.evaluation.by_slice import differences_by_slice
from softrec.evaluation.slices import slices_of
from softrec.experiments.build.data import label_counts
from softrec.experiments.differences import values_of
from softrec.experiments.levels import baselines_of
from softrec.experiments.own_tables import own_table
from softrec.experiments.runs import Run
from softrec.experiments.variants import Plan
from softrec.recipe.recipe import Recipe
from softrec.recipe.specs.models import is_counted


def case_slices(
    base: Recipe, split: Split, asked: Asked, user_table: Any = None, item_table: Any = None
) -> pl.DataFrame:
    """Return the slices of the test cases, also by the columns of own tables.

    Raises:
        DataError: if a table cannot be used.
    """
    users, items = split.train.users, split.train.items
    return slices_of(
        asked.test,
        split.clean,
        labels=label_counts(base, split.clean),
        user_table=_own(user_table, "user", users, base.data.user),
        item_table=_own(item_table, "item", items, base.data.item),
    )


def _own(source: Any, kind: str, ids: Vocabulary, column: str | None) -> pl.DataFrame | None:
    return None if source is None else own_table(source, kind, ids, column)


def sliced(
    wanted: Plan,
    names: Sequence[str],
    runs: Sequence[Sequence[Run]],
    slices: pl.DataFrame,
) -> pl.DataFrame:
    """Return the differences from the baselines in the selection metric, by slice.

    Args:
        wanted: the plan of the comparison.
        names: of the variants, the baseline first.
        runs: a row for each variant, a run for each seed; one run for a simple baseline.
        slices: the result of `case_slices`.
    """
    baselines = baselines_of(wanted, [row[0].recipe for row in runs])
    whose = {name: names[place] for name, place in zip(names, baselines, strict=True)}
    metric = wanted.base.training.monitor
    values = {name: values_of(row, metric) for name, row in zip(names, runs, strict=True)}
    counted = [
        name for name, row in zip(names, runs, strict=True) if is_counted(row[0].recipe.model.name)
    ]
    return differences_by_slice(slices, values, deterministic=counted, baselines=whose)
