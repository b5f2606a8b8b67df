"""Users and their histories: from the arguments `users` and `histories`, one or several."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import numpy as np
import polars as pl

from softrec.blocks import blocks
from softrec.data.cases import rows_of
from softrec.data.interactions import Interactions, Sequences
from softrec.data.vocabulary import UNKNOWN
from softrec.errors import DataError, shown
from softrec.limits import LIMITS


class UnknownItemWarning(UserWarning):
    """A history contains unknown items, which were skipped."""


class People(NamedTuple):
    """Some users: their names in the answer, their numbers in the log, and their histories."""

    names: list[object]
    numbers: np.ndarray  # (B,) int64, `UNKNOWN` for given histories
    rows: Sequences

    def blocks(self) -> Iterator[People]:
        """Yield blocks of users."""
        if len(self.names) <= LIMITS.encoded:
            yield self
            return
        for some in blocks(len(self.names), LIMITS.encoded):
            places = np.arange(some.start, some.stop)
            rows = rows_of(self.rows, places)
            yield People(self.names[some], self.numbers[places], rows)

    def repeated(self, times: int) -> pl.Series:
        """Return the column of the names, each `times` times."""
        names = pl.Series(self.names, strict=False)
        if len(names) == 1:
            return names.new_from_index(0, times)
        return names[np.repeat(np.arange(len(names)), times)]


def users_of(users: object) -> list[object]:
    """Return a list of users; a text or a number is one user, not its letters.

    Example:
        >>> users_of("u1"), users_of(["u1", "u2"]), users_of(None)
        (['u1'], ['u1', 'u2'], [])
    """
    if users is None:
        return []
    return list(users) if _several(users) else [users]


def histories_of(histories: object) -> dict[Any, Sequence[object]]:
    """Return name -> items, oldest first; without names they are "history 1", "history 2", ...

    Example:
        >>> histories_of({"bob": ["tea", "jam"]})
        {'bob': ['tea', 'jam']}
        >>> histories_of(["tea", "jam"])  # one history
        {'history 1': ['tea', 'jam']}
        >>> histories_of([["tea"], ["jam", "tea"]])
        {'history 1': ['tea'], 'history 2': ['jam', 'tea']}

    Raises:
        DataError: if a history is a set.
    """
    if histories is None:
        return {}
    if isinstance(histories, Mapping):
        return {name: _in_order(items) for name, items in histories.items()}
    listed = _in_order(histories)
    rows = listed if listed and all(map(_several, listed)) else [listed]
    return {f"history {n}": _in_order(row) for n, row in enumerate(rows, 1) if listed}


def _in_order(items: object) -> list[object]:
    """Return the items of a history; of a set the order would be another one each time."""
    if isinstance(items, set | frozenset):
        raise DataError(
            f"a history is read in its order, but a {type(items).__name__} has none; give its "
            "items as a list, oldest first"
        )
    return users_of(items)


def check_names(users: Sequence[object], histories: Mapping[Any, Any]) -> None:
    """Refuse a history that is called as a user who is asked for.

    Raises:
        DataError: if there is one; two lists would have one name.
    """
    named = set(map(str, histories)).intersection(map(str, users))
    if named:
        raise DataError(
            f"{shown(sorted(named))} is asked for as a user and names a history, so that two lists "
            "would have one name; give the history another one"
        )


def numbers_of(users: list[object], log: Interactions, refusal: str | None) -> np.ndarray:
    """Return the numbers of users of the log, (B,) int64.

    Args:
        users: raw ids.
        log: the log.
        refusal: why the model cannot use given histories, if it cannot.

    Raises:
        DataError: if one is unknown.
    """
    if users:
        check_any_users(log.n_users)
    numbers = log.users.numbers(users)
    unknown = [raw for raw, number in zip(users, numbers, strict=True) if number == UNKNOWN]
    if unknown:
        remedy = refusal or (
            "give the items of somebody who is not in the log with --history (in Python: "
            "histories={name: items})"
        )
        raise DataError(f"unknown users: {shown(unknown)}; {remedy}")
    return numbers


def history_of(name: object, items: Sequence[object], log: Interactions) -> np.ndarray:
    """Return the numbers of the known items of a given history.

    Raises:
        DataError: if there is none.

    Warns:
        UnknownItemWarning: if some are unknown.
    """
    numbers, unknown = log.history_numbers(items)
    if not len(numbers):
        raise DataError(
            f"no item of the history of {name!r} is in the catalogue: {shown(items) or 'empty'}; "
            "give at least one known item"
        )
    if unknown:
        warnings.warn(
            f"the history of {name!r} has unknown items, which are skipped: {shown(unknown)}",
            UnknownItemWarning,
            stacklevel=4,  # the caller of `recommend` or `interests`
        )
    return numbers


def check_any_users(n_users: int) -> None:
    """Refuse to look for users where there are none.

    Args:
        n_users: of the log.

    Raises:
        DataError: if that is 0.
    """
    if not n_users:
        raise DataError(
            "there are no users, because the export was written with --no-users; give the items of "
            "somebody with --history (in Python: histories={name: items}), or export the run again "
            "with its users"
        )


def _several(value: object) -> TypeGuard[Iterable[object]]:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def no_histories(name: str, reads: str, *, needs_times: bool) -> str | None:
    """Return why a model cannot use given histories, and how to fix it; None if it can.

    Args:
        name: of the model.
        reads: "history", or "user" for models that identify users by number.
        needs_times: whether it reads the times of events.
    """
    if reads == "user":
        return (
            f"{name} knows users by their number in its training log and reads no history; give "
            "users of that log, or train a model that reads histories, such as gru4rec or sasrec"
        )
    if needs_times:
        return (
            f"{name} needs the times of events, but a given history has no times; give users of "
            "the log, or train a model that reads histories without times, such as gru4rec or "
            "sasrec"
        )
    return None
