"""The log: interactions of users with items, in order, with numbers in place of raw ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from softrec.data import parquet
from softrec.data.reading import read_parts
from softrec.data.values import in_one_type
from softrec.data.vocabulary import UNKNOWN, Vocabulary
from softrec.errors import DataError, shown

ROW = 32
"""The bits of a row's number in a key, as many as Polars counts rows with."""


@dataclass(frozen=True)
class Sequences:
    """The items of every user, oldest first, as one flat array with offsets (CSR).

    User u has `items[offsets[u]:offsets[u + 1]]`, and the times at the same places, if there are
    times.

    Raises:
        ValueError: if the number of times differs from the number of items.
    """

    offsets: np.ndarray  # (U + 1,) int64
    items: np.ndarray  # (total,) int64
    times: np.ndarray | None = None  # (total,) int64, in the unit of the log

    def __post_init__(self) -> None:
        if self.times is not None and len(self.times) != len(self.items):
            raise ValueError(
                f"each item needs a time, but there are {len(self.items)} items and "
                f"{len(self.times)} times"
            )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> np.ndarray:
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Return how many items each user has, (U,)."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, lists: Iterable[Sequence[int] | np.ndarray]) -> Sequences:
        """Return the sequences of a list of lists of item numbers."""
        arrays = [np.asarray(items, dtype=np.int64) for items in lists]
        offsets = np.concatenate([[0], np.cumsum([len(items) for items in arrays], dtype=np.int64)])
        return cls(offsets, np.concatenate([*arrays, np.empty(0, dtype=np.int64)]))


