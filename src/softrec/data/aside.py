"""What a split leaves out or leaks, counted and said, so that nobody finds it out too late."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from softrec.data.interactions import Interactions

Kept = Literal["keep", "drop"]


class LeakageWarning(UserWarning):
    """The split lets a model learn from events that happened after a test event."""


@dataclass(frozen=True)
class SetAside:
    """Users and items that a split does not ask about as it asks about the others.

    Attributes:
        short_users: users of fewer than 3 events, too few for a part each.
        short: whether they are kept in the training part alone, or dropped.
        cold_items: items of validation or test that no training event has.
        cold_events: the events of validation and test that have them.
        cold: whether these events are kept as certain misses, or dropped.

    Example:
        >>> print(SetAside(cold_items=48, cold_events=61).sentence())  # doctest: +ELLIPSIS
        48 items set aside, because no training event has the items (their 61 events leave ...
    """

    short_users: int = 0
    short: Kept = "keep"
    cold_items: int = 0
    cold_events: int = 0
    cold: Kept = "drop"

    def facts(self) -> dict[str, int | str]:
        """Return the counts and choices as plain data."""
        return asdict(self)

    def sentence(self) -> str:
        """Return one line with the counts and the reasons; nothing if nothing is set aside."""
        aside: list[str] = []
        reasons: list[str] = []
        if self.short_users:
            fate = "used for training, not evaluated" if self.short == "keep" else "dropped"
            aside.append(f"{self.short_users:,} users")
            reasons.append(f"the users have fewer than 3 events ({fate})")
        if self.cold_items and self.cold == "drop":
            aside.append(f"{self.cold_items:,} items")
            reasons.append(
                f"no training event has the items (their {self.cold_events:,} events are removed "
                "from validation and test)"
            )
        said = []
        if aside:
            said.append(f"{' and '.join(aside)} set aside, because {', and '.join(reasons)}")
        if self.cold_items and self.cold == "keep":
            said.append(
                f"{self.cold_items:,} items without a training event are kept as certain misses "
                f"({self.cold_events:,} events)"
            )
        return "; ".join(said)


def warn_of_leaks(
    train: Interactions, valid: Interactions, test: Interactions, name: str, *, stacklevel: int
) -> None:
    """Warn with numbers where a test event comes before a training event.

    Args:
        train: the training part.
        valid: the validation part, which belongs to the histories of the test part.
        test: the test part.
        name: of the split.
        stacklevel: of the warning, as `warnings.warn` counts from here.
    """
    if not (train.has_time and test.has_time and len(train) and len(test)):
        return
    asked = test.frame["time"].to_numpy()
    early = int((asked < train.frame["time"].to_numpy().max()).sum())
    if not early:
        return
    own = int((_last(train, valid) > _first(test)).sum())
    later = f", and {own:,} users have events of their own after a test event" if own else ""
    warnings.warn(
        f"the {name} split leaks time: {early:,} of {len(asked):,} test events "
        f"({early / len(asked):.0%}) come before the last training event, so the model has seen "
        f"the future{later}; --split time cuts the whole log at one moment",
        LeakageWarning,
        stacklevel=stacklevel,
    )


def _last(*parts: Interactions) -> np.ndarray:
    """Return the time of each user's last event, (U,); the earliest of all times for none."""
    last = np.full(parts[0].n_users, np.iinfo(np.int64).min)
    for part in parts:
        np.maximum.at(last, part.frame["user"].to_numpy(), part.frame["time"].to_numpy())
    return last


def _first(part: Interactions) -> np.ndarray:
    """Return the time of each user's first event, (U,); the latest of all times for none."""
    first = np.full(part.n_users, np.iinfo(np.int64).max)
    np.minimum.at(first, part.frame["user"].to_numpy(), part.frame["time"].to_numpy())
    return first
