"""Reads the few formats of public data sets, column by column."""

from __future__ import annotations

import gzip
import lzma
import struct
import zipfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import polars as pl

from softrec.data import values
from softrec.data.reading import BROKEN
from softrec.errors import DataError, one_line

# The errors of unpacking damaged files, and of zip files with unsupported methods or passwords.
UNPACKING = (
    lzma.LZMAError, EOFError, OSError, ValueError, zipfile.BadZipFile, zlib.error, struct.error,
    NotImplementedError, RuntimeError,
)  # fmt: skip
KINDS = {"user": pl.Int64, "item": pl.Int64, "time": pl.Int64, "weight": pl.Float32}


def content(path: Path, member: str | None = None) -> bytes:
    """Return the unpacked content of a file; of `member`, if it is a zip archive.

    Raises:
        DataError: if the file is damaged or has no such member.
    """
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                return archive.read(member or archive.namelist()[0])
        if path.suffix == ".xz":
            return lzma.decompress(path.read_bytes())
        if path.suffix == ".gz":
            return gzip.decompress(path.read_bytes())
        return path.read_bytes()
    except KeyError as error:
        raise DataError(
            f"{path} contains no {member}; check that it is the right archive"
        ) from error
    except UNPACKING as error:
        raise DataError(
            f"{path} cannot be unpacked ({one_line(str(error), 150)}); it is damaged or not "
            "complete: download it again"
        ) from error


def columns(
    path: Path,
    places: Mapping[str, int | str],
    *,
    separator: str,
    member: str | None = None,
) -> pl.DataFrame:
    """Read the named columns of a separated file of numbers.

    Args:
        path: the file, perhaps compressed.
        places: the place of each of user, item, time, weight that the file has: the number of the
            column, counted from 0, in a file without a header, else its name.
        separator: the one byte between two values. For `::` give `:`; the numbers of the columns
            are then 0, 2, 4, ...
        member: the name of the file in a zip archive.

    Raises:
        DataError: if the file is damaged, or has other columns or values that are not numbers.
    """
    data = content(path, member)
    read = partial(
        pl.read_csv,
        data,
        separator=separator,
        has_header=isinstance(next(iter(places.values())), str),
        infer_schema=False,
        quote_char=None,
    )
    try:
        present = read(n_rows=1).columns
        names = {
            kind: place if isinstance(place, str) else present[place]
            for kind, place in places.items()
        }
        # Read as numbers: as text, the 20 million rows of the largest file take twice the memory.
        table = read(
            columns=list(names.values()),
            schema_overrides={name: KINDS[kind] for kind, name in names.items()},
        ).select(pl.col(name).alias(kind) for kind, name in names.items())
    except (*BROKEN, IndexError) as error:
        raise DataError(
            f"{path} does not have the expected layout, numbers separated by {separator!r} with "
            f"the columns {dict(places)}: {one_line(str(error), 150)}"
        ) from error
    return checked(table, path)


def user_lists(path: Path) -> pl.DataFrame:
    """Read lines `user item item ...` as rows user, item, in the order of the lines."""
    words = item_lists(path)
    listed = pl.DataFrame({"user": words.list.first(), "item": words.list.slice(1)})
    rows = listed.filter(pl.col("item").list.len() > 0).explode("item")
    table = rows.select(_as_numbers(rows["user"], path), _as_numbers(rows["item"], path))
    return checked(table, path)


def numbered(lists: pl.Series, path: Path, first: int = 1) -> pl.DataFrame:
    """Turn lists of items into rows user, item; users are numbered from `first`."""
    listed = pl.DataFrame({"item": lists}).with_row_index("user", offset=first)
    rows = listed.filter(pl.col("item").list.len() > 0).explode("item")
    table = rows.select(pl.col("user").cast(pl.Int64), _as_numbers(rows["item"], path))
    return checked(table, path)


def item_lists(path: Path) -> pl.Series:
    """Return the words of each non-empty line, as text."""
    try:
        lines = (
            pl.read_csv(
                content(path),
                separator="\x01",  # a separator that no text contains, so that a line is one value
                has_header=False,
                infer_schema=False,
                quote_char=None,
            )
            .to_series()
            .drop_nulls()
        )
    except BROKEN as error:
        raise DataError(
            f"{path} must be text with one list on each line: {one_line(str(error), 150)}"
        ) from error
    # Some published files have a space at the end of a line, or a user without items.
    words = lines.str.strip_chars().str.replace_all(r"\s+", " ").str.split(" ")
    return words.filter(words.list.first() != "")


def _as_numbers(column: pl.Series, path: Path) -> pl.Series:
    numbers = column.cast(KINDS[column.name], strict=False)
    _refuse_nulls(numbers, column, path)
    return numbers


def checked(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Return the raw table of a data set, after checking that it can be a log.

    Raises:
        DataError: if it has no events, or if a value is missing or infinite, or an id is not a
            whole number.
    """
    if table.is_empty():
        raise DataError(f"{path} has no events; check that it is the right file, and complete")
    for column in table:
        _refuse_nulls(column, column, path)
    try:
        return table.with_columns(
            values.weights(column, "weight").alias("weight")
            if column.name == "weight"
            else values.ids(column, column.name).alias(column.name)
            for column in table
            if column.dtype.is_float()
        )
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _refuse_nulls(numbers: pl.Series, read: pl.Series, path: Path) -> None:
    if numbers.null_count():
        row = int(numbers.is_null().arg_max() or 0)
        raise DataError(
            f"{path}: {values.value_at(read, row + 1)} is not a number, but the {read.name} of "
            f"event {row + 1:,} must be one; {numbers.null_count():,} values are like it"
        )