@dataclass(frozen=True)
class Interactions:
    """An immutable log of interactions.

    `frame` has the columns user and item (numbers, see the vocabularies), and time (int64) and
    weight (float32) if the source has them, in the order of the source.

    Example:
        >>> import polars as pl
        >>> log = Interactions.read(pl.DataFrame({"user": ["ann", "ann"], "item": [7, 3]}))
        >>> log.n_users, log.n_items, log.sequences[0].tolist()
        (1, 2, [1, 0])
    """

    frame: pl.DataFrame
    users: Vocabulary
    items: Vocabulary
    times: str | None = None
    """Of which kind the times of its source were, as `softrec.data.values` tells them apart."""

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        user: str | int | None = None,
        item: str | int | None = None,
        time: str | int | None = None,
        weight: str | int | None = None,
        header: bool = True,
        text_ids: bool = False,
    ) -> Interactions:
        """Read a log from a file, a folder of Parquet files, or a Polars, pandas or Arrow table.

        Args:
            source: the file or table; see `softrec.data.reading.read_table` for the kinds.
            user: the column of the users, of a pandas frame also a whole number; None looks for
                the usual names.
            item: the column of the items; None looks for the usual names.
            time: the column of the times; None looks for the usual names. Without times, the order
                of the rows is the order of events.
            weight: the column of weights or ratings; None looks for the usual names.
            header: whether a CSV or TSV file starts with column names.
            text_ids: read ids as text even if they look like numbers.

        Raises:
            DataError: if the source is not a usable log; the message says where and how to fix it.
        """
        given = {"user": user, "item": item, "time": time, "weight": weight}
        columns = {kind: None if name is None else str(name) for kind, name in given.items()}
        tables, times = read_parts([source], columns, header=header, text_ids=text_ids)
        log = cls.together(tables, times)[0]
        if isinstance(source, str | Path):
            parquet.free_unused()
        return log

    @classmethod
    def together(
        cls, tables: Sequence[pl.DataFrame], times: str | None = None
    ) -> list[Interactions]:
        """Make logs of raw tables (from `read_table`), all with the same two vocabularies.

        Args:
            tables: the raw tables.
            times: of which kind their times are, as `read_parts` says.

        Raises:
            DataError: if the tables have different columns or types of ids.
        """
        if len({tuple(table.columns) for table in tables}) > 1:
            listed = "; ".join(", ".join(table.columns) for table in tables)
            raise DataError(
                f"the given files have different columns ({listed}); give a time and a weight in "
                "all of the files or in none"
            )
        users, of_users = Vocabulary.numbering(in_one_type([t["user"] for t in tables], "user"))
        items, of_items = Vocabulary.numbering(in_one_type([t["item"] for t in tables], "item"))
        return [
            cls(table.with_columns(user=user, item=item), users, items, times)
            for table, user, item in zip(tables, of_users, of_items, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def n_users(self) -> int:
        """Return the size of the user vocabulary."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Return the size N of the catalogue."""
        return len(self.items)

    @property
    def has_time(self) -> bool:
        """Return whether the log has times, and not only an order."""
        return "time" in self.frame.columns

    @cached_property
    def ordered(self) -> pl.DataFrame:
        """Return the frame sorted by user and then by time; equal times keep the source's order."""
        return in_order(self.frame)

    @cached_property
    def sequences(self) -> Sequences:
        """Return the items of every user of the vocabulary, in the order of events, and the times.

        The times are those of `ordered` without a copy.
        """
        offsets = np.concatenate([[0], np.cumsum(self.user_counts, dtype=np.int64)])
        times = self.ordered["time"].to_numpy() if self.has_time else None
        return Sequences(offsets, self.ordered["item"].to_numpy().astype(np.int64), times)

    @cached_property
    def user_counts(self) -> np.ndarray:
        """Return how many events each user of the vocabulary has, (U,) int64."""
        return np.bincount(self.frame["user"].to_numpy(), minlength=self.n_users)

    @cached_property
    def item_counts(self) -> np.ndarray:
        """Return how often each item of the catalogue occurs, (N,) int64."""
        return np.bincount(self.frame["item"].to_numpy(), minlength=self.n_items)

    @cached_property
    def fingerprint(self) -> str:
        """Return a short hash of the catalogue; logs with equal hashes have equal item numbers."""
        digest = hashlib.sha256()
        digest.update(str(self.items.raw.dtype).encode())
        ids = self.items.raw.cast(pl.String).to_list()
        digest.update(b"".join(value.encode() + b"\0" for value in ids))
        return digest.hexdigest()[:16]

    # --- cleaning: each step returns a smaller log; `compact` renumbers once at the end ---

    def where(self, keep: pl.Expr | np.ndarray) -> Interactions:
        """Return the rows that `keep` selects, with the same vocabularies."""
        return replace(self, frame=self.frame.filter(keep))

    def without(self, column: str) -> Interactions:
        """Return the log without a column that it may have."""
        return replace(self, frame=self.frame.drop(column, strict=False))

    def compact(self) -> Interactions:
        """Return the log with vocabularies that have only the users and items that occur."""
        if self.frame.is_empty():
            raise none_left()
        parts = {}
        vocabularies = {}
        for kind, vocabulary in (("user", self.users), ("item", self.items)):
            numbers = self.frame[kind].to_numpy()
            present = np.bincount(numbers, minlength=len(vocabulary)) > 0
            renumbered = np.cumsum(present, dtype=np.uint32) - np.uint32(1)
            parts[kind] = pl.Series(renumbered[numbers])
            vocabularies[kind] = Vocabulary(vocabulary.ids(np.flatnonzero(present)))
        return Interactions(
            self.frame.with_columns(**parts),
            vocabularies["user"],
            vocabularies["item"],
            self.times,
        )

    def drop_duplicates(self) -> Interactions:
        """Return the log with only the earliest interaction of each user with each item."""
        user, item = (self.frame[kind].to_numpy().astype(np.int64) for kind in ("user", "item"))
        order = np.arange(len(self))
        if self.has_time:
            order = np.argsort(self.frame["time"].to_numpy(), kind="stable")
        _, first = np.unique((user * self.n_items + item)[order], return_index=True)
        keep = np.zeros(len(self), dtype=bool)
        keep[order[first]] = True
        return self.where(keep).compact()

    def min_weight(self, least: float) -> Interactions:
        """Return the interactions with a weight (such as a rating) of at least `least`."""
        if "weight" not in self.frame.columns:
            raise no_weights()
        return self.where(pl.col("weight") >= least).compact()

    def min_counts(self, *, user: int = 1, item: int = 1) -> Interactions:
        """Keep items with at least `item` interactions, then users with at least `user`.

        Both are counted once, so that an item may have fewer interactions afterwards.
        """
        kept = self.where(self.item_counts[self.frame["item"].to_numpy()] >= item)
        per_user = np.bincount(kept.frame["user"].to_numpy(), minlength=self.n_users)
        return kept.where(per_user[kept.frame["user"].to_numpy()] >= user).compact()

    def k_core(self, k: int) -> Interactions:
        """Keep the largest log in which every user and every item has at least `k` interactions."""
        user, item = self.frame["user"].to_numpy(), self.frame["item"].to_numpy()
        keep = np.ones(len(self), dtype=bool)
        per_user, per_item = self.user_counts, self.item_counts
        while True:
            few = (per_user < k)[user] | (per_item < k)[item]
            few &= keep
            if not few.any():
                return self.where(keep).compact()
            keep &= ~few
            per_user = np.bincount(user[keep], minlength=self.n_users)
            per_item = np.bincount(item[keep], minlength=self.n_items)

    def pieces(self, length: int) -> Interactions:
        """Cut each user's interactions, oldest first, into pieces of `length`: users of their own.

        The last piece may be shorter. The third piece of ann is the user "ann/3".

        Raises:
            DataError: if `length` is below 1.
        """
        if length < 1:
            raise DataError(f"a piece has at least one event, got {length}; cut pieces of 30, say")
        ordered = self.frame.with_row_index("row")
        if self.has_time:
            ordered = ordered.sort("time", maintain_order=True)
        number = pl.int_range(pl.len()).over("user") // length
        ordered = ordered.with_columns(number.alias("piece"))
        own = pl.col("user").cast(pl.Int64) * len(self) + pl.col("piece")  # by user, then by piece
        ordered = ordered.with_columns((own.rank("dense") - 1).cast(pl.UInt32).alias("own"))
        named = ordered.select("own", "user", "piece").unique("own").sort("own")
        raw = self.users.ids(named["user"].to_numpy()).cast(pl.String)
        names = raw + "/" + (named["piece"] + 1).cast(pl.String)
        frame = ordered.sort("row").with_columns(user="own").select(self.frame.columns)
        return Interactions(frame, Vocabulary(names.alias("raw")), self.items, self.times)

    # --- made from something else ---

    @classmethod
    def from_sequences(
        cls,
        sequences: Sequences,
        *,
        times: np.ndarray | None = None,
        users: Vocabulary | None = None,
        items: Vocabulary | None = None,
    ) -> Interactions:
        """Make a log from item sequences; by default the raw ids are the numbers.

        Args:
            sequences: the items of each user, oldest first.
            times: (total,) the times of the items, if the sequences have none.
            users: the raw ids of the users.
            items: the raw ids of the items.
        """
        times = sequences.times if times is None else times
        n_items = int(sequences.items.max()) + 1 if len(sequences.items) else 0
        columns: dict[str, Any] = {
            "user": np.repeat(np.arange(len(sequences), dtype=np.uint32), sequences.lengths),
            "item": sequences.items.astype(np.uint32),
        }
        if times is not None:
            columns["time"] = times.astype(np.int64)
        return cls(
            pl.DataFrame(columns),
            # A vocabulary of no ids is false, and still one of their type.
            Vocabulary(pl.Series("raw", np.arange(len(sequences)))) if users is None else users,
            Vocabulary(pl.Series("raw", np.arange(n_items))) if items is None else items,
        )

    def history_numbers(self, raw_items: Iterable[object]) -> tuple[np.ndarray, list[object]]:
        """Return the numbers of the known items, in order, and the raw ids that are unknown."""
        listed = list(raw_items)
        numbers = self.items.numbers(listed)
        unknown = [raw for raw, number in zip(listed, numbers, strict=True) if number == UNKNOWN]
        return numbers[numbers != UNKNOWN], unknown

    def __repr__(self) -> str:
        return (
            f"Interactions({len(self):,} events, {self.n_users:,} users, "
            f"{self.n_items:,} items such as {shown(self.items.raw.head(2))})"
        )


def none_left() -> DataError:
    """Return the error about cleaning that leaves nothing."""
    return DataError("no interaction is left after cleaning; use weaker cleaning steps")


def no_weights() -> DataError:
    """Return the error about a log without weights."""
    return DataError(
        "the log has no weight or rating column to filter by; name the column with --weight (in "
        "Python: weight=)"
    )


def in_order(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame sorted by user and then by time, if it has times; equal rows stay in order.

    Example:
        >>> log = pl.DataFrame({"user": [1, 0, 1], "item": [7, 8, 9], "time": [5, 5, 4]})
        >>> in_order(log)["item"].to_list()
        [8, 9, 7]
    """
    if frame["user"].is_sorted() and _oldest_first(frame):
        return frame
    together = frame[_order(frame["user"])]
    if _oldest_first(together):
        return together
    by_time = _order(frame["time"])
    return frame[by_time.gather(_order(frame["user"].gather(by_time)))]


def _oldest_first(frame: pl.DataFrame) -> bool:
    """Return whether no event of a user comes after a later one of the same user."""
    if "time" not in frame.columns:
        return True
    user, time = frame["user"].to_numpy(), frame["time"].to_numpy()
    return not bool(((time[1:] < time[:-1]) & (user[1:] == user[:-1])).any())


def _order(values: pl.Series) -> pl.Series:
    """Return the rows in the order of whole numbers, equal ones in their own order, uint32.

    Numbers of 64 bits that hold value and row are sorted several times faster than values with
    their rows; they have room for users, and for the seconds of 136 years.
    """
    least, most = int(values.min()), int(values.max())  # pyright: ignore[reportArgumentType]
    if most - least >= 1 << ROW:
        frame = values.to_frame()
        return frame.select(pl.arg_sort_by(values.name, maintain_order=True)).to_series()
    keys = (values.to_numpy() - least).astype(np.uint64)
    keys <<= np.uint64(ROW)
    keys |= np.arange(len(values), dtype=np.uint64)
    keys.sort()
    return pl.Series(keys.astype(np.uint32))
