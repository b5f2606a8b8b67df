"""The events of a log in files, user by user and oldest first, read as memory maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import polars as pl

from softrec.blocks import blocks_of_parts
from softrec.data.interactions import Interactions, Sequences
from softrec.data.vocabulary import Vocabulary
from softrec.extras import require
from softrec.limits import LIMITS

KINDS = {"user": np.uint32, "item": np.uint32, "time": np.int64, "weight": np.float32}
OFFSETS, COUNTS = "offsets", "item_counts"


@dataclass(frozen=True)
class Rows:
    """Events user by user, oldest first.

    Attributes:
        offsets: (U + 1,) int64, of the events of each user.
        columns: user, item, perhaps time and weight, (E,) each; of files, memory maps.
        n_items: size N of the catalogue.
    """

    offsets: np.ndarray
    columns: Mapping[str, np.ndarray]
    item_counts: np.ndarray  # (N,) int64

    @classmethod
    def read(cls, folder: Path) -> Rows:
        """Open the files that a `Writer` wrote."""
        columns = {
            kind: _map(folder / f"{kind}.bin", dtype)
            for kind, dtype in KINDS.items()
            if (folder / f"{kind}.bin").exists()
        }
        return cls(np.load(folder / f"{OFFSETS}.npy"), columns, np.load(folder / f"{COUNTS}.npy"))

    def __len__(self) -> int:
        return len(self.columns["item"])

    @property
    def n_users(self) -> int:
        """Return the size of the user vocabulary."""
        return len(self.offsets) - 1

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Yield (users, events) of blocks of `LIMITS.sorted` events, or of one user."""
        for users in blocks_of_parts(self.offsets[1:], LIMITS.sorted):
            yield users, slice(int(self.offsets[users.start]), int(self.offsets[users.stop]))

    @cached_property
    def frame(self) -> pl.DataFrame:
        """Return the columns as a table without a copy."""
        pa = require("pyarrow", "a log on disk")
        made = []
        for kind, values in self.columns.items():
            type_ = pa.from_numpy_dtype(values.dtype)
            buffers = [None, pa.py_buffer(values)]
            column = pl.from_arrow(pa.Array.from_buffers(type_, len(values), buffers))
            made.append(pl.Series(kind, column))
        return pl.DataFrame(made)

    def log(self, users: Vocabulary, items: Vocabulary, times: str | None = None) -> Interactions:
        """Return the events as a log; what a log computes of its events is there already."""
        log = Interactions(self.frame, users, items, times)
        rows = Sequences(
            self.offsets, self.columns["item"].view(np.int32), self.columns.get("time")
        )
        known = {
            "ordered": self.frame, "sequences": rows, "user_counts": rows.lengths,
            "item_counts": self.item_counts,
        }  # fmt: skip
        vars(log).update(known)  # where `cached_property` looks
        return log


class Writer:
    """Writes events user by user to the files of a folder.

    Args:
        folder: it is made.
        kinds: the columns beside user and item: time, weight.
        n_users: the size of the user vocabulary.
        n_items: size N of the catalogue.
    """

    def __init__(self, folder: Path, kinds: Any, n_users: int, n_items: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.lengths = np.zeros(n_users, dtype=np.int64)
        self.counts = np.zeros(n_items, dtype=np.int64)
        self._files: dict[str, BinaryIO] = {
            kind: (folder / f"{kind}.bin").open("wb") for kind in KINDS if kind in set(kinds)
        }

    def __enter__(self) -> Writer:
        return self

    def add(self, columns: Mapping[str, np.ndarray]) -> None:
        """Add events, sorted by user and after all events of earlier users."""
        for kind, file in self._files.items():
            file.write(np.ascontiguousarray(columns[kind], dtype=KINDS[kind]).data)
        user, item = columns["user"], columns["item"]
        if len(user):
            first, last = int(user[0]), int(user[-1])
            self.lengths[first : last + 1] += np.bincount(user - first)
            self.counts += np.bincount(item, minlength=len(self.counts))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.close()
        offsets = np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)])
        np.save(self.folder / f"{OFFSETS}.npy", offsets)
        np.save(self.folder / f"{COUNTS}.npy", self.counts)


def write_ids(folder: Path, users: Vocabulary, items: Vocabulary) -> None:
    """Write the vocabularies of a log."""
    for name, vocabulary in (("users", users), ("items", items)):
        pl.DataFrame({"raw": vocabulary.raw}).write_parquet(folder / f"{name}.parquet")


def read_ids(folder: Path) -> tuple[Vocabulary, Vocabulary]:
    """Return the vocabularies of users and items."""
    users, items = (
        pl.read_parquet(folder / f"{name}.parquet")["raw"] for name in ("users", "items")
    )
    return Vocabulary(users), Vocabulary(items)


def _map(path: Path, dtype: Any) -> np.ndarray:
    if not path.stat().st_size:
        return np.empty(0, dtype=dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))
