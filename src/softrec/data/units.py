"""The unit that numbers seem to have, if they are times since 1970."""

from __future__ import annotations

import polars as pl

# From this number on, a time since 1970 is taken to be in this unit; it is 1973 in each unit.
SINCE_1973 = {
    "seconds": 10**8,
    "milliseconds": 10**11,
    "microseconds": 10**14,
    "nanoseconds": 10**17,
}
PER_SECOND = {"seconds": 1, "milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}
BETWEEN = 50  # at least, from the last time in one unit to the first in the next one


def unit_of(time: int) -> str | None:
    """Return the unit that a time since 1970 seems to have; None if it is unclear.

    Example:
        >>> unit_of(1_700_000_000), unit_of(1_700_000_000_000), unit_of(17)
        ('seconds', 'milliseconds', None)
    """
    return next((u for u, since in reversed(SINCE_1973.items()) if abs(time) >= since), None)


def unit_of_all(times: pl.Series) -> str | None:
    """Return the unit that times seem to have, by the one in the middle."""
    return unit_of(int(times.sort()[len(times) // 2]))


def of_two_units(times: pl.Series) -> tuple[int, int] | None:
    """Return the first and last of times of which some seem to be in one unit and some in another.

    Between the two is nothing; times that fill a wide range are in a unit of their own, and None
    is returned.

    Example:
        >>> of_two_units(pl.Series([1_700_000_000, 1_800_000_000_000]))
        (1700000000, 1800000000000)
    """
    late = times.filter(times >= SINCE_1973["seconds"]).to_numpy()
    if not len(late):
        return None
    first, last = int(late.min()), int(late.max())
    unit = unit_of(last)
    if unit is None or unit == unit_of(first):
        return None
    since = SINCE_1973[unit]
    if late[late >= since].min() < BETWEEN * late[late < since].max().astype(float):
        return None
    return first, last
