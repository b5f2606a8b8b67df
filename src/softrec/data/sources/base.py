"""The description of a data set: files with addresses, terms of use, and a reader.

It was not checked that every address still works. A changed file is detected by its checksum.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType

import polars as pl

from softrec.data.interactions import Interactions
from softrec.registry import Registry


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set.

    Attributes:
        name: the name of the file in the cache folder.
        url: the address for downloads; None if it must be fetched by hand.
        checksum: `md5:...` or `sha256:...` of the file at `url`; None if it is unknown.
        local: other paths, relative to a data folder, where the same content may be. Each is also
            looked for with the endings `.xz` and `.gz`.
        how: how to get the file by hand, for messages.
    """

    name: str
    url: str | None
    checksum: str | None = None
    local: tuple[str, ...] = ()
    how: str = ""


@dataclass(frozen=True)
class Counts:
    """The size of a data set: its users, items and events."""

    users: int
    items: int
    events: int

    @classmethod
    def of(cls, log: Interactions) -> Counts:
        """Return how many users, items and events occur in `log`."""
        return cls(log.frame["user"].n_unique(), log.frame["item"].n_unique(), len(log))


@dataclass(frozen=True)
class Parts:
    """The result of a reader: one whole `log`, or the published `train` and `test` parts.

    Published parts have the same vocabularies.
    """

    log: Interactions | None = None
    train: Interactions | None = None
    test: Interactions | None = None

    def __post_init__(self) -> None:
        if (self.log is None) == (self.published is None):
            raise TypeError("Parts takes either one log, or both train and test")

    @property
    def published(self) -> tuple[Interactions, Interactions] | None:
        """Return the published training and test part; None if there is one whole log."""
        if self.train is None or self.test is None:
            return None
        return self.train, self.test

    @property
    def whole(self) -> Interactions:
        """Return all interactions as one log, the training part first."""
        if self.log is not None:
            return self.log
        assert self.published is not None  # see __post_init__
        train, test = self.published
        return replace(train, frame=pl.concat([train.frame, test.frame]))


@dataclass(frozen=True)
class ItemTable:
    """The titles of the items of a data set.

    Attributes:
        file: the file with the titles.
        read: returns the table, with the columns item (raw ids, as in the log) and title.
    """

    file: RemoteFile
    read: Callable[[Path], pl.DataFrame]


@dataclass(frozen=True)
class Source:
    """A public data set: its files, terms of use, reader and default protocol.

    Attributes:
        name: its name on the command line and in recipes.
        title: a description in one line.
        files: its files.
        read: reads the files, given as paths in the order of `files`.
        licence: the terms of use as far as they are known.
        citation: the publications to cite.
        homepage: the page of its owner.
        split: the split that the literature uses, as plain data for a recipe. `split` is one of
            "leave-last-out", "time", "user-ratio", "given"; the other keys are its options. For
            "given", `valid` is the fraction of each user's training events for validation, and
            `every_position` says that each test event of a session except the first is predicted.
        counts: the size of the result of `read`; None if it was not measured.
        notes: what a user should know before using it.
        item_table: the titles of its items; None if it has none.
    """

    name: str
    title: str
    files: tuple[RemoteFile, ...]
    read: Callable[..., Parts]
    licence: str
    citation: str
    homepage: str
    split: Mapping[str, object] = field(
        default_factory=lambda: {"split": "leave-last-out", "cold": "keep"}
    )
    counts: Counts | None = None
    notes: str = ""
    item_table: ItemTable | None = None


def sources_of(module: ModuleType) -> dict[str, Source]:
    """Return the data sets that a module describes, by name."""
    return {value.name: value for value in vars(module).values() if isinstance(value, Source)}


SOURCES: Registry[Source] = Registry("data set", "softrec.data.sources", found=sources_of)
"""All data sets, in the order of their files."""


def cache_dir() -> Path:
    """Return the cache folder: the one in SOFTREC_CACHE, else ~/.cache/softrec."""
    given = os.environ.get("SOFTREC_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "softrec"


def github(repository: str, commit: str, path: str) -> str:
    """Return the address of one file of a GitHub repository at one commit.

    Example:
        >>> github("owner/name", "main", "data/a.txt")
        'https://raw.githubusercontent.com/owner/name/main/data/a.txt'
    """
    return f"https://raw.githubusercontent.com/{repository}/{commit}/{path}"
