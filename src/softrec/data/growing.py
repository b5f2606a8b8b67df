"""A log that grows: new events of old and new users and items are added to a log that is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.reading import read_table
from softrec.data.values import WHOLE, Times, in_one_unit
from softrec.errors import DataError

NEW = "new"  # the column of a grown log that says which events are new


@dataclass(frozen=True)
class Grown:
    """A log to which events were added.

    Attributes:
        log: all events, the known ones first; known ids keep their numbers, new ids come after
            them. A column `new` says which events are new.
        duplicates: how many events were left out because they are known.
        doubtful: how many events are kept that may be known: without times, the second event of a
            user with an item is one more event in a log with repeats.
    """

    log: Interactions
    duplicates: int = 0
    doubtful: int = 0


def read_new(source: Any, like: Interactions, columns: dict[str, str | None], **how: Any) -> Any:
    """Return the table user, item[, time][, weight] of new events, in the types of a known log.

    Args:
        source: a file or a table, as for `Interactions.read`.
        like: the known log; if its ids are text, the new ids are read as text.
        columns: the name of the column for each of user, item, time, weight; None looks for it.
        **how: `header` and `text_ids`, as for `Interactions.read`.

    Raises:
        DataError: as `read_table`.
    """
    text = pl.String in (like.users.raw.dtype, like.items.raw.dtype)
    how["text_ids"] = how.get("text_ids", False) or text
    return read_table(source, columns, **how)


def grown(known: Interactions, events: pl.DataFrame, place: str = "the new data") -> Grown:
    """Return a log with new events, without those that it has already.

    Raw ids are matched in the type of the known log. With times an event is known if user, item and
    time are; without times if user and item are, and the log has no user with an item twice. Where
    the known log has weights, new events need them, too.

    Args:
        known: the log.
        events: a raw table of events, see `read_new`.
        place: where they come from, for messages.

    Raises:
        DataError: if ids are of another kind, times or weights are missing, times are of another
            unit, or no event is new.
    """
    users, items = known.users.grown(events["user"]), known.items.grown(events["item"])
    columns = {
        "user": users.numbers(events["user"]).astype(np.uint32),
        "item": items.numbers(events["item"]).astype(np.uint32),
    }
    if known.has_time:
        columns["time"] = _times(known, events, place)
    elif "time" in events.columns:  # the order of rows is the order of the known log
        order = events["time"].arg_sort().to_numpy()
        columns = {kind: numbers[order] for kind, numbers in columns.items()}
        events = events[order]
    keys = list(columns)
    further = ["weight"] if "weight" in known.frame.columns else []
    if further:
        columns["weight"] = _weights(events, place)
    added = pl.DataFrame(columns)
    own = known.frame.select(pl.col("user", "item").cast(pl.UInt32), *keys[2:], *further)
    there = own.select(keys).unique()
    is_known = added.join(
        there.with_columns(there=pl.lit(True)), on=keys, how="left", maintain_order="left"
    )["there"].fill_null(False)
    counted = int(is_known.sum())
    unsure = not known.has_time and len(there) < len(own)
    if not unsure:
        added = added.filter(~is_known)
    if added.is_empty():
        raise DataError(f"{place} has no event that is not known already ({counted:,} are)")
    frame = pl.concat([own.with_columns(new=False), added.with_columns(new=True)])
    log = replace(known, frame=frame.rename({"new": NEW}), users=users, items=items)
    return Grown(log, 0 if unsure else counted, counted if unsure else 0)


def _weights(events: pl.DataFrame, place: str) -> np.ndarray:
    """Return the weights of new events."""
    if "weight" not in events.columns:
        raise DataError(
            f"the known log has weights, but {place} has none; name their column with --weight"
        )
    return events["weight"].cast(pl.Float32).to_numpy()


def _times(known: Interactions, events: pl.DataFrame, place: str) -> np.ndarray:
    """Return the times of new events, which must be in the unit of the known log."""
    if "time" not in events.columns:
        raise DataError(
            f"the known log has times, but {place} has none; name their column with --time"
        )
    both = [Times(frame["time"].cast(pl.Int64), WHOLE) for frame in (known.frame, events)]
    return in_one_unit(both, ["the known log", place])[1].to_numpy()
