"""Events by user, oldest first: the same as a stable sort, whatever order the log is in."""

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from softrec.data.interactions import in_order

times = st.one_of(st.integers(-3, 3), st.sampled_from([2**32, 2**63 - 1, -(2**63)]))
events = st.lists(st.tuples(st.integers(0, 5), times), max_size=30)


def frame_of(rows, *, time: bool = True) -> pl.DataFrame:
    users, times = zip(*rows, strict=True) if rows else ((), ())
    columns = {"user": pl.Series(users, dtype=pl.UInt32), "item": pl.Series(range(len(rows)))}
    columns |= {"time": pl.Series(times, dtype=pl.Int64)} if time else {}
    return pl.DataFrame(columns)


@example([(0, 2**32), (0, 0)], True, "as it is")  # the first that do not fit a key
@example([(0, 2**32 - 1), (0, 0)], True, "as it is")
@given(events, st.booleans(), st.sampled_from(["as it is", "by time", "by user", "in order"]))
def test_it_is_a_stable_sort(rows, time, before):
    by = {"by time": ["time"], "by user": ["user"], "in order": ["user", "time"]}.get(before, [])
    frame = frame_of(rows)
    frame = frame.sort(by, maintain_order=True) if by else frame
    frame = frame if time else frame.drop("time")
    expected = sorted(
        frame.rows(named=True), key=lambda row: (row["user"], row.get("time", 0))
    )  # Python's sort is stable
    assert in_order(frame).rows(named=True) == expected
    assert in_order(frame).schema == frame.schema


@pytest.mark.parametrize("time", [True, False])
def test_a_frame_in_order_is_not_copied(time):
    frame = frame_of([(0, 1), (0, 1), (0, 2), (1, 0)], time=time)
    assert in_order(frame) is frame
