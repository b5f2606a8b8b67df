"""Converts columns of a raw table to ids, times and weights, with errors that name the row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import polars as pl
from polars import selectors

from softrec.data.units import of_two_units, unit_of, unit_of_all
from softrec.errors import DataError, one_line, shown

# Tried one after the other; another order of day and month than ISO's is never guessed. BigQuery
# writes the zone of ISO's Z as " UTC".
NAIVE = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
# Whole numbers below this are exact in a float of this type.
EXACT = {pl.Float64: 2**53, pl.Float32: 2**24, pl.Float16: 2**11}
DIGITS = "^(0|-?[1-9][0-9]*)$"
MICROSECONDS = 1_000_000
DAY = 86_400 * MICROSECONDS
YEARS_1_TO_9999 = (-719_162, 2_932_896)  # days since 1970; Python has no other dates

TEXTS = TypeVar("TEXTS", pl.Series, pl.Expr)
WHOLE, FRACTIONS = "whole numbers", "numbers with a fraction"
LOCAL, MOMENTS = "dates without a zone", "dates with a zone"


# --- ids ---


def column_of(name: str) -> pl.Expr:
    """Return the column of a name that `pl.col` may take for a pattern, such as ^x$."""
    return selectors.by_name(name).as_expr()


def ids(column: pl.Series, name: str, *, text_ids: bool = False) -> pl.Series:
    """Return ids as int64, else uint64, else text; or as dates.

    The result for whole numbers does not depend on how they are stored: as integers, text, or
    fractions (1.0).

    Raises:
        DataError: if an id is missing or cannot be an id, or if numbers and text are mixed.
    """
    if column.dtype in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    kind = column.dtype
    if not (kind.is_numeric() or kind in (pl.String, pl.Date, pl.Datetime, pl.Null)):
        raise DataError(
            f"column {named(name)} has the type {one_line(str(kind), 60)}, but an id is a number, "
            "a text or a date"
        )
    lacking = missing(column)
    if bool(lacking.any()):
        raise DataError(
            f"column {named(name)} has no id in row {_first(lacking):,} (rows without an id: "
            f"{int(lacking.sum()):,}); drop these rows or fill in the ids"
        )
    if kind.is_temporal():
        _check_years(column, name)
        return column.cast(pl.String) if text_ids else column
    if kind.is_float() or kind.is_decimal():
        column = _whole_ids(column, name)
    if text_ids:
        return column.cast(pl.String)
    return _smallest(_digits_if_all_are(column, name) if kind == pl.String else column)


def missing(column: pl.Series) -> pl.Series:
    """Return where there is no id: null, NaN, or a text that has only spaces."""
    if column.dtype == pl.String:
        return column.is_null() | (column.str.strip_chars() == "").fill_null(False)
    if column.dtype.is_float():
        return column.is_null() | column.is_nan().fill_null(False)
    return column.is_null()


def _check_years(column: pl.Series, name: str) -> None:
    strange = _out_of_calendar(column)
    if bool(strange.any()):
        raise DataError(
            f"column {named(name)} has a date outside the years 1 to 9999 in row "
            f"{_first(strange):,}; an id is a number, a text or a date"
        )


def _out_of_calendar(column: pl.Series) -> pl.Series:
    """Return which dates Python cannot represent; Polars panics when it formats them."""
    days = _microseconds(column) // DAY
    return days.is_between(*YEARS_1_TO_9999).fill_null(False).not_() & column.is_not_null()


def _whole_ids(column: pl.Series, name: str) -> pl.Series:
    """Convert whole numbers that are stored as fractions, as pandas does, to integers."""
    whole = column.cast(pl.Int128, strict=False)
    broken = (whole.cast(column.dtype, strict=False) == column).fill_null(False).not_()
    if bool(broken.any()):
        row = _first(broken)
        raise DataError(
            f"column {named(name)} has {value_at(column, row)} in row {row:,}, which cannot be an "
            "id; an id is a whole number, a text or a date"
        )
    limit = EXACT.get(type(column.dtype))  # pyright: ignore[reportArgumentType]
    rounded = whole.abs() > limit if limit else whole.is_null()
    if bool(rounded.any()):
        row = _first(rounded)
        raise DataError(
            f"column {named(name)} has {value_at(column, row)} in row {row:,}, which is too large "
            f"for {column.dtype} to be exact; store ids as whole numbers or text"
        )
    return whole


def _digits_if_all_are(column: pl.Series, name: str) -> pl.Series:
    """Return a text column of whole numbers without ".0"; refuse a mix of numbers and text.

    Numbers with zeros in front stay text.
    """
    plain = column.str.contains(r"^(0|-?[1-9][0-9]*)(\.0+)?$")
    if bool(plain.all()):
        return column.str.replace(r"\.0+$", "")
    digits = column.str.contains(r"^-?[0-9]+(\.0+)?$")
    if not bool(plain.any()) or bool(digits.all()):  # all text, or numbers kept as text ('007')
        return column
    row = _first(~digits)
    raise DataError(
        f"column {named(name)} mixes numbers and text (row {row:,} has {value_at(column, row)}, "
        f"others look like {one_line(column.filter(plain)[0], 40)}); if both are intended, read "
        "all ids as text with --text-ids (in Python: text_ids=True)"
    )


def are_whole(texts: TEXTS) -> TEXTS:
    """Return which texts are whole numbers, as int64 is written."""
    return (
        texts.str.contains(DIGITS) & texts.cast(pl.Int64, strict=False).is_not_null()
    ).fill_null(False)


def _smallest(column: pl.Series) -> pl.Series:
    """Return whole numbers as int64, else uint64, else text; other text is returned unchanged."""
    if column.dtype == pl.String and not bool(column.str.contains(DIGITS).all()):
        return column
    for kind in (pl.Int64, pl.UInt64):
        small = column.cast(kind, strict=False)
        if not small.null_count():
            return small
    return column.cast(pl.String)


def in_one_type(columns: Sequence[pl.Series], kind: str) -> list[pl.Series]:
    """Return the ids of several files as columns of one type.

    Raises:
        DataError: if one file has numbers and another has text.
    """
    types = {column.dtype for column in columns}
    if types == {pl.Int64, pl.UInt64} and not any((column < 0).any() for column in columns):
        return [column.cast(pl.UInt64) for column in columns]
    if len(types) > 1:
        raise DataError(
            f"the {kind} ids of the given files have different types "
            f"({shown(sorted(map(str, types)))}); read all of them as text with --text-ids"
        )
    return list(columns)


# --- times ---


@dataclass(frozen=True)
class Times:
    """The times of one file, int64, and their kind, because different kinds cannot be mixed."""

    values: pl.Series
    kind: str  # WHOLE, FRACTIONS, LOCAL or MOMENTS; all but WHOLE are microseconds


def times(column: pl.Series, name: str, *, whole: bool = True) -> Times:
    """Return whole numbers unchanged; numbers with a fraction and dates become microseconds.

    Args:
        column: the times.
        name: of the column, for errors.
        whole: whether it is all of the column, so that its units can be told.

    Raises:
        DataError: if a value is not a time, or dates with and without a zone are mixed.
    """
    found = _times(column)
    missing = found.values.is_null()
    if bool(missing.any()):
        row = _first(missing)
        raise DataError(
            f"{value_at(column, row)} in column {named(name)}, row {row:,}, is not a time (rows "
            f"without a time: {int(missing.sum()):,}); expected a number or a date such as "
            "2024-05-31 18:00:00, with a time zone in all rows or in none"
        )
    if whole:
        _check_one_unit(found, column, name)
    return found


def _check_one_unit(found: Times, column: pl.Series, name: str) -> None:
    """Refuse numbers of which some look like seconds and others like milliseconds."""
    if found.kind not in (WHOLE, FRACTIONS):
        return
    numbers = found.values // (MICROSECONDS if found.kind == FRACTIONS else 1)
    ends = of_two_units(numbers)
    if ends is None:
        return
    listed = (
        f"{value_at(column, row)} in row {row:,}, which looks like {unit_of(end)}"
        for end, row in ((end, _first(numbers == end)) for end in ends)
    )
    raise DataError(f"column {named(name)} has {', and '.join(listed)}; give all times in one unit")


def _times(column: pl.Series) -> Times:
    """Return times, with null where a value is not a time."""
    kind = column.dtype
    if kind.is_numeric():
        return _numeric_times(column)
    if kind in (pl.Date, pl.Datetime):
        zoned = isinstance(kind, pl.Datetime) and kind.time_zone is not None
        return Times(_microseconds(column), MOMENTS if zoned else LOCAL)
    if kind not in (pl.String, pl.Categorical, pl.Enum):
        return Times(_nothing(column, pl.Int64()), WHOLE)
    text = column.cast(pl.String).str.strip_chars()
    numbers = _numeric_times(text)
    if not numbers.values.null_count():
        return numbers
    dates = min(_dates(text, NAIVE, LOCAL), _dates(text, ZONED, MOMENTS), key=_unread)
    return min(numbers, dates, key=_unread)


def _unread(found: Times) -> int:
    return found.values.null_count()


def _microseconds(column: pl.Series) -> pl.Series:
    """Return dates or date-times as int64 microseconds since 1970, null if they do not fit."""
    counted = column.to_physical().cast(pl.Int64)
    if column.dtype == pl.Date:
        return _scaled(counted, DAY)
    unit = column.dtype.time_unit  # pyright: ignore[reportAttributeAccessIssue]
    return counted // 1000 if unit == "ns" else _scaled(counted, 1000 if unit == "ms" else 1)


def _scaled(whole: pl.Series, factor: int) -> pl.Series:
    """Return int64 `whole` times `factor`, null if the product does not fit."""
    most = (2**63 - 1) // factor
    fits = whole.is_between(-most, most)
    return whole.zip_with(fits.fill_null(False), _nothing(whole, pl.Int64())) * factor


def _numeric_times(column: pl.Series) -> Times:
    """Return whole numbers unchanged; if any number has a fraction, all become millionths.

    Integers are never converted to float64, in which nanoseconds since 1970 are not exact.
    """
    if not column.dtype.is_float():
        whole = column.cast(pl.Int64, strict=False)
        if not whole.null_count() and not column.dtype.is_decimal():
            return Times(whole, WHOLE)
    numbers = column.cast(pl.Float64, strict=False)
    if bool((numbers == numbers.round()).all()):
        return Times(numbers.cast(pl.Int64, strict=False), WHOLE)
    return Times((numbers * MICROSECONDS).round().cast(pl.Int64, strict=False), FRACTIONS)


def _dates(text: pl.Series, patterns: tuple[str, ...], kind: str) -> Times:
    """Return ISO dates and date-times, null where a text fits none of `patterns`."""
    iso = text.str.replace(r" ?UTC$", "Z").str.replace(" ", "T", literal=True)
    found = _nothing(text, pl.Datetime("us"))
    for pattern in patterns:
        moments = iso.str.to_datetime(pattern, strict=False, time_unit="us")
        found = found.zip_with(found.is_not_null(), moments.dt.replace_time_zone(None))
        if not found.null_count():
            break
    return Times(found.cast(pl.Int64), kind)


def in_one_unit(parts: Sequence[Times], places: Sequence[str]) -> list[pl.Series]:
    """Return the times of several files in one unit.

    If one file has whole numbers and another has numbers with a fraction, both are seconds.

    Raises:
        DataError: if dates and numbers are mixed, or dates with and without a zone, or numbers that
            look like seconds in one file and like milliseconds in another.
    """
    kinds = {part.kind for part in parts}
    values = [part.values for part in parts]
    if kinds == {WHOLE, FRACTIONS}:
        values = [
            part.values if part.kind == FRACTIONS else _finer(part.values, place)
            for part, place in zip(parts, places, strict=True)
        ]
    elif len(kinds) > 1:
        _refuse_units([part.kind for part in parts], places)
    numbers = kinds <= {WHOLE, FRACTIONS}  # dates have a unit, in whatever year they are
    told = [series // MICROSECONDS if FRACTIONS in kinds else series for series in values]
    looks = [unit_of_all(series) for series in told] if numbers and len(values) > 1 else []
    if len({look for look in looks if look}) > 1:
        _refuse_units([look or "small numbers" for look in looks], places)
    return [series.alias("time") for series in values]


def common_kind(parts: Sequence[Times]) -> str | None:
    """Return of which kind times in one unit are, those of `in_one_unit`; None without any."""
    kinds = {part.kind for part in parts}
    return FRACTIONS if FRACTIONS in kinds else next(iter(kinds), None)


def _finer(seconds: pl.Series, place: str) -> pl.Series:
    finer = _scaled(seconds, MICROSECONDS)
    if finer.null_count():
        raise DataError(
            f"{place} has whole numbers as times that cannot be seconds, and another file has "
            "fractions of seconds; give the times of all files in the same unit"
        )
    return finer


def _refuse_units(units: Sequence[str], places: Sequence[str]) -> None:
    listed = "; ".join(
        f"{one_line(place, 60)}: {unit}" for place, unit in zip(places, units, strict=True)
    )
    raise DataError(
        f"the times of the files have different units ({listed}); give the times of all files in "
        "the same unit"
    )


# --- weights ---


def weights(column: pl.Series, name: str) -> pl.Series:
    """Return weights as float32.

    Raises:
        DataError: if a weight is missing, not a number, or infinite.
    """
    kind = column.dtype
    if not (kind.is_numeric() or kind in TEXT_OR_TRUTH):
        raise DataError(
            f"column {named(name)} has the type {one_line(str(kind), 60)}, but a weight is a "
            "number; name another column with --weight (in Python: weight=)"
        )
    if kind in (pl.Categorical, pl.Enum):
        column = column.cast(pl.String)
    found = column.cast(pl.Float32, strict=False)
    missing = found.is_finite().fill_null(False).not_()
    if bool(missing.any()):
        row = _first(missing)
        raise DataError(
            f"{value_at(column, row)} in column {named(name)}, row {row:,}, is not a finite "
            f"number (rows without one: {int(missing.sum()):,}); drop these rows or fill in the "
            "numbers, or name another column with --weight (in Python: weight=)"
        )
    return found


TEXT_OR_TRUTH = (pl.String, pl.Boolean, pl.Null, pl.Categorical, pl.Enum)


# --- for messages ---


def named(name: str) -> str:
    """Return the name of a column for a message."""
    return one_line(repr(name), 60)


def value_at(column: pl.Series, row: int) -> str:
    """Return the value in `row`, counted from 1, for a message."""
    cell = column[row - 1 : row]
    if cell.dtype in (pl.Date, pl.Datetime) and bool(_out_of_calendar(cell).all()):
        cell = cell.to_physical()
    return one_line(repr(cell[0]), 60)


def _first(found: pl.Series) -> int:
    """Return the first row that is true, counted from 1 and without the header."""
    return int(found.arg_max() or 0) + 1


def _nothing(like: pl.Series, kind: pl.DataType) -> pl.Series:
    return pl.Series([None], dtype=kind).new_from_index(0, len(like))
