"""A log as Parquet files, read some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from softrec.data import parquet, values
from softrec.data.reading import BROKEN, find_columns, parquet_files
from softrec.errors import DataError, one_line
from softrec.limits import LIMITS

TIMES = (pl.Date, pl.Datetime)


@dataclass(frozen=True)
class Parts:
    """The files of a log, and the columns that are read.

    Attributes:
        source: the file or folder.
        files: the Parquet files, in order.
        names: user, item, perhaps time and weight -> the name of the column.
    """

    source: Path
    files: tuple[Path, ...]
    names: dict[str, str]

    @classmethod
    def of(cls, source: str | Path, columns: Mapping[str, str | None]) -> Parts:
        """Return the files of a log, after a look at their columns.

        Raises:
            DataError: if there are none, a file is broken, or a column is missing.
        """
        path = Path(source)
        files = parquet_files(path)
        if not files:
            raise DataError(
                f"{path} is not Parquet, which a log on disk is read from; write it as Parquet, or "
                "hold it in memory: --set data.on_disk=false"
            )
        try:
            names = find_columns(parquet.column_names(files), dict(columns), str(path))
        except BROKEN as error:
            raise _broken(path, error) from error
        return cls(path, tuple(files), names)

    def facts(self) -> dict[str, Any]:
        """Return what tells these files from others: names, sizes, times of change, columns."""
        listed = []
        for file in self.files:
            known = file.stat()
            name = file.name if file == self.source else file.relative_to(self.source).as_posix()
            listed.append([name, known.st_size, known.st_mtime_ns])
        return {"files": listed, "columns": self.names}

    def times(self) -> str | None:
        """Return of which kind the times are, as `softrec.data.values` tells them apart."""
        if "time" not in self.names:
            return None
        kind = next((batch["time"].dtype for batch in self.batches(("time",))), None)
        if kind in TIMES:
            return values.MOMENTS if getattr(kind, "time_zone", None) else values.LOCAL
        return values.WHOLE

    def batches(self, kinds: tuple[str, ...]) -> Iterator[pl.DataFrame]:
        """Yield the rows of some columns, by their kind, in order and `LIMITS.read` at a time.

        Raises:
            DataError: if a file is broken.
        """
        names = {kind: self.names[kind] for kind in kinds}
        for file in self.files:
            try:
                yield from parquet.read_some(file, names, LIMITS.read)
            except BROKEN as error:
                raise _broken(file, error) from error

    def events(self) -> Iterator[pl.DataFrame]:
        """Yield all columns, with times as int64 and weights as float32.

        Raises:
            DataError: if a time or a weight cannot be read.
        """
        row = 0
        for batch in self.batches(tuple(self.names)):
            try:
                yield self._checked(batch)
            except DataError as error:
                raise DataError(
                    f"{self.source}, rows counted from row {row:,} on: {error}"
                ) from error
            row += len(batch)

    def _checked(self, batch: pl.DataFrame) -> pl.DataFrame:
        made = []
        if "time" in self.names:
            kind, name = batch["time"].dtype, self.names["time"]
            if not (kind.is_integer() or kind in TIMES):
                raise DataError(
                    f"column {values.named(name)} has the type {one_line(str(kind), 60)}, but the "
                    "times of a log on disk are whole numbers or dates; write them as such"
                )
            made.append(values.times(batch["time"], name, whole=False).values.alias("time"))
        if "weight" in self.names:
            made.append(values.weights(batch["weight"], self.names["weight"]).alias("weight"))
        return batch.with_columns(made)


def size_of(source: str | Path) -> int:
    """Return the size in bytes of the Parquet files of a source; 0 for a source of another kind."""
    path = Path(source)
    if not path.exists():
        return 0
    try:
        return sum(file.stat().st_size for file in parquet_files(path))
    except DataError:  # a folder without such files
        return 0


def _broken(place: Path, error: BaseException) -> DataError:
    reason = one_line(str(error) or type(error).__name__, 150)
    return DataError(f"{place} cannot be read: {reason}; check that the file is complete")


def lengths_of(numbers: np.ndarray, n: int) -> np.ndarray:
    """Return how often each number 0 .. n-1 occurs, int64."""
    return np.bincount(numbers, minlength=n)
