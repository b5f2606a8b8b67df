"""What a reply says: from tables to JSON, and the models of the OpenAPI page."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import polars as pl
from pydantic import BaseModel, Field
from pydantic_core import to_json

from softrec.serving.http.bodies import Id


class Served(BaseModel):
    """What answered."""

    model: str
    kind: str
    version: str = Field(description="Changes with every other model.")
    created: datetime | None = None


class Item(BaseModel):
    """An item of a list."""

    rank: int
    item: Id
    score: float
    title: str | None = None
    interest: int | None = Field(default=None, description="With `why`.")
    contribution: float | None = Field(default=None, description="With `why`.")


class NamedItem(BaseModel):
    """An item of the catalogue."""

    item: Id
    title: str | None = None


class OneList(BaseModel):
    """The list of one user or history; empty if nothing is left to recommend."""

    user: Id
    items: list[Item]
    history: list[NamedItem] | None = Field(default=None, description="With `history`.")


class Lists(BaseModel):
    """The answer to `recommend`."""

    served: Served
    lists: list[OneList]
    notes: list[str] = Field(description="What was left out, in words.")


class SimilarTo(BaseModel):
    """The items similar to one item, or with weights to several."""

    similar_to: Id | list[Id]
    items: list[Item]


class AllSimilar(BaseModel):
    """The answer to `similar`."""

    served: Served
    lists: list[SimilarTo]


class Interest(BaseModel):
    """An interest: the items that rank first if it is the only one."""

    interest: int
    weight: float | None
    items: list[Id]
    titles: list[str | None] | None = None


class InterestsOf(BaseModel):
    """The interests of one user or history."""

    user: Id
    interests: list[Interest]


class AllInterests(BaseModel):
    """The answer to `interests`."""

    served: Served
    users: list[InterestsOf]
    notes: list[str]


class Found(BaseModel):
    """A page of the items that a search found."""

    total: int
    offset: int
    items: list[NamedItem]


class Reload(BaseModel):
    """How the last reload ended."""

    result: str = Field(description="done or failed.")
    at: datetime
    error: str | None


class Health(BaseModel):
    """Whether the server answers, and with what."""

    status: str
    served: Served
    reload: Reload | None = Field(description="How the last reload ended; null if there was none.")


class About(BaseModel):
    """What the service is."""

    served: Served
    users: int
    items: int
    titles: bool = Field(description="Whether items have titles.")
    interests: bool = Field(description="Whether users have several interests: see `why`.")
    histories: bool = Field(description="Whether histories can be given.")
    mask_seen: bool = Field(description="Whether items of the history are left out by default.")
    some_users: list[Id] = Field(description="A few, to try the service with.")
    some_items: list[NamedItem]
    largest: dict[str, int] = Field(description="What a request may ask for at most.")


class Reason(BaseModel):
    """Why a request is refused."""

    type: str = Field(examples=["unknown_user"])
    message: str = Field(examples=["unknown users: 'ann'"])
    fix: str = Field(examples=["give the items of somebody who is not in the log in histories"])


class Error(BaseModel):
    """The reply to a request that is refused."""

    error: Reason


def encoded(reply: Any) -> bytes:
    """Return plain data as JSON; numbers that are not finite become null."""
    return to_json(reply, inf_nan_mode="null")


def once(names: Iterable[object]) -> list[object]:
    """Return names without those that are an earlier one as text: 1 and "1" are one user.

    Example:
        >>> once([1, "ann", "1", 1])
        [1, 'ann']
    """
    kept: dict[str, object] = {}
    for name in names:
        kept.setdefault(str(name), name)
    return [*kept.values()]


def by_name(
    table: pl.DataFrame, column: str, names: Iterable[object]
) -> list[tuple[object, list[Any]]]:
    """Return (name, rows) in the order of `names`, with no rows if there are none.

    Args:
        table: with a column of names, whose values may have become text.
        column: that has them.
        names: all different as text.
    """
    rows: dict[str, list[Any]] = {}
    kept = list(names)
    for name in kept:
        rows[str(name)] = []
    # Column by column: `DataFrame.drop` would start Polars' engine, for longer than a model takes.
    whose = table[column].to_list()
    columns = [other for other in table.columns if other != column]
    values = zip(*(table[other].to_list() for other in columns), strict=True)
    for name, row in zip(whose, values, strict=True):
        rows[str(name)].append(dict(zip(columns, row, strict=True)))
    return [(name, rows[str(name)]) for name in kept]
