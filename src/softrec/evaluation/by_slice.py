"""Differences between variants in each slice of the test cases."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from softrec.errors import DataError, shown
from softrec.evaluation.significance import crossed, holm

SCHEMA = {
    "slicing": pl.String, "slice": pl.String, "variant": pl.String, "n": pl.Int64,
    "mean": pl.Float64, "difference": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "low_users": pl.Float64, "high_users": pl.Float64, "p": pl.Float64, "p_holm": pl.Float64,
}  # fmt: skip


def differences_by_slice(
    slices: pl.DataFrame,
    values: Mapping[str, np.ndarray],
    *,
    level: float = 0.95,
    deterministic: Collection[str] = (),
    baselines: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Return how each variant differs from its baseline in each slice.

    Args:
        slices: the result of `softrec.evaluation.slices.slices_of`: a row per case, a column per
            slicing.
        values: the metric by variant, (seeds, C) each, with the cases in the order of `slices`.
        level: coverage of the intervals.
        deterministic: variants that are counted and not trained: (1, C), the same for all seeds.
        baselines: the baseline of each variant; a baseline is its own. By default the first
            variant.

    Returns:
        A row per slicing, slice and variant; slices without a case are left out:

        - n: the number of cases in the slice. mean: the mean of the metric over cases and seeds.
        - difference: mean difference to the baseline, with the interval low .. high of `crossed`
          over cases and seeds, and low_users .. high_users over the cases only.
        - p, and p_holm, which is corrected over all slices and variants of the table.

        Differences of a baseline are null; interval and p are null if a trained variant has only
        one seed.

    Raises:
        DataError: if there is no variant, or values and slices are not of the same cases.

    Example:
        >>> slices = pl.DataFrame({"user": ["new", "known", "known"]})
        >>> a = np.array([[0.0, 1.0, 0.5], [0.0, 1.0, 0.7]])
        >>> table = differences_by_slice(slices, {"one-hot": a, "soft": a + 0.25})
        >>> table.select("slice", "variant", "n", "mean", "difference").rows()[:2]
        [('known', 'one-hot', 2, 0.8, None), ('known', 'soft', 2, 1.05, 0.25)]
    """
    if not values:
        raise DataError("expected the values of a baseline at least, got none")
    arrays = {name: np.asarray(each, dtype=np.float64) for name, each in values.items()}
    wrong = [n for n, each in arrays.items() if each.ndim != 2 or each.shape[1] != len(slices)]
    if wrong:
        shapes = [arrays[name].shape for name in wrong]
        raise DataError(
            f"expected values of shape (seeds, {len(slices)}), one for each case with slices, but "
            f"those of {shown(wrong)} have the shape {shown(shapes)}"
        )
    first = next(iter(arrays))
    whose = {name: (baselines or {}).get(name, first) for name in arrays}
    rows = list(_rows(slices, arrays, level, deterministic, whose))
    table = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    judged = table["p"].is_not_null().to_numpy()
    adjusted = np.full(len(table), np.nan)
    adjusted[judged] = holm(table["p"].drop_nulls().to_numpy())
    return table.with_columns(pl.Series("p_holm", adjusted).fill_nan(None))


def _rows(
    slices: pl.DataFrame,
    arrays: Mapping[str, np.ndarray],
    level: float,
    deterministic: Collection[str],
    whose: Mapping[str, str],
) -> Iterator[tuple[Any, ...]]:
    for slicing in slices.columns:
        for name, inside in _members(slices[slicing]):
            part = {variant: each[:, inside] for variant, each in arrays.items()}
            for variant, each in part.items():
                start = (slicing, name, variant, len(inside), float(each.mean()))
                baseline = whose[variant]
                if variant == baseline:
                    yield (*start, *[None] * 7)
                    continue
                d = crossed(
                    part[baseline], each, level=level, deterministic=variant in deterministic
                )
                found = (d.mean, d.low, d.high, d.users.low, d.users.high, d.p)
                yield (*start, *(None if math.isnan(x) else x for x in found), None)


def _members(column: pl.Series) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each slice that has cases, in order, with these cases."""
    if not isinstance(column.dtype, pl.Enum):
        column = column.cast(pl.Enum(column.unique().sort()))
    codes, names = column.to_physical().to_numpy(), column.to_list()
    order = np.argsort(codes, kind="stable")
    for inside in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        yield names[inside[0]], inside
