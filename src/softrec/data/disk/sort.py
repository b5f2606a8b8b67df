"""Sorts a log by user and time without holding it in memory.

The files are read twice. The first time the ids are counted. The second time each event goes to the
file of a range of users with about as many events as fit in memory, in the order of the log. Then
one range after the other is sorted in memory and written.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from softrec.blocks import blocks_of_parts
from softrec.data.disk.ids import Known, known_ids
from softrec.data.disk.parts import Parts
from softrec.data.disk.rows import KINDS, Writer, write_ids
from softrec.data.interactions import in_order
from softrec.limits import LIMITS


def write_log(parts: Parts, folder: Path, *, text_ids: bool = False) -> None:
    """Write the events of a log, with numbers in place of ids, to a folder; see `Rows`.

    Raises:
        DataError: if the log cannot be used.
    """
    known = known_ids(parts, text_ids=text_ids)
    users, items = known["user"], known["item"]
    folder.mkdir(parents=True, exist_ok=True)
    write_ids(folder, users.vocabulary, items.vocabulary)
    ranges = list(blocks_of_parts(np.cumsum(users.counts), LIMITS.sorted))
    sizes = (len(users.vocabulary), len(items.vocabulary))
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        Writer(folder, parts.names, *sizes) as writer,
    ):
        _scatter(parts, known, ranges, Path(place))
        for number in range(len(ranges)):
            columns = _gathered(Path(place), number, parts.names)
            frame = in_order(pl.DataFrame(columns))
            writer.add({kind: frame[kind].to_numpy() for kind in frame.columns})


def _scatter(parts: Parts, known: Mapping[str, Known], ranges: list[slice], place: Path) -> None:
    """Write each event to the files of the range of its user."""
    of_user = np.repeat(
        np.arange(len(ranges), dtype=np.uint32), [some.stop - some.start for some in ranges]
    )
    for batch in parts.events():
        columns = {kind: known[kind].numbering.of(batch[kind]) for kind in known}
        columns |= {kind: batch[kind].to_numpy() for kind in parts.names if kind not in known}
        bucket = of_user[columns["user"]]
        order = np.argsort(bucket, kind="stable")
        ends = np.cumsum(np.bincount(bucket, minlength=len(ranges)))
        for kind, values in columns.items():
            sorted_ = values[order].astype(KINDS[kind], copy=False)
            begin = 0
            for number, end in enumerate(ends.tolist()):
                if end > begin:
                    with (place / f"{number}.{kind}").open("ab") as file:
                        file.write(sorted_[begin:end].data)
                begin = end


def _gathered(place: Path, number: int, kinds: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Return the events of a range, and remove its files."""
    found = {}
    for kind, dtype in KINDS.items():
        if kind in kinds:
            path = place / f"{number}.{kind}"
            found[kind] = np.fromfile(path, dtype)
            path.unlink()
    return found
