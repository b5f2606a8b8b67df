"""Reads lists of users and writes tables of recommendations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from softrec.data import parquet
from softrec.data.reading import BROKEN
from softrec.errors import DataError
from softrec.files import replacing

WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    ".csv": lambda table, path: _flat(table).write_csv(path),
    ".parquet": lambda table, path: table.write_parquet(path),
    ".json": lambda table, path: table.write_json(path),
}
READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".txt": lambda path: pl.DataFrame({"user": path.read_text("utf-8-sig").splitlines()}),
    ".csv": lambda path: pl.read_csv(path, infer_schema=False),
    ".parquet": parquet.read_file,
    ".json": pl.read_json,
}


def writer_of(path: Path) -> Callable[[pl.DataFrame, Path], object]:
    """Return the function that writes a table to `path`, by its ending.

    Raises:
        DataError: if the ending is unknown or the folder does not exist.
    """
    if path.suffix not in WRITERS:
        raise DataError(f"cannot write {path}: the ending must be one of {', '.join(WRITERS)}")
    if not path.parent.exists():
        raise DataError(f"cannot write {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise DataError(f"cannot write {path}: it is a folder")
    return WRITERS[path.suffix]


def write_table(table: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV, Parquet or JSON, completely or not at all; lists in CSV are 'a,b,c'."""
    writer = writer_of(path)
    with written(path) as fresh:
        writer(table, fresh)


def _flat(table: pl.DataFrame) -> pl.DataFrame:
    """Return the table with lists as text, separated by commas, because CSV has no lists."""
    lists = [name for name, kind in table.schema.items() if isinstance(kind, pl.List)]
    parts = (pl.col(name).list.eval(pl.element().cast(pl.String)) for name in lists)
    return table.with_columns(part.list.join(",") for part in parts)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to, which is renamed to `path` if there was no error."""
    try:
        with replacing(path) as fresh:
            yield fresh
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror}") from error


def read_users(path: Path) -> list[object]:
    """Return the user ids of a file: its column `user`, or its lines.

    Raises:
        DataError: if the file is missing, broken, empty or has no such column.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist; give a file with the users to recommend to")
    try:
        table = READERS.get(path.suffix, READERS[".txt"])(path)
    except BROKEN as error:
        text = str(error).partition("\n")[0]
        raise DataError(
            f"{path} cannot be read: {text}; check that it is complete and in UTF-8"
        ) from error
    if "user" not in table.columns:
        raise DataError(f"{path} has no column 'user'; its columns are {', '.join(table.columns)}")
    listed = table["user"].to_list()
    users: list[object] = [u.strip() if isinstance(u, str) else u for u in listed]
    users = [user for user in users if user not in (None, "")]
    if not users:
        raise DataError(f"{path} contains no user; put an id on each line or in the column 'user'")
    return users
