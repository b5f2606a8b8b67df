"""Slices of the test cases: by label, by history, and by your own tables of users and items.

A mean over all cases does not show where a model is better. Each slicing puts every case into
exactly one slice, so that the slices of a slicing partition the cases.

If a case has several relevant items, a numeric property (label count, decile, a numeric column) is
the lower median over the items. A category is the most frequent one over the items; of several, the
first in order.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import polars as pl

from softrec.data.interactions import Interactions, Sequences
from softrec.data.splits import Cases
from softrec.data.vocabulary import UNKNOWN, Vocabulary, plainly_named
from softrec.errors import DataError, shown

COUNTS = (0, 1, 2, 3, 6, 11)
"""The lowest label count of each slice: 0, 1, 2, 3-5, 6-10, 11+."""
LENGTHS = (1, 2, 3, 6, 11, 21, 51)
"""The lowest history length of each slice."""
DECILES = 10
MOST = 50
"""The largest number of distinct values of a column of categories."""
MISSING = "missing"
LOGGER = logging.getLogger(__name__)


class TooManyError(DataError):
    """A column of categories has more than 50 values."""


def slices_of(
    cases: Cases,
    train: Interactions,
    *,
    labels: np.ndarray | None = None,
    user_table: pl.DataFrame | None = None,
    item_table: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return the slice of each case, a row per case and a column (Enum) per slicing.

    - "label count": how often the label of the case is a label in training.
    - "label popularity": the decile of the label among all items by training events; "1" is the
      most popular tenth of the items. Of equally popular items, the one with the lower number
      comes first.
    - "history length": the number of items before the case, also those that a model does not read.
    - "user": "new" for users without a training event (only validation), else "known".
    - "user: COLUMN" and "item: COLUMN" for each column of the tables, see `column_slices`.

    Args:
        cases: the test cases.
        train: the training part.
        labels: (N,) how often each item is a label in training. By default the number of its
            training events that come after another event of the same user, which is correct if
            every position of a sequence is trained.
        user_table: a row per user, with the raw id in the first column; users may be missing.
        item_table: a row per item, in the same form.

    Raises:
        DataError: if a table cannot be used; see `column_slices`.

    Example:
        >>> log = pl.DataFrame({"user": ["ann", "ann", "bob"], "item": ["jam", "tea", "tea"]})
        >>> train = Interactions.read(log)
        >>> cases = Cases(np.array([0, 1]), Sequences.of([[0, 1], [1]]), Sequences.of([[1], [0]]))
        >>> slices_of(cases, train).row(0)
        ('1', '1', '2', 'known')
    """
    relevant, events = cases.relevant, train.item_counts
    counts = label_counts(train.sequences, train.n_items) if labels is None else labels
    known = train.sequences.lengths[cases.user] > 0
    columns = {
        "label count": _ranges(_medians(counts[relevant.items], relevant), COUNTS),
        "label popularity": _ranges(
            _medians(deciles(events)[relevant.items], relevant), range(1, DECILES + 1), last=""
        ),
        "history length": _ranges(cases.history.lengths, LENGTHS),
        "user": _named(known.astype(np.int64), ["new", "known"]),
    }
    if user_table is not None:
        alone = Sequences(np.arange(len(cases) + 1), cases.user)
        own = column_slices(user_table, train.users, alone, "user")
        columns |= {f"user: {name}": column for name, column in own.items()}
    if item_table is not None:
        own = column_slices(item_table, train.items, relevant, "item")
        columns |= {f"item: {name}": column for name, column in own.items()}
    return pl.DataFrame(columns)


def label_counts(sequences: Sequences, n_items: int) -> np.ndarray:
    """Return how often each item comes after another one in a sequence, (N,) int64.

    Example:
        >>> label_counts(Sequences.of([[2, 0, 0], [1]]), 3).tolist()
        [2, 0, 0]
    """
    later = np.ones(len(sequences.items), dtype=bool)
    later[sequences.offsets[:-1][sequences.lengths > 0]] = False
    return np.bincount(sequences.items[later], minlength=n_items)


