"""The tables of items and users that travel with a run."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from softrec.data.named import SHOP
from softrec.data.reading import BROKEN
from softrec.data.sources.base import cache_dir
from softrec.data.splits import Split
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError, RunError, shown
from softrec.experiments.build.shop import shop_of
from softrec.files import link, replacing
from softrec.recipe.specs.data import DataSettings
from softrec.serving.catalogue import Catalogue
from softrec.simulation import item_table

ITEMS, USERS = "catalogue.parquet", "user_table.parquet"
"""Their files in the folder of a run."""
LOGGER = logging.getLogger(__name__)


class Tables(NamedTuple):
    """The tables of items and of users, where there are any."""

    items: Catalogue | None = None
    users: Catalogue | None = None

    def write(self, folder: Path, sibling: Path | None) -> list[str]:
        """Write the tables, or link those of another run; return the names of the files."""
        written: list[str] = []
        for name, table in {ITEMS: self.items, USERS: self.users}.items():
            if table is None:
                continue
            with replacing(folder / name) as fresh:
                table.table.write_parquet(fresh)
            if sibling is not None:
                link(folder / name, sibling / name)
            written.append(name)
        return written


def tables_of(spec: DataSettings, split: Split) -> Tables:
    """Return the tables that a recipe names, after checking that they belong to its log.

    Raises:
        DataError: if one cannot be read, or has no id of the log.
    """
    items = _checked(spec.items, "item", spec.item, split.train.items)
    if items is None and spec.source == SHOP:
        items = Catalogue(item_table(shop_of(spec)))
    return Tables(items, _checked(spec.user_table, "user", spec.user, split.train.users))


def _checked(
    path: str | None, of: str, column: str | None, vocabulary: Vocabulary
) -> Catalogue | None:
    if path is None:
        return None
    table = Catalogue.read(path, of, column=column)
    table.aligned(vocabulary)
    return table


def log_lacking(spec: DataSettings, tables: Tables, split: Split) -> None:
    """Log how many items and users of the log a table does not have."""
    for path, table, what, vocabulary in (
        (spec.items, tables.items, "items", split.train.items),
        (spec.user_table, tables.users, "users", split.train.users),
    ):
        lacking = [] if table is None else table.lacking(vocabulary)
        if path is not None and len(lacking):
            LOGGER.info(
                "%s has no row for %s of the %s %s of the log, such as %s",
                Path(path).name, f"{len(lacking):,}", f"{len(vocabulary):,}", what, shown(lacking),
            )  # fmt: skip


def read_kept(path: Path) -> Catalogue | None:
    """Return a table of a run; None if it has none.

    Raises:
        RunError: if it is damaged.
    """
    if not path.exists():
        return None
    try:
        return Catalogue(pl.read_parquet(path))
    except BROKEN as error:
        reason = str(error).partition("\n")[0]
        raise RunError(f"{path} is damaged ({reason}); train the run again") from error


def as_path(table: Any, of: str, column: str | None = None) -> str:
    """Return the path of a table: its own, or of a copy in the cache of a table in memory.

    Args:
        table: a path, a table or a `Catalogue`.
        of: "item" or "user".
        column: the name of the column of the ids in the log.

    Raises:
        DataError: if it is no table of items or users.
    """
    if isinstance(table, str | Path):
        return str(table)
    kept = isinstance(table, Catalogue)
    frame = (table if kept else Catalogue.read(table, of, column=column)).table
    digest = hashlib.sha256(str(frame.schema).encode())
    digest.update(frame.hash_rows().to_numpy().tobytes())
    path = cache_dir() / "tables" / f"{of}s-{digest.hexdigest()[:16]}.parquet"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as fresh:
            frame.write_parquet(fresh)
    return str(path)


def with_users(options: Mapping[str, Any], table: Any) -> dict[str, Any]:
    """Return options with the table of users of a comparison, which travels with its runs, too.

    A table for slices may have its ids in a column of any name; such a table does not travel.
    """
    if table is None:
        return dict(options)
    try:
        users = Catalogue.read(table, "user", column=options.get("user"))
    except DataError as error:
        LOGGER.info("the table of users is for slices alone: %s", error)
        return dict(options)
    return {**options, "user_table": table if isinstance(table, str | Path) else users}
