"""From the body of a request to the body of its reply; all of it runs in a thread of the pool."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import NamedTuple, TypeVar

from pydantic import ValidationError

from softrec.errors import SoftrecError, shown
from softrec.serving.http.bodies import Body, Interests, People, Recommend, Similar
from softrec.serving.http.errors import RefusedError, of_softrec, of_validation
from softrec.serving.http.limits import Sizes
from softrec.serving.http.live import Deployed
from softrec.serving.http.replies import by_name, encoded

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
                rules=given.rules,
            )
        except SoftrecError as error:
            raise of_softrec(error) from None
        lists = [
            {"user": name, "items": rows} for name, rows in by_name(table, "user", asked.names)
        ]
    if given.history:
        for one, items in zip(lists, _histories(deployed, asked, given.history), strict=True):
            one["history"] = items
    reply = {"served": deployed.facts(), "lists": lists, "notes": asked.notes}
    return encoded(reply), len(lists)


def _histories(deployed: Deployed, asked: Asked, last: int) -> Iterator[object]:
    """Yield the last items of each history, oldest first."""
    log = deployed.service.log
    for number in log.users.numbers(asked.users).tolist() if asked.users else ():
        yield deployed.names.told(log.sequences[number][-last:])
    for items in asked.histories.values():
        yield deployed.names.told(log.items.numbers(items[-last:]))


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
        found = [
            {"user": name, "interests": rows} for name, rows in by_name(table, "user", asked.names)
        ]
    return encoded({"served": deployed.facts(), "users": found, "notes": asked.notes})


def similar(deployed: Deployed, sizes: Sizes, body: bytes) -> bytes:
    """Return the reply to `similar`.

    Raises:
        RefusedError: if the request cannot be answered.
    """
    return similar_to(deployed, sizes, read(Similar, body))


def similar_to(deployed: Deployed, sizes: Sizes, given: Similar) -> bytes:
    """Return the reply to a request that has been read."""
    given.check(sizes)
    items = given.items if given.weights is not None else list(dict.fromkeys(given.items))
    _, unknown = deployed.service.log.items.sorted_out(items)
    if unknown:
        said = f"unknown items: {shown(unknown)}"
        raise RefusedError(404, "unknown_item", said, "search the known ones at /items")
    try:
        table = deployed.service.similar(items, given.k, weights=given.weights, rules=given.rules)
    except SoftrecError as error:
        raise of_softrec(error) from None
    if given.weights is None:
        lists = by_name(table, "similar_to", items)
    else:
        lists = [(items, table.drop("similar_to").to_dicts())]
    told = [{"similar_to": item, "items": rows} for item, rows in lists]
    return encoded({"served": deployed.facts(), "lists": told})


def search(deployed: Deployed, text: str, offset: int, limit: int) -> bytes:
    """Return the reply to a search among the items."""
    total, items = deployed.names.search(text, offset, limit)
    return encoded({"total": total, "offset": offset, "items": items})


def look_up(deployed: Deployed, ids: list[str]) -> bytes:
    """Return those of the items that are known, in the form of the reply to a search."""
    vocabulary = deployed.service.log.items
    there, _ = vocabulary.sorted_out(ids)
    items = deployed.names.told(vocabulary.numbers(there)) if there else []
    return encoded({"total": len(items), "offset": 0, "items": items})


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
            "mask_seen": deployed.service.mask_seen,
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