def deciles(events: np.ndarray) -> np.ndarray:
    """Return the popularity decile of each item, (N,) -> (N,): 1 for the most popular tenth.

    The r-th of N items (r from 0, ties by item number) is in decile 1 + floor(10 r / N).

    Example:
        >>> deciles(np.array([5, 9, 9, 0])).tolist()
        [6, 1, 3, 8]
    """
    found = np.empty(len(events), dtype=np.int64)
    order = np.argsort(-events.astype(np.int64), kind="stable")
    found[order] = 1 + DECILES * np.arange(len(events)) // len(events)
    return found


def column_slices(
    table: pl.DataFrame, vocabulary: Vocabulary, asked: Sequences, kind: str
) -> dict[str, pl.Series]:
    """Return the slices of the cases by each column of a table of users or items.

    Each text, category or boolean value is a slice. Numbers, dates and times are cut at the
    quartiles of the cases; equal values are in the same slice, the lower one. Cases for which the
    table has no row or no value are in the slice "missing". A column of text with more than 50
    values, such as titles, is left out with a note.

    Args:
        table: the first column has raw ids, each once; ids that are not in the log are ignored.
        vocabulary: of the ids.
        asked: (C rows) the users or items of each case, at least one per case.
        kind: "user" or "item", for messages.

    Raises:
        DataError: if the table has only ids, an id twice, or no id of the log, if a column has
            values that are not plain, or if no column is left.
    """
    rows = _rows(table, vocabulary, kind)
    found: dict[str, pl.Series] = {}
    left_out: list[str] = []
    for column in table.get_columns()[1:]:
        try:
            found[column.name] = _sliced(column, rows, asked, kind)
        except TooManyError as error:
            left_out.append(str(error))
    if not found:
        raise DataError(f"{left_out[0]}; group them, or leave the table out")
    for why in left_out:
        LOGGER.info("no slices: %s", why)
    return found


def _rows(table: pl.DataFrame, vocabulary: Vocabulary, kind: str) -> np.ndarray:
    """Return the row of the table for each number of the vocabulary, or -1."""
    if table.width < 2:
        raise DataError(
            f"a table of {kind}s needs a first column with ids and at least one more column to "
            f"slice by, but it has {shown(table.columns)}"
        )
    ids = table.to_series(0)
    own = plainly_named(ids).drop_nulls()
    twice = own.filter(own.is_duplicated()).unique(maintain_order=True)
    wrong = [f"{ids.null_count():,} rows have no id"] if ids.null_count() else []
    wrong += [f"{shown(twice.to_list())} occur several times"] if len(twice) else []
    if wrong:
        raise DataError(
            f"a table of {kind}s must have each id once in its first column {ids.name!r}, but "
            f"{' and '.join(wrong)}; keep one row for each id"
        )
    numbers = vocabulary.numbers(ids)
    if not (numbers != UNKNOWN).any():
        raise DataError(
            f"no id in the first column {ids.name!r} of the table of {kind}s is in the log, which "
            f"has {shown(vocabulary.raw.head(3))}; put the column with the ids first"
        )
    rows = np.full(len(vocabulary), -1)
    rows[numbers[numbers != UNKNOWN]] = np.flatnonzero(numbers != UNKNOWN)
    return rows


def _sliced(column: pl.Series, rows: np.ndarray, asked: Sequences, kind: str) -> pl.Series:
    place = rows[asked.items]
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        return _quartiles(column, place, asked)
    if column.dtype in (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null):
        return _categories(column.cast(pl.String), place, asked, kind)
    raise DataError(
        f"the table of {kind}s can be sliced by numbers, times, text and booleans, but its column "
        f"{column.name!r} has the type {column.dtype}; leave it out or give one value for each row"
    )


