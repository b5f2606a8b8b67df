"""What is told about the data of a run."""

import numpy as np
import polars as pl
import pytest

from softrec.data import splits
from softrec.data.interactions import Interactions
from softrec.experiments.views import data_text

EVENTS = [("ann", "tea"), ("ann", "jam"), ("ann", "oat"), ("bob", "jam"), ("bob", "tea"),
          ("bob", "tea"), ("bob", "oat"), ("eve", "tea"), ("eve", "fig")]  # fmt: skip


def table(**columns) -> pl.DataFrame:
    return pl.DataFrame(EVENTS, schema=["user", "item"], orient="row").with_columns(**columns)


def test_events_users_items_and_parts():
    """Eve is too short and kept to train on, so her fig stays in the catalogue."""
    split = splits.leave_last_out(Interactions.read(table()), short="keep", cold="keep")
    assert data_text(split) == (
        "9 events of 3 users and 4 items, without times; split leave-last-out: 5 events to train, "
        "2 to validate (2 users), 2 to test (2 users)"
    )


def test_who_is_dropped_is_not_counted():
    split = splits.leave_last_out(Interactions.read(table()), short="drop", cold="keep")
    assert data_text(split).startswith("7 events of 2 users and 3 items, without times; ")


def test_users_without_a_history_are_not_asked():
    log = Interactions.read(table())
    place = np.arange(len(log))
    split = splits.given(*(log.where(part) for part in (place < 3, place == 3, place > 3)),
                         cold="keep")  # fmt: skip
    told = data_text(split)
    assert told.endswith("3 events to train, 1 to validate (0 users), 5 to test (1 users)")


SECOND = 1_704_067_200  # 2024-01-01T00:00:00Z
TIMES = {
    "seconds": (SECOND, 86_400, "2024-01-01 to 2024-01-09"),
    "milliseconds": (SECOND * 10**3, 86_400 * 10**3, "2024-01-01 to 2024-01-09"),
    "microseconds": (SECOND * 10**6, 86_400 * 10**6, "2024-01-01 to 2024-01-09"),
    "nanoseconds": (SECOND * 10**9, 86_400 * 10**9, "2024-01-01 to 2024-01-09"),
    "counts": (7, 2, "7 to 23"),
}


@pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")
@pytest.mark.parametrize("unit", TIMES)
def test_the_span_of_time(unit):
    begin, step, said = TIMES[unit]
    log = Interactions.read(table(time=begin + step * pl.int_range(len(EVENTS))))
    assert f" items, {said}; split" in data_text(
        splits.leave_last_out(log, short="keep", cold="keep")
    )


@pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning")
def test_dates_are_days():
    days = pl.Series(["2024-01-01 12:00:00"] * 8 + ["2024-03-05 23:59:59"])
    split = splits.leave_last_out(Interactions.read(table(time=days)), short="keep", cold="keep")
    assert ", 2024-01-01 to 2024-03-05; " in data_text(split)
