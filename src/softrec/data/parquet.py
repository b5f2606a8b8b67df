"""Reads Parquet files by Arrow if it is installed: Polars may end the process at a damaged page.

For a page whose header claims 2^61 rows, Arrow raises an error that can be caught. Polars tries to
allocate the memory, which cannot be caught. Whole files are read the same by both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from softrec.errors import DataError, one_line
from softrec.extras import has, optional

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet
else:
    pa = optional("pyarrow", "an Arrow table")
    parquet = optional("pyarrow.parquet", "an Arrow table")


def column_names(files: Sequence[Path]) -> list[str]:
    """Return the names of the columns, which are the same in all files, in any order.

    Raises:
        OSError: if the files have different columns, two columns have the same name, or a file is
            broken.
        polars.exceptions.PolarsError: if a file is broken and Arrow is not installed.
    """
    names = [_names(file) for file in files]
    for file, own in zip(files, names, strict=True):
        if sorted(own) != sorted(names[0]):
            raise OSError(
                f"{file.name} has other columns than {files[0].name}; give all files of the "
                "folder the same columns"
            )
    if len(set(names[0])) < len(names[0]):
        raise OSError(f"{files[0].name} has two columns with the same name")
    return names[0]


def read_columns(files: Sequence[Path], names: Mapping[str, str]) -> pl.DataFrame:
    """Return some columns of the files, one file after another.

    Args:
        files: Parquet files with the same columns.
        names: the name of a column in the result -> its name in the files.

    Raises:
        DataError: if a column is of different types.
        OSError: if a file is broken.
        polars.exceptions.PolarsError: if a file is broken and Arrow is not installed.
    """
    frames = [_read(file, names) for file in files]
    try:
        return pl.concat(frames)
    except pl.exceptions.SchemaError:
        raise _other_types(files, frames, names) from None


def _other_types(
    files: Sequence[Path], frames: Sequence[pl.DataFrame], names: Mapping[str, str]
) -> DataError:
    """Return the error about files of which a column has different types."""
    first = frames[0].schema
    file, kind, dtype = next(
        (file, kind, dtype)
        for file, frame in zip(files, frames, strict=True)
        for kind, dtype in frame.schema.items()
        if dtype != first[kind]
    )
    return DataError(
        f"column {one_line(repr(names[kind]), 60)} has the type {dtype} in {file} and "
        f"{first[kind]} in {files[0].name}; write it with one type in all files of the folder"
    )


def read_some(file: Path, names: Mapping[str, str], rows: int) -> Iterator[pl.DataFrame]:
    """Yield some columns of a file, at most `rows` rows at a time; Arrow must be installed.

    Raises:
        OSError: if the file is broken.
    """
    with _arrow_errors():
        batches = parquet.ParquetFile(file).iter_batches(rows, columns=list(names.values()))
        for batch in batches:
            table = pa.Table.from_batches([batch])
            table.validate(full=True)
            yield pl.DataFrame({kind: _series(table[name]) for kind, name in names.items()})


def read_file(file: Path) -> pl.DataFrame:
    """Return all columns of a file; the errors are those of `read_columns`."""
    return read_columns([file], {name: name for name in column_names([file])})


def from_table(table: Any) -> pl.DataFrame:
    """Return an Arrow table, or what Polars reads like one, such as batches of rows.

    Raises:
        OSError: if it is broken.
        DataError: if it is no table, such as a data set of files.
    """
    try:
        with _arrow_errors():
            return pl.DataFrame(table)
    except TypeError as error:
        raise DataError(
            f"an Arrow {type(table).__name__} is no table yet; pass its to_table(), or the path of "
            "its folder"
        ) from error


def _names(file: Path) -> list[str]:
    if has("pyarrow"):
        try:
            with _arrow_errors():
                return parquet.ParquetFile(file).schema_arrow.names
        except NotImplementedError:
            pass
    return pl.scan_parquet(file, glob=False).collect_schema().names()


def _read(file: Path, names: Mapping[str, str]) -> pl.DataFrame:
    if has("pyarrow"):
        try:
            return _by_arrow(file, names)
        except NotImplementedError:  # such as integers of 128 bits, which Arrow does not have
            pass
    wanted = [pl.col(name).alias(kind) for kind, name in names.items()]
    read = pl.scan_parquet(file, glob=False).select(wanted).collect()
    return read.cast({pl.Categorical: pl.String, pl.Enum: pl.String})


def _by_arrow(file: Path, names: Mapping[str, str]) -> pl.DataFrame:
    with _arrow_errors():
        table = parquet.ParquetFile(file).read(columns=list(names.values()))
        table.validate(full=True)  # Polars takes texts and categories from Arrow without a check
        return pl.DataFrame({kind: _series(table[name]) for kind, name in names.items()})


@contextmanager
def _arrow_errors() -> Iterator[None]:
    """A context in which Arrow's own errors are OSErrors, so that nobody else needs to know them.

    What Arrow has not implemented stays a NotImplementedError.
    """
    try:
        yield
    except pa.ArrowNotImplementedError:
        raise
    except pa.ArrowException as error:
        raise OSError(str(error)) from error


def _series(column: pa.ChunkedArray) -> pl.Series:
    if pa.types.is_dictionary(column.type):  # files may have different categories
        column = column.cast(column.type.value_type)
    return pl.Series(pl.from_arrow(column))


def free_unused() -> None:
    """Return to the system what Arrow keeps of tables that are no longer used."""
    if "pyarrow" in sys.modules and has("pyarrow"):
        pa.default_memory_pool().release_unused()