def _categories(column: pl.Series, place: np.ndarray, asked: Sequences, kind: str) -> pl.Series:
    text = plainly_named(column).fill_null(MISSING)
    present = text.gather(np.unique(place[place >= 0]))
    names = sorted(set(present.to_list()) - {MISSING})
    if len(names) > MOST:
        raise TooManyError(
            f"column {column.name!r} of the table of {kind}s has {len(names):,} values, such as "
            f"{shown(names[:3])}, and slices need at most {MOST}"
        )
    names.append(MISSING)
    codes = text.replace_strict(names, range(len(names)), default=len(names) - 1)
    number = np.append(codes.to_numpy().astype(np.int64), len(names) - 1)  # the last: no row
    return _named(_modes(number[place], asked, len(names)), names)


def _quartiles(column: pl.Series, place: np.ndarray, asked: Sequences) -> pl.Series:
    kind = column.dtype
    # A decimal is stored as a multiple of its smallest unit, and a date as a number of days.
    plain = plainly_named(column)
    plain = plain.to_physical() if kind.is_temporal() else plain
    physical = plain.cast(pl.Float64).fill_nan(None)
    values = np.append(physical.to_numpy(), np.nan)[place]
    found = _medians(values, asked)
    known = found[~np.isnan(found)]
    # The inverted distribution function gives values that occur, which can name a slice.
    upper = (
        np.unique(np.quantile(known, [0.25, 0.5, 0.75, 1], method="inverted_cdf"))
        if len(known)
        else np.empty(0)
    )
    code = np.searchsorted(upper, found)
    code[np.isnan(found)] = len(upper)
    names = [_between(known[code[~np.isnan(found)] == c], kind) for c in range(len(upper))]
    if len(set(names)) < len(names):  # values so close that their texts are equal
        names = [f"quartile {c + 1}: {name}" for c, name in enumerate(names)]
    return _named(code, [*names, MISSING])


def _between(values: np.ndarray, kind: pl.DataType) -> str:
    low, high = (_shown(value, kind) for value in (values.min(), values.max()))
    return low if low == high else f"{low} to {high}"


def _shown(value: float, kind: pl.DataType) -> str:
    if kind.is_temporal():
        return str(pl.Series([int(value)]).cast(kind)[0])
    return f"{value:.6g}"


def _medians(values: np.ndarray, asked: Sequences) -> np.ndarray:
    """Return the lower median of each row of flat values; NaN if all values of a row are NaN."""
    owner = np.repeat(np.arange(len(asked)), asked.lengths)
    order = np.lexsort((values, owner))  # NaN last
    number = asked.lengths
    if values.dtype.kind == "f":
        number = np.bincount(owner[~np.isnan(values)], minlength=len(asked))
    return values[order][asked.offsets[:-1] + np.maximum(number - 1, 0) // 2]


def _modes(codes: np.ndarray, asked: Sequences, n_codes: int) -> np.ndarray:
    """Return the most frequent code of each row; of several, the lowest."""
    owner = np.repeat(np.arange(len(asked)), asked.lengths)
    pair, times = np.unique(owner * n_codes + codes, return_counts=True)
    order = np.lexsort((pair, -times, pair // n_codes))
    _, first = np.unique(pair[order] // n_codes, return_index=True)
    return pair[order][first] % n_codes


def _ranges(values: np.ndarray, begins: Sequence[int] | range, last: str = "+") -> pl.Series:
    """Return the name of the range of each whole number, such as 0, 3-5 or 11+."""
    ends = [*begins[1:], None]
    names = [
        f"{low}{last}" if high is None else f"{low}" if high == low + 1 else f"{low}-{high - 1}"
        for low, high in zip(begins, ends, strict=True)
    ]
    return _named(np.searchsorted(np.asarray(begins), values, side="right") - 1, names)


def _named(codes: np.ndarray, names: Sequence[str]) -> pl.Series:
    """Return names by their places, as an Enum in the order of `names`."""
    return pl.Series(names).gather(codes).cast(pl.Enum(names))
