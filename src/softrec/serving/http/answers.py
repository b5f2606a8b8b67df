"""From the body of a request to the body of its reply; all of it runs in a thread of the pool."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from softrec.errors import SoftrecError, shown
from softrec.serving.http.bodies import Body, Interests, People, Recommend, Similar
from softrec.serving.http.errors import RefusedError, of_softrec, of_validation
from softrec.serving.http.limits import Sizes
from softrec.serving.http.live import Deployed
from softrec.serving.http.replies import by_name, encoded, once

OWN = "\0"  # before the names of histories, so that none is the name of a user
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


class Lists(NamedTuple):
    """The reply to `recommend`, and how many lists it has."""

    reply: bytes
    number: int


def recommend(
    deployed: Deployed, sizes: Sizes, requests: Sequence[Recommend]
) -> list[Lists | Exception]:
    """Return the reply to each request, or why there is none.

    Args:
        deployed: that answers.
        sizes: limits of a request.
        requests: with the same settings; only their users and histories differ.
    """
    found: dict[int, Lists | Exception] = {}
    asked: dict[int, Asked] = {}
    for number, given in enumerate(requests):
        try:
            given.check(sizes)
            asked[number] = known(deployed, given)
        except RefusedError as error:
            found[number] = error
    for number, lists in _each(deployed, requests[0], asked).items():
        if isinstance(lists, Exception):
            found[number] = lists
            continue
        notes = asked[number].notes
        reply = {"served": deployed.facts(), "lists": lists, "notes": notes}
        found[number] = Lists(encoded(reply), len(lists))
    return [found[number] for number in range(len(requests))]


def _each(
    deployed: Deployed, settings: Recommend, asked: Mapping[int, Asked]
) -> dict[int, list[dict[str, Any]] | Exception]:
    """Return the lists of each request, from one call; if that fails, from a call for each."""
    try:
        lists = _lists(deployed, settings, [*asked.values()])
        return dict(zip(asked, lists, strict=True))
    except SoftrecError as error:
        if len(asked) == 1:
            return dict.fromkeys(asked, of_softrec(error))
    except Exception as error:
        if len(asked) == 1:
            return dict.fromkeys(asked, error)
    return {
        number: found
        for number, one in asked.items()
        for found in _each(deployed, settings, {number: one}).values()
    }


def _lists(
    deployed: Deployed, settings: Recommend, asked: Sequence[Asked]
) -> list[list[dict[str, Any]]]:
    """Return the lists of each request, from one call."""
    users = once(user for one in asked for user in one.users)
    # Two requests may have histories of one name; of a single one, errors name what it named.
    own = [f"{OWN}{number} " if len(asked) > 1 else "" for number in range(len(asked))]
    histories = {
        before + name: items
        for before, one in zip(own, asked, strict=True)
        for name, items in one.histories.items()
    }
    rows: dict[str, list[Any]] = {}
    if users or histories:
        table = deployed.service.recommend(
            users or None,
            settings.k,
            histories=histories or None,
            mask_seen=settings.mask_seen,
            why=settings.why,
            rules=settings.rules,
        )
        rows = {str(name): found for name, found in by_name(table, "user", [*users, *histories])}
    found: list[list[dict[str, Any]]] = []
    for before, one in zip(own, asked, strict=True):
        keys = [*map(str, one.users), *(before + name for name in one.histories)]
        lists = [
            {"user": name, "items": rows[key]} for name, key in zip(one.names, keys, strict=True)
        ]
        if settings.history:
            for told, items in zip(lists, _histories(deployed, one, settings.history), strict=True):
                told["history"] = items
        found.append(lists)
    return found


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
    items = given.items if given.weights is not None else once(given.items)
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
    users = once(given.users)
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
