"""Last.FM-1K: every track that a thousand people played, with times; and a small sample of it."""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.reading import BROKEN
from softrec.data.sources.base import Counts, Parts, RemoteFile, Source, cache_dir, github
from softrec.data.sources.parsing import UNPACKING, checked, content
from softrec.errors import DataError, one_line

PLAYS = "userid-timestamp-artid-artname-traid-traname.tsv"
COLUMNS = ["user", "time", "artist", "artist_name", "item", "track_name"]


def read(plays: Path) -> Parts:
    """Read plays (tab-separated: user, ISO time, artist id, artist, track id, track), newest first.

    A play without a track id is left out. Times are seconds.
    """
    unpacked = _unpacked(plays) if plays.name.endswith(".tar.gz") else plays
    try:
        # 2.4 GB of text: scanned, so that only these three columns are in memory.
        table = (
            pl.scan_csv(
                unpacked,
                separator="\t",
                has_header=False,
                new_columns=COLUMNS,
                infer_schema=False,
                quote_char=None,
                encoding="utf8-lossy",
                truncate_ragged_lines=True,
            )
            .select(
                "user",
                "item",
                pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%SZ").dt.epoch("s"),
            )
            .filter(pl.col("item").is_not_null() & (pl.col("item") != ""))
            .collect()
        )
    except BROKEN as error:
        reason = one_line(str(error), 150)
        raise DataError(f"{plays} does not have the layout of {PLAYS}: {reason}") from error
    # Reversed, so that events with equal times are in the order oldest first.
    return Parts(Interactions.together([checked(table, plays).reverse()])[0])


def _unpacked(archive: Path) -> Path:
    """Unpack the plays to the cache, once."""
    target = cache_dir() / "lastfm-1k" / PLAYS
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{PLAYS}.part")
    try:
        with tarfile.open(archive) as members, part.open("wb") as file:
            member = members.extractfile(f"lastfm-dataset-1K/{PLAYS}")
            if member is None:
                raise KeyError(PLAYS)
            shutil.copyfileobj(member, file)
    except KeyError as error:
        raise DataError(f"{archive} contains no lastfm-dataset-1K/{PLAYS}") from error
    except (tarfile.TarError, *UNPACKING) as error:
        part.unlink(missing_ok=True)
        raise DataError(
            f"{archive} cannot be unpacked ({one_line(str(error), 150)}): download it again"
        ) from error
    os.replace(part, target)
    return target


def read_sample(table: Path) -> Parts:
    """Read lines of comma-separated track ids; a line is a user, counted from 1."""
    try:
        raw = pl.read_csv(content(table), has_header=False, infer_schema=False)
    except BROKEN as error:
        reason = one_line(str(error), 150)
        raise DataError(f"{table} must have lines of comma-separated ids: {reason}") from error
    events = (
        raw.select(item=pl.concat_list(pl.all()))
        .with_row_index("user", offset=1)
        .explode("item")
        .select(pl.col("user").cast(pl.Int64), "item")
    )
    return Parts(Interactions.together([checked(events, table)])[0])


LICENCE = "O. Celma with permission of Last.fm: non-commercial use, Last.fm terms of service"
CITATION = (
    "O. Celma. Music Recommendation and Discovery: The Long Tail, Long Fail, and Long Play in the "
    "Digital Music Space. Springer, 2010. https://doi.org/10.5281/zenodo.6090214"
)
HOMEPAGE = "http://ocelma.net/MusicRecommendationDataset/lastfm-1K.html"

SOURCE = Source(
    name="lastfm-1k",
    title="Last.FM-1K: every play of 992 listeners, 2005 to 2009",
    files=(
        RemoteFile(
            "lastfm-dataset-1K.tar.gz",
            "https://zenodo.org/records/6090214/files/lastfm-dataset-1K.tar.gz",
            "md5:a79a6808f54f73354789a9fb02cb1e41",  # as quoted from the Zenodo record
            local=(f"lastfm-1k/{PLAYS}", f"lastfm-dataset-1K/{PLAYS}"),
        ),
    ),
    read=read,
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    split={"split": "time", "cold": "drop"},
    notes=(
        "Items are tracks by MusicBrainz id; plays without one are left out. The file has "
        "19,150,868 plays. It is unpacked to the cache (2.4 GB); reading needs several GB "
        "of memory. Listeners repeat tracks: a next-track task has to allow seen items."
    ),
)

SAMPLE = Source(
    name="lastfm-1k-sample",
    title="Last.FM-1K, the demonstration sample of NextItNet",
    files=(
        RemoteFile(
            "user-filter-20000items-session5.csv",
            github(
                "fajieyuan/nextitnet",
                "e810d70c28bb6810fa463f2b5a6ef4fbb6beb690",
                "Data/Session/user-filter-20000items-session5.csv",
            ),
            "sha256:e2e86d532c791b9795fafdaa9219ab7a8f593f73c7bd3ff3cf86daaf997d66ab",
        ),
    ),
    read=read_sample,
    licence=LICENCE,
    citation=CITATION,
    homepage=HOMEPAGE,
    counts=Counts(1_804, 2_794, 9_020),
    notes="Sessions of 5 tracks. A sample of the format, too small for results.",
)
