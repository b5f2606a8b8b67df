"""What differs between two recipes, or between the facts of two logs, in words for a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from softrec.errors import one_line

SHOWN = 3  # changes
LONG = 80  # characters of a value

ABSENT = object()


def changes(before: Any, now: Any) -> str:
    """Return the first changes between two values of plain data; "" if they are equal.

    Example:
        >>> changes({"lr": 0.1, "model": {"dim": 4}}, {"lr": 0.2, "model": {"dim": 4}, "ema": 0.9})
        'lr was 0.1 and is 0.2; ema is new'
        >>> changes([[1, 2]], [[1, 2, 3]])
        '0.2 is new'
    """
    return _first(list(_changes(before, now)))


def _first(found: Sequence[str]) -> str:
    more = f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def changes_of_rows(before: Sequence[Any], now: Sequence[Any]) -> str:
    """Return the first changes between the recipes of two comparisons, by row and seed.

    Args:
        before: a list of recipes, one for each seed, for each row; perhaps other facts as the last.
        now: the same.

    Example:
        >>> one = {"model": {"name": "mf"}, "target": {"name": "one-hot"}, "seed": 0}
        >>> changes_of_rows([[one]], [[one, one | {"seed": 1}], [one | {"target": {"name": "kd"}}]])
        'mf, one-hot, seed 1 is new; mf, kd is new'
    """
    own, other = _by_row(before), _by_row(now)
    found: dict[str, None] = {}
    for name in {**own, **other}:
        if name not in own or name not in other:
            found[f"{name} is {'new' if name in other else 'missing'}"] = None
            continue
        for part in {**own[name], **other[name]}:
            pair = own[name].get(part, ABSENT), other[name].get(part, ABSENT)
            if ABSENT in pair:
                told = [f"{name}, {part} is {'new' if pair[0] is ABSENT else 'missing'}"]
            else:
                told = [f"{name}: {change}" for change in _changes(*pair)]
            found |= dict.fromkeys(told)
    return _first(list(found))


def _by_row(asked: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Return the recipes of a comparison by the name of the row and by seed."""
    found: dict[str, dict[str, Any]] = {}
    for row in asked:
        first = row if isinstance(row, Mapping) else row[0]
        if "model" not in first:  # no recipe: a search, or the lists that are judged
            found["the rest"] = {"": dict(first)}
            continue
        name = ", ".join(first[part]["name"] for part in ("model", "target"))
        same = sum(other.partition(" (")[0] == name for other in found)
        name += f" ({same + 1})" if same else ""
        found[name] = {f"seed {recipe['seed']}": recipe for recipe in row}
    return found


def _changes(before: Any, now: Any, place: str = "") -> Iterator[str]:
    own, other = _parts(before), _parts(now)
    if own is not None and other is not None:
        for name in {**own, **other}:
            inner = f"{place}.{name}" if place else str(name)
            yield from _changes(own.get(name, ABSENT), other.get(name, ABSENT), inner)
    elif before is ABSENT:
        yield f"{place} is new"
    elif now is ABSENT:
        yield f"{place} is missing"
    elif before != now:
        yield f"{place or 'it'} was {_short(before)} and is {_short(now)}"


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """Return the parts of a mapping or a list by their places; None for anything else."""
    if isinstance(value, list):
        return dict(enumerate(value))
    return value if isinstance(value, Mapping) else None


def _short(value: Any) -> str:
    return one_line(str(value), LONG)


IN_WORDS = {
    "fingerprint": "other items",
    "events_fingerprint": "other events, or another order, or other times",
    "weights_fingerprint": "other weights of the events",
    "set_aside": "other users and items set aside",
    "protocol": "other relevant items, histories or false positives",
}


NO_DIFFERENCE = {"times"}
"""Facts that are of the source and not of the events: a date is the same as its microseconds."""


def difference(own: Mapping[str, Any], given: Mapping[str, Any]) -> str | None:
    """Return in words which facts about data differ, of those that both have."""
    compared = (given.keys() & own.keys()) - NO_DIFFERENCE
    different = [name for name in given if name in compared and own[name] != given[name]]
    words = [IN_WORDS.get(n, f"{n} {own[n]} and now {given[n]}") for n in different]
    return "; ".join(words) or None
