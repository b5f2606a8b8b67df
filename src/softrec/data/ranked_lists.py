"""Reads ranked lists of any system from a table of users, items, and ranks or scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from softrec.data import values
from softrec.data.interactions import Interactions
from softrec.data.reading import ALIASES, read_frame
from softrec.data.vocabulary import UNKNOWN
from softrec.errors import DataError, shown

NAMES = {
    "user": ALIASES["user"],
    "item": (*ALIASES["item"], "items", "recommendations"),
    "rank": ("rank", "position"),
    "score": ("score", "prediction"),
}
"""The names under which a column is looked for."""


class RankedLists(NamedTuple):
    """Ranked lists as flat arrays: a row per listed item, sorted by user, the best item first."""

    user: np.ndarray  # (L,) int64
    item: np.ndarray  # (L,) int64; `UNKNOWN` for an item that is not in the catalogue
    score: np.ndarray | None  # (L,) float64; successive equal scores are ties
    strangers: list[object]  # users that are not in the log
    unknown: pl.Series  # the id of each listed item that is not in the catalogue, in order


def read_lists(
    source: Any, log: Interactions, *, user: str | None = None, item: str | None = None
) -> RankedLists:
    """Return the lists of a table, with the numbers of a log in place of ids.

    The table has a row per user and item with a rank (1, 2, ...) or a score (higher is better), or
    a row per user with an array of items, the best first. If it has ranks and scores, the rank is
    the order, and successive items with equal scores are ties.

    Args:
        source: a path (Parquet, CSV, TSV, JSON, JSON lines, Arrow), or a Polars, pandas or Arrow
            table.
        log: the log whose ids the lists have.
        user: the name of the column of the user in the log, which is looked for first.
        item: the name of the column of the item in the log, which is looked for first.

    Raises:
        DataError: if a column is missing, a user has an item twice, ranks are not 1, 2, ... for
            each user, a score is not a number, or no user or no item is in the log.
    """
    place = _place(source)
    table = read_frame(source, place)
    names = _columns(table, {"user": user, "item": item}, place)
    frame = pl.DataFrame({kind: table[name] for kind, name in names.items()})
    frame = _one_row_each(frame, place)
    if frame.is_empty():
        raise DataError(f"all lists of {place} are empty; give lists with the items, best first")
    raw = {kind: _ids(frame[kind], log, kind, place) for kind in ("user", "item")}
    numbers = {"user": log.users.numbers(raw["user"]), "item": log.items.numbers(raw["item"])}
    frame = frame.with_columns(
        *(raw[kind].alias(kind) for kind in raw),
        *(pl.Series(f"{kind} number", each) for kind, each in numbers.items()),
    )
    _check_known(frame, numbers, log, place)
    _check_once(frame, place)
    ordered = _in_order(frame, place)
    here = ordered["user number"] != UNKNOWN
    strangers = ordered.filter(~here)["user"].unique(maintain_order=True).to_list()
    found = ordered.filter(here)
    return RankedLists(
        found["user number"].to_numpy(),
        found["item number"].to_numpy(),
        found["score"].to_numpy() if "score" in found.columns else None,
        strangers,
        found.filter(pl.col("item number") == UNKNOWN)["item"],
    )


def _place(source: Any) -> str:
    if isinstance(source, str | Path):
        return str(source)
    return "the table of lists"


def _columns(table: pl.DataFrame, given: dict[str, str | None], place: str) -> dict[str, str]:
    """Return kind -> column name; user and item, and rank, score or an array of items."""
    names: dict[str, str] = {}
    for kind, usual in NAMES.items():
        wanted = (given.get(kind), *usual)
        found = next((n for w in wanted for n in table.columns if n == w or n.lower() == w), None)
        if found is not None:
            names[kind] = found
    lacking = [kind for kind in ("user", "item") if kind not in names]
    if not lacking and not isinstance(table.schema[names["item"]], pl.List | pl.Array):
        lacking = [] if {"rank", "score"} & names.keys() else ["rank or score"]
    if lacking:
        raise DataError(
            f"{place} has no column for the {' and the '.join(lacking)}, but {shown(table.columns)}"
            "; lists have the columns user, item, and rank or score, or user and an array of items"
        )
    return names


def _one_row_each(frame: pl.DataFrame, place: str) -> pl.DataFrame:
    """Return a row per user and item with the rank, from a row per user with an array."""
    if not isinstance(frame.schema["item"], pl.List | pl.Array):
        return frame
    if "score" in frame.columns or "rank" in frame.columns:
        raise DataError(
            f"{place} has arrays of items, whose order is their rank, so a column of ranks or "
            "scores beside them has no meaning; leave it out"
        )
    if frame["user"].is_duplicated().any():
        twice = frame.filter(frame["user"].is_duplicated())["user"].unique(maintain_order=True)
        raise DataError(f"{place} has several arrays for the users {shown(twice.to_list())}")
    lists = frame.with_columns(pl.col("item").cast(pl.List(frame.schema["item"].inner)))  # pyright: ignore[reportAttributeAccessIssue]
    lists = lists.filter(pl.col("item").list.len() > 0)
    ranks = lists.with_columns(rank=pl.int_ranges(1, pl.col("item").list.len() + 1))
    return ranks.explode("item", "rank")


def _ids(column: pl.Series, log: Interactions, kind: str, place: str) -> pl.Series:
    own = (log.users if kind == "user" else log.items).raw
    try:
        return values.ids(column, kind, text_ids=own.dtype == pl.String)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def _check_known(
    frame: pl.DataFrame, numbers: dict[str, np.ndarray], log: Interactions, place: str
) -> None:
    """Refuse lists without any user or item of the log: the ids or the columns are wrong."""
    for kind, each in numbers.items():
        if (each == UNKNOWN).all():
            own = (log.users if kind == "user" else log.items).raw
            raise DataError(
                f"no {kind} of {place} is in the log: it has {shown(frame[kind].head(3).to_list())}"
                f", and the log {shown(own.head(3).to_list())}; give lists with the ids of the log"
            )


def _check_once(frame: pl.DataFrame, place: str) -> None:
    pairs = frame.select("user", "item")
    if pairs.n_unique() == len(pairs):
        return
    twice = pairs.filter(pairs.is_duplicated())
    user, item = twice.row(0)
    raise DataError(
        f"{twice['user'].n_unique():,} lists of {place} have an item more than once, such as "
        f"{item!r} for user {user!r}; keep the best place of each"
    )


def _in_order(frame: pl.DataFrame, place: str) -> pl.DataFrame:
    """Return the rows sorted by user, the best first, with the scores as numbers."""
    for kind in ("rank", "score"):
        if kind in frame.columns:
            number = frame[kind].cast(pl.Float64, strict=False).fill_null(float("nan"))
            if not number.is_not_nan().all():
                row = int(number.is_nan().arg_true()[0])
                raise DataError(
                    f"the column {kind!r} of {place} must have a number in each row, but row "
                    f"{row + 1:,} has {frame[kind][row]!r}"
                )
            frame = frame.with_columns(number.alias(kind))
    if "rank" not in frame.columns:
        return frame.sort("user number", "user", "score", descending=[False, False, True],
                          maintain_order=True)  # fmt: skip
    ordered = frame.sort("user number", "user", "rank")
    place_of = pl.int_range(1, pl.len() + 1).over("user")
    wrong = ordered.filter(pl.col("rank") != place_of)
    if len(wrong):
        listed = ordered.filter(pl.col("user") == wrong["user"][0])["rank"].to_list()
        raise DataError(
            f"the ranks of each user of {place} must be 1, 2, 3, ..., but those of "
            f"{wrong['user'][0]!r} are {shown(listed)}; give whole lists, ranks from 1, each once"
        )
    return ordered
