"""A log that grows: new events of old and new users and items are added to a log that is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from softrec.data.interactions import Interactions
from softrec.data.reading import read_parts
from softrec.data.units import unit_of_all
from softrec.data.values import FRACTIONS, LOCAL, MOMENTS, WHOLE, Times, in_one_unit
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
        earlier: how many events were left out because they precede a known one of their user, in
            a log without times: the run had left them out, too, or they would follow later events.
    """

    log: Interactions
    duplicates: int = 0
    doubtful: int = 0
    earlier: int = 0


def read_new(
    source: Any, like: Interactions, columns: dict[str, str | None], **how: Any
) -> pl.DataFrame:
    """Return the table user, item[, time][, weight] of new events, as a known log has them.

    Ids are read as text where those of the known log are. Times are in its unit: where it was read
    from numbers with a fraction, whole numbers are seconds, too.

    Args:
        source: a file or a table, as for `Interactions.read`.
        like: the known log.
        columns: the name of the column for each of user, item, time, weight; None looks for it.
        **how: `header` and `text_ids`, as for `Interactions.read`.

    Raises:
        DataError: as `read_table`, and if the times are of another kind or unit.
    """
    own = {"user": like.users.raw.dtype, "item": like.items.raw.dtype}
    if not how.get("text_ids"):
        how["text_ids"] = [kind for kind, dtype in own.items() if dtype == pl.String]
    (events,), kind = read_parts([source], columns, **how)
    if not like.has_time or kind is None:
        return events
    return events.with_columns(_as_known(like, Times(events["time"], kind), called(source)))


def called(source: Any) -> str:
    """Return how new events are called in messages."""
    return str(source) if isinstance(source, str | Path) else "the new data"


def _as_known(like: Interactions, times: Times, place: str) -> pl.Series:
    """Return new times in the unit of the known log."""
    known = Times(like.frame["time"].cast(pl.Int64), like.times or WHOLE)
    if like.times is None:  # not told: the log of an older run
        times = Times(times.values, WHOLE)
    kinds = {known.kind, times.kind}
    if (known.kind, times.kind) == (WHOLE, FRACTIONS):
        raise DataError(
            f"the times of the known log are whole numbers, and those of {place} have fractions; "
            "write them as whole numbers of the same unit"
        )
    if WHOLE in kinds and kinds & {LOCAL, MOMENTS}:  # dates are microseconds, numbers may be
        numbers = known if known.kind == WHOLE else times
        if unit_of_all(numbers.values) == "microseconds":
            times = Times(times.values, known.kind)
    return in_one_unit([known, times], ["the known log", place])[1]


def grown(known: Interactions, events: pl.DataFrame, place: str = "the new data") -> Grown:
    """Return a log with new events, without those that it has already.

    Raw ids are matched in the type of the known log. With times an event is known if user, item and
    time are; without times if user and item are, and the log has no user with an item twice. Then
    an unknown event that precedes a known one of its user is not new, either: a log without times
    grows at the end. Where the known log has weights, new events need them, too.

    Args:
        known: the log.
        events: a raw table of events, see `read_new`.
        place: where they come from, for messages.

    Raises:
        DataError: if ids are of another kind, times or weights are missing, or no event is new.
    """
    if not known.has_time and "time" in events.columns:  # the order of a known log is that of rows
        events = events.sort("time", maintain_order=True)
    given, unsure = len(events), not known.has_time and _has_repeats(known)
    if not (known.has_time or unsure):
        events = events.filter(~_precedes_known(known, events))
    earlier = given - len(events)
    users, items = known.users.grown(events["user"]), known.items.grown(events["item"])
    columns = {
        "user": users.numbers(events["user"]).astype(np.uint32),
        "item": items.numbers(events["item"]).astype(np.uint32),
    }
    if known.has_time:
        if "time" not in events.columns:
            raise DataError(
                f"the known log has times, but {place} has none; name their column with --time"
            )
        columns["time"] = events["time"].to_numpy()
    keys = list(columns)
    further = ["weight"] if "weight" in known.frame.columns else []
    if further:
        columns["weight"] = _weights(events, place)
    added = pl.DataFrame(columns)
    own = known.frame.select(pl.col("user", "item").cast(pl.UInt32), *keys[2:], *further)
    is_known = _is_in(added, own, keys)
    counted = int(is_known.sum())
    if not unsure:
        added = added.filter(~is_known)
    if added.is_empty():
        before = f", and {earlier:,} precede a known one of their user" if earlier else ""
        raise DataError(f"{place} has no event that is not known already ({counted:,} are{before})")
    frame = pl.concat([own.with_columns(new=False), added.with_columns(new=True)])
    log = replace(known, frame=frame.rename({"new": NEW}), users=users, items=items)
    return Grown(log, 0 if unsure else counted, counted if unsure else 0, earlier)


def _is_in(events: pl.DataFrame, others: pl.DataFrame, keys: list[str]) -> pl.Series:
    """Return for each of `events` whether `others` have it."""
    there = others.select(keys).unique().with_columns(there=pl.lit(True))
    return events.join(there, on=keys, how="left", maintain_order="left")["there"].fill_null(False)


def _has_repeats(log: Interactions) -> bool:
    """Return whether a user has an item more than once."""
    return bool(log.frame.select(pl.struct("user", "item").is_duplicated().any()).item())


def _precedes_known(known: Interactions, events: pl.DataFrame) -> pl.Series:
    """Return for each raw event whether it is unknown and a known one of its user comes later."""
    keys = ["user", "item"]
    numbers = {
        "user": known.users.numbers(events["user"]),
        "item": known.items.numbers(events["item"]),
    }
    rows = pl.DataFrame(numbers, schema=dict.fromkeys(keys, pl.Int64)).with_row_index("place")
    rows = rows.with_columns(
        known=_is_in(rows, known.frame.select(pl.col(keys).cast(pl.Int64)), keys)
    )
    last = pl.when("known").then("place").max().over("user")  # null for users that are new
    return rows.select((~pl.col("known") & (pl.col("place") < last)).fill_null(False)).to_series()


def _weights(events: pl.DataFrame, place: str) -> np.ndarray:
    """Return the weights of new events."""
    if "weight" not in events.columns:
        raise DataError(
            f"the known log has weights, but {place} has none; name their column with --weight"
        )
    return events["weight"].cast(pl.Float32).to_numpy()
