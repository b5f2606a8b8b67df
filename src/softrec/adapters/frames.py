"""Logs as tables of other libraries. `softrec.Interactions.read` reads all of these.

write_atomic   an atomic file of RecBole, log.inter
to_rectools    a pandas frame for `rectools.dataset.Dataset.construct`
to_replay      a Polars frame for `replay.data.Dataset`
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from softrec.data.atomic import ENDING
from softrec.data.interactions import Interactions
from softrec.data.units import unit_of_all
from softrec.errors import DataError
from softrec.extras import require

UNITS = {"seconds": "s", "milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}


def write_atomic(log: Any, path: str | Path) -> Path:
    r"""Write a log as an atomic file of RecBole, and return its path.

    Its columns are user_id and item_id (token), and rating and timestamp (float) if the log has
    weights and times. RecBole expects the file NAME/NAME.inter under its `data_path`.

    Args:
        log: `Interactions`, or what `Interactions.read` reads.
        path: with the ending .inter.

    Raises:
        DataError: if the path has another ending, or the log cannot be read.

    Example:
        >>> import tempfile
        >>> log = pl.DataFrame({"user": ["ann"], "item": [7], "time": [3]})
        >>> write_atomic(log, Path(tempfile.mkdtemp()) / "log.inter").read_text()
        'user_id:token\titem_id:token\ttimestamp:float\nann\t7\t3\n'
    """
    path = Path(path)
    if path.suffix != ENDING:
        raise DataError(f"{path} must end with {ENDING}, which RecBole looks for")
    columns = _columns(log)
    names = {"user": "user_id:token", "item": "item_id:token", "weight": "rating:float",
             "time": "timestamp:float"}  # fmt: skip
    frame = pl.DataFrame({names[kind]: columns[kind] for kind in names if kind in columns})
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.write_csv(path, separator="\t")
    return path


def to_rectools(log: Any) -> Any:
    """Return a pandas frame with user_id, item_id, weight and datetime, for RecTools.

    Ids are raw. Without weights the weight is 1. Times that are numbers are taken as the unit in
    which they are after 1973, small ones as seconds; without times, the place in the log is the
    second.

    Args:
        log: `Interactions`, or what `Interactions.read` reads.

    Raises:
        DataError: if the log cannot be read, or a time is not between the years 1678 and 2262.
        SoftrecError: if pandas is not installed.
    """
    pandas: Any = require("pandas", "a frame for RecTools", extra="pandas")
    columns = _columns(log)
    count = len(columns["user"])
    weight = columns.get("weight", pl.Series(np.ones(count)))
    return pandas.DataFrame({
        "user_id": columns["user"].to_numpy(), "item_id": columns["item"].to_numpy(),
        "weight": weight.to_numpy().astype(np.float64),
        "datetime": _moments(columns.get("time", pl.Series(np.arange(count)))),
    })  # fmt: skip


def to_replay(log: Any) -> pl.DataFrame:
    """Return a Polars frame with query_id, item_id, rating and timestamp, for RePlay.

    Ids are raw; times are those of the log. Without weights the rating is 1; without times the
    place in the log is the timestamp.

    Args:
        log: `Interactions`, or what `Interactions.read` reads.

    Raises:
        DataError: if the log cannot be read.
    """
    columns = _columns(log)
    count = len(columns["user"])
    return pl.DataFrame({
        "query_id": columns["user"], "item_id": columns["item"],
        "rating": columns.get("weight", pl.Series(np.ones(count))).cast(pl.Float64),
        "timestamp": columns.get("time", pl.Series(np.arange(count))),
    })  # fmt: skip


def _columns(source: Any) -> dict[str, pl.Series]:
    """Return the raw ids of a log, and its weights and times, in the order of the log."""
    log = source if isinstance(source, Interactions) else Interactions.read(source)
    found = {
        "user": log.users.ids(log.frame["user"].to_numpy()),
        "item": log.items.ids(log.frame["item"].to_numpy()),
    }
    return found | {kind: log.frame[kind] for kind in ("time", "weight") if kind in log.frame}


def _moments(times: pl.Series) -> np.ndarray:
    """Return times as datetime64[ns]."""
    unit = UNITS[unit_of_all(times) or "seconds"]
    values = times.to_numpy().astype(np.int64)
    factor = int(np.timedelta64(1, unit) / np.timedelta64(1, "ns"))
    if bool((np.abs(values) > (2**63 - 1) // factor).any()):
        raise DataError(
            f"a time of the log is outside the years 1678 to 2262 when times are in {unit}; "
            "convert the times to dates before"
        )
    return (values * factor).astype("datetime64[ns]")
