"""Counts and messages about what a split leaves out, how it leaks, and what it needs."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from softrec.blocks import blocks
from softrec.data.interactions import Interactions
from softrec.data.vocabulary import Vocabulary
from softrec.errors import DataError, number_of, shown
from softrec.limits import LIMITS

Kept = Literal["keep", "drop"]


SHORT = 3
"""The events that a user needs in a split by user: one each for training, validation and test."""


def short_problem(users: Vocabulary, few: np.ndarray, name: str) -> str:
    """Return a complaint about users with few events.

    Args:
        users: the ids.
        few: the numbers of these users.
        name: of the split.
    """
    return (
        f"{number_of(len(few), 'user has', 'users have')} fewer than {SHORT} interactions, such as "
        f"{shown(users.ids(few[:3]))}; {name} needs one interaction each for training, validation "
        "and test: drop these users (--short-users drop) or only train on them (--short-users "
        "keep)"
    )


EACH = (
    "a user needs 3 events for it; check that --user names the column of the users, or use --split "
    "session-time, which needs 2"
)
# What a split needs, for the error about one of which a part is empty.
NEEDS = {
    "leave-last-out": EACH,
    "user-ratio": EACH,
    "time": "it cuts the log at two moments; hold out other shares (data.valid_fraction, "
    "data.test_fraction), check that --time names the column of the times, or use --split "
    "leave-last-out",
}


def empty_part(kind: str, name: str, events: int, users: int) -> str:
    """Return a complaint about an empty part of a split of so many events of so many users."""
    needs = NEEDS.get(name, "use a longer log or another split")
    return (
        f"the {kind} part of the {name} split is empty ({events:,} events of {users:,} users); "
        f"{needs}"
    )


def check_fractions(valid: float, test: float) -> None:
    """Refuse fractions that leave a part empty."""
    if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
        raise DataError(
            f"the fractions for validation ({valid}) and test ({test}) must lie between "
            "0 and 1 and leave something to train on"
        )


def no_cold_start(name: str) -> DataError:
    """Return the error about a cold start in a split of whole sequences."""
    return DataError(
        "data.first_items: a cold start knows the first training items of each user, but in the "
        f"split {name} the users of validation and test have none; leave it out, or use --split "
        "leave-last-out"
    )


def no_times() -> DataError:
    """Return the error about a log without times."""
    return DataError(
        "a split by time needs times; name their column with --time, or use --split leave-last-out"
    )


class LeakageWarning(UserWarning):
    """The split lets a model learn from events that happened after a test event."""


@dataclass(frozen=True)
class SetAside:
    """The users and items that a split leaves out.

    Attributes:
        short_users: how many users have fewer than 3 events, which cannot be split into 3 parts.
        short: whether they are kept in the training part, or dropped.
        cold_items: how many items of validation or test have no training event.
        cold_events: how many events of validation and test have such an item.
        cold: whether these events are kept as certain misses, or dropped.
        single_users: users whose whole sequence is in validation or test and has one event.

    Example:
        >>> print(SetAside(cold_items=48, cold_events=61).sentence())  # doctest: +ELLIPSIS
        48 items set aside, because no training event has the items (their 61 events are ...
    """

    short_users: int = 0
    short: Kept = "keep"
    cold_items: int = 0
    cold_events: int = 0
    cold: Kept = "drop"
    single_users: int = 0

    def facts(self) -> dict[str, int | str]:
        """Return the counts and choices as plain data."""
        facts = asdict(self)
        return facts if self.single_users else {n: facts[n] for n in facts if n != "single_users"}

    def sentence(self) -> str:
        """Return one line with the counts and the reasons; "" if nothing is left out."""
        aside: list[str] = []
        reasons: list[str] = []
        if self.short_users:
            fate = "used for training, not evaluated" if self.short == "keep" else "dropped"
            aside.append(number_of(self.short_users, "user"))
            who = "the user has" if self.short_users == 1 else "the users have"
            reasons.append(f"{who} fewer than 3 events ({fate})")
        if self.cold_items and self.cold == "drop":
            aside.append(number_of(self.cold_items, "item"))
            what = "item (its" if self.cold_items == 1 else "items (their"
            events = number_of(self.cold_events, "event is", "events are")
            reasons.append(
                f"no training event has the {what} {events} removed from validation and test)"
            )
        if self.single_users:
            sequences = number_of(self.single_users, "sequence")
            aside.append(f"{sequences} of validation and test")
            has = "it has" if self.single_users == 1 else "they have"
            reasons.append(f"{has} one event, so that no history is left")
        parts = []
        if aside:
            parts.append(f"{' and '.join(aside)} set aside, because {', and '.join(reasons)}")
        if self.cold_items and self.cold == "keep":
            items = number_of(self.cold_items, "item")
            kept = (
                "is kept as a certain miss"
                if self.cold_items == 1
                else "are kept as certain misses"
            )
            events = number_of(self.cold_events, "event")
            parts.append(f"{items} without a training event {kept} ({events})")
        return "; ".join(parts)


@dataclass(frozen=True)
class Leak:
    """How much a model learns from events that are later than the test events.

    Attributes:
        split: the name of the split.
        trained_later: the fraction of training events after the median test event.
        first_seen_later: how many test events have an item whose first training event is later.
        tested: how many test events there are.
        users: how many users have training or validation events after one of their test events.

    Example:
        >>> print(Leak("leave-last-out", 0.48, 3210, 43098, 0).sentence())
        the leave-last-out split leaks time: 48% of the training events come after the median test \
event, and 3,210 of 43,098 test events (7%) ask for an item whose first training event comes later
    """

    split: str
    trained_later: float
    first_seen_later: int
    tested: int
    users: int

    def sentence(self) -> str:
        """Return one line with the numbers."""
        own = f", and {self.users:,} users go on in their own histories" if self.users else ""
        return (
            f"the {self.split} split leaks time: {self.trained_later:.0%} of the training events "
            f"come after the median test event, and {self.first_seen_later:,} of {self.tested:,} "
            f"test events ({self.first_seen_later / self.tested:.0%}) ask for an item whose first "
            f"training event comes later{own}"
        )


def leak_of(train: Interactions, valid: Interactions, test: Interactions, name: str) -> Leak | None:
    """Return how much a split leaks; None if no test event comes before a training event.

    Args:
        train: the training part.
        valid: the validation part, which belongs to the histories of the test part.
        test: the test part.
        name: of the split.
    """
    if not (train.has_time and test.has_time and len(train) and len(test)):
        return None
    asked, learned = (part.frame["time"].to_numpy() for part in (test, train))
    if asked.min() >= learned.max():
        return None
    # Items without a training event are not later.
    first = np.full(train.n_items, np.iinfo(np.int64).min)
    first[train.item_counts > 0] = np.iinfo(np.int64).max
    middle, later, seen_later = np.quantile(asked, 0.5, method="lower"), 0, 0
    item = train.frame["item"].to_numpy()
    for some in blocks(len(learned), LIMITS.sorted):
        np.minimum.at(first, item[some], learned[some])
        later += int((learned[some] > middle).sum())
    item = test.frame["item"].to_numpy()
    for some in blocks(len(asked), LIMITS.sorted):
        seen_later += int((first[item[some]] > asked[some]).sum())
    return Leak(
        split=name,
        trained_later=later / len(learned),
        first_seen_later=seen_later,
        tested=len(asked),
        users=int((_last(train, valid) > _first(test)).sum()),
    )


def warn_of_leaks(
    train: Interactions, valid: Interactions, test: Interactions, name: str, *, stacklevel: int
) -> None:
    """Warn, with numbers, if a test event comes before a training event.

    Args:
        train: the training part.
        valid: the validation part.
        test: the test part.
        name: of the split.
        stacklevel: of the warning, as `warnings.warn` counts from here.
    """
    leak = leak_of(train, valid, test, name)
    if leak is not None:
        warnings.warn(
            f"{leak.sentence()}; --split time learns from nothing later than it is tested on",
            LeakageWarning,
            stacklevel=stacklevel,
        )


def _last(*parts: Interactions) -> np.ndarray:
    """Return the time of each user's last event, (U,); without events, the lowest number."""
    last = np.full(parts[0].n_users, np.iinfo(np.int64).min)
    for part in parts:
        np.maximum.at(last, part.frame["user"].to_numpy(), part.frame["time"].to_numpy())
    return last


def _first(part: Interactions) -> np.ndarray:
    """Return the time of each user's first event, (U,); without events, the highest number."""
    first = np.full(part.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, part.frame["user"].to_numpy(), part.frame["time"].to_numpy())
    return first
