"""The log and the vocabularies in the folder of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from softrec.data.disk.split import StoredSplit
from softrec.data.splits import Split
from softrec.experiments.runs import ON_DISK
from softrec.files import link, replacing, write_facts


def write_data(folder: Path, split: Split, sibling: Path | None) -> str:
    """Write the log and the vocabularies, or link those of another run on the same data.

    Returns:
        The name of the file of the log; a log that stays on disk is only told, not copied.
    """
    tables = {
        "users": pl.DataFrame({"raw": split.train.users.raw}),
        "items": pl.DataFrame({"raw": split.train.items.raw}),
    }
    if isinstance(split, StoredSplit):
        write_facts(folder / ON_DISK, split.facts)
    else:
        tables["log"] = _log_of(split)
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        # Written under another name, then renamed: the existing file may be a hard link.
        with replacing(path) as fresh:
            table.write_parquet(fresh)
        if sibling is not None:
            link(path, sibling / path.name)
    return ON_DISK if isinstance(split, StoredSplit) else "log.parquet"


def _log_of(split: Split) -> pl.DataFrame:
    """Return user, item, time and weight if known, and part of every event, in their order."""
    frames = [
        events.frame.with_columns(pl.lit(part).cast(pl.Categorical).alias("part"))
        for part, events in split.parts.items()
    ]
    whole = replace(split.train, frame=pl.concat(frames))
    known = [name for name in ("time", "weight") if name in whole.frame.columns]
    return whole.ordered.select("user", "item", *known, "part")
