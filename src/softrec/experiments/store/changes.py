"""What differs between two recipes, or between the facts of two logs, in words for a message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    found = list(_changes(before, now))
    more = f"; and {len(found) - SHOWN:,} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


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
