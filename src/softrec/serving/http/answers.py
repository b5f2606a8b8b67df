"""From the body of a request to the body of its reply; all of it runs in a thread of the pool."""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple, TypeVar

import polars as pl
from pydantic import ValidationError

from softrec.errors import SoftrecError, shown
from softrec.serving.http.bodies import Body, Interests, People, Recommend
from softrec.serving.http.errors import RefusedError, of_softrec, of_validation
from softrec.serving.http.limits import Sizes
from softrec.serving.http.live import Deployed
from softrec.serving.http.replies import by_user, encoded

FEW = 5  # ids to try a service with
B = TypeVar("B", bound=Body)


class Asked(NamedTuple):
    """The users and histories of a request that can be answered, and what is told of the rest."""

    users: list[object]
    histories: dict[str, list[object]]
    notes: list[str]

    @property
    def names(self) -> list[object]:
        """Return the names of users and histories, in the order of the answer."""
        return [*self.users, *self.histories]


def read(kind: type[B], body: bytes) -> B:
    """Return a body as its model.

    Raises:
        RefusedError: if it is no JSON, or of other types.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise of_validation(error) from None


def recommend(deployed: Deployed, sizes: Sizes, body: bytes) -> tuple[bytes, int]:
    """Return the reply to `recommend`, and how many lists it has.

    Raises:
        RefusedError: if the request cannot be answered.
    """
    given = read(Recommend, body)
    given.check(sizes)
    asked = known(deployed, given)
    lists: list[dict[str, object]] = []
    if asked.names:
        try:
            table = deployed.service.recommend(
                asked.users or None,
                given.k,
                histories=asked.histories or None,
                mask_seen=given.mask_seen,
                why=given.why,
            )
        except SoftrecError as error:
            raise of_softrec(error) from None
        lists = [{"user": name, "items": rows} for name, rows in by_user(table, asked.names)]
    reply = {"served": deployed.facts(), "lists": lists, "notes": asked.notes}
    return encoded(reply), len(lists)


def interests(deployed: Deployed, sizes: Sizes, body: bytes) -> bytes:
    """Return the reply to `interests`.

    Raises:
        RefusedError: if the request cannot be answered.
    """
    given = read(Interests, body)
    given.check(sizes)
    asked = known(deployed, given)
    found: list[dict[str, object]] = []
    if asked.names:
        try:
            table = deployed.service.interests(
                asked.users or None,
                histories=asked.histories or None,
                items=given.items,
                mask_seen=given.mask_seen,
            )
        except SoftrecError as error:
            raise of_softrec(error) from None
        table = _titled(deployed, table)
        found = [{"user": name, "interests": rows} for name, rows in by_user(table, asked.names)]
    return encoded({"served": deployed.facts(), "users": found, "notes": asked.notes})


def _titled(deployed: Deployed, table: pl.DataFrame) -> pl.DataFrame:
    """Return the table of interests with the titles of their items, if there are any."""
    titles = deployed.names.titles
    if titles is None or "titles" in table.columns:
        return table
    items = table["items"].explode(empty_as_null=False)
    named = titles.gather(deployed.service.log.items.numbers(items))
    sizes = table["items"].list.len()
    row = pl.Series(range(len(table))).repeat_by(sizes).explode(empty_as_null=False)
    lists = (
        pl.DataFrame({"row": row, "titles": named})
        .group_by("row", maintain_order=True)
        .agg("titles")
    )
    whole = table.with_row_index("row").with_columns(pl.col("row").cast(lists["row"].dtype))
    return whole.join(lists, on="row", how="left", maintain_order="left").drop("row")


def search(deployed: Deployed, text: str, offset: int, limit: int) -> bytes:
    """Return the reply to a search among the items."""
    total, items = deployed.names.search(text, offset, limit)
    return encoded({"total": total, "offset": offset, "items": items})


def about(deployed: Deployed, sizes: Sizes) -> bytes:
    """Return the reply to `about`."""
    log = deployed.service.log
    _, items = deployed.names.search("", 0, FEW)
    return encoded(
        {
            "served": deployed.facts(),
            "users": len(log.users),
            "items": len(log.items),
            "titles": deployed.names.titles is not None,
            "interests": deployed.can.interests,
            "histories": deployed.can.histories,
            "some_users": log.users.raw.head(FEW).to_list(),
            "some_items": items,
            "largest": asdict(sizes),
        }
    )


def known(deployed: Deployed, given: People) -> Asked:
    """Return who of a request is known.

    Raises:
        RefusedError: if somebody is not, and the request does not say to skip them.
    """
    notes: list[str] = []
    users = list(dict.fromkeys(given.users))
    if users:
        there, unknown = deployed.service.log.users.sorted_out(users)
        if unknown:
            said = f"unknown users: {shown(unknown)}"
            if given.unknown == "error":
                raise RefusedError(
                    404,
                    "unknown_user",
                    said,
                    'give the items of somebody who is not in the log in "histories", or '
                    '"unknown": "skip" to leave them out',
                )
            notes.append(f"left out, {said}")
            users = there
    histories: dict[str, list[object]] = {}
    for name, history in given.histories.items():
        items = _known_items(deployed, name, history, given.unknown == "skip", notes)
        if items:
            histories[name] = items
    return Asked([*users], histories, notes)


def _known_items(
    deployed: Deployed, name: str, history: list[int | str], skip: bool, notes: list[str]
) -> list[object]:
    """Return the items of a history that are in the catalogue, in their order; note the others."""
    _, unknown = deployed.service.log.items.sorted_out(history)
    lost = set(unknown)
    there: list[object] = [raw for raw in history if raw not in lost]
    if there and unknown:
        notes.append(f"unknown items in the history of {name!r}, skipped: {shown(unknown)}")
    if not there:
        said = (
            f"no item of the history of {name!r} is in the catalogue: {shown(unknown) or 'empty'}"
        )
        if not skip:
            raise RefusedError(
                404, "unknown_item", said, "give at least one known item; search them at /items"
            )
        notes.append(f"left out, {said}")
    return there
