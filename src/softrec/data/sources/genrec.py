"""Common parts of the data sets of GenRec-Datasets: logs with times, and titles of items."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.reading import BROKEN
from softrec.data.sources.base import Counts, ItemTable, Parts, RemoteFile, Source
from softrec.data.sources.parsing import columns, content
from softrec.errors import DataError, one_line

REPOSITORY = "https://github.com/Tiny-Snow/GenRec-Datasets"
COMMIT = "a98208ccb3ab2b245ae11261b8756fc22664bcf3"
CITATION = f"5-core and ids of GenRec-Datasets. {REPOSITORY}"
SPLIT = {"split": "time", "cold": "drop"}


def read(events: Path) -> Parts:
    """Read `events.tsv` with the header user, item, time."""
    table = columns(events, {name: name for name in ("user", "item", "time")}, separator="\t")
    return Parts(Interactions.together([table])[0])


def read_titles(titles: Path) -> pl.DataFrame:
    """Read `titles.tsv` with the header item, title; HTML entities become characters."""
    types = {"item": pl.Int64, "title": pl.String}
    try:
        raw = pl.read_csv(
            content(titles), separator="\t", schema_overrides=types, quote_char=None
        ).select(*types)
    except BROKEN as error:
        raise DataError(
            f"{titles} is not of the layout expected here, tab-separated with the header "
            f"{', '.join(types)}: {one_line(str(error), 150)}"
        ) from error
    if sum(raw.null_count().row(0)) or raw["item"].is_duplicated().any():
        raise DataError(
            f"{titles} does not have one title for each item; is it the right file, and whole?"
        )
    # Some titles were escaped twice.
    return raw.with_columns(title=pl.Series([unescape(unescape(title)) for title in raw["title"]]))


def timed_source(
    name: str,
    title: str,
    upstream: str,
    *,
    events: str,
    titles: str | None,
    licence: str,
    citation: str,
    homepage: str,
    counts: Counts,
    notes: str,
    split: dict[str, object] | None = None,
) -> Source:
    """Return the source of a log with times.

    Args:
        name: of the data set, and of its folder.
        title: a description in one line.
        upstream: its name in the repository.
        events: checksum of events.tsv.
        titles: checksum of titles.tsv; None if there are no titles.
        licence: the terms of use as far as they are known.
        citation: the publications to cite in addition to the repository.
        homepage: the page of its owner.
        counts: its size.
        notes: special notes.
        split: the protocol; by default a split by time.
    """
    table = None
    if titles is not None:
        table = ItemTable(_file("titles", "item2title.pkl", "item, title", upstream, titles),
                          read_titles)  # fmt: skip
    return Source(
        name=name,
        title=title,
        files=(_file("events", "user2item.pkl", "user, item, time", upstream, events),),
        read=read,
        licence=licence,
        citation=f"{citation}\n{CITATION}",
        homepage=homepage,
        split=split or SPLIT,
        counts=counts,
        notes=f"{notes} Ids are those of GenRec-Datasets (users from 0, items from 1), not those "
        "of other forms of the same log.",
        item_table=table,
    )


def _file(name: str, pickled: str, header: str, upstream: str, checksum: str) -> RemoteFile:
    """Return a text file that was made from a pickle; softrec does not open the pickle."""
    return RemoteFile(
        f"{name}.tsv",
        url=None,
        checksum=checksum,
        how=f"Take {pickled} from proc.zip of {upstream} in {REPOSITORY} (commit {COMMIT[:12]}), "
        f"write it tab-separated with the header {header}",
    )
