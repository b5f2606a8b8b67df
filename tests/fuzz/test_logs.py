"""Whatever the bytes of a log are, it is read or refused in one line."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import polars as pl
import pytest
from cases import attempted, cases
from damage import PACKERS, WRITERS, damaged, frames, texts, written
from hypothesis import given
from hypothesis import strategies as st

from softrec.data.interactions import Interactions
from softrec.data.reading import read_tables
from softrec.data.splits import LeakageWarning, leave_last_out

NOTHING_NAMED: dict[str, str | None] = {"user": None, "item": None, "time": None, "weight": None}


def used(source: object, *, header: bool = True, text_ids: bool = False) -> None:
    """Read a log and ask of it what a run asks first."""
    log = attempted(lambda: Interactions.read(source, header=header, text_ids=text_ids))
    if log is None:
        return
    assert len(log) > 0
    assert log.fingerprint
    assert repr(log)
    assert log.users.ids(log.frame["user"]).null_count() == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakageWarning)
        attempted(lambda: leave_last_out(log))
        attempted(lambda: leave_last_out(log, short="error", cold="error"))


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.slow
@cases(400)
@given(st.data())
def test_damaged_files(folder, data):
    ending = data.draw(st.sampled_from(sorted(WRITERS)))
    packing = data.draw(st.sampled_from(sorted(PACKERS))) if ending in (".csv", ".tsv") else ""
    content = written(data.draw(frames()), folder / f"whole{ending}", ending)
    if packing and data.draw(st.booleans()):
        content = data.draw(damaged(content))
    content = data.draw(damaged(PACKERS[packing](content)))
    path = folder / f"log{ending}{packing}"
    path.write_bytes(content)
    used(path, header=data.draw(st.integers(0, 7)) > 0, text_ids=data.draw(st.booleans()))


@pytest.mark.slow
@cases(150)
@given(frames(), st.booleans())
def test_strange_columns_of_tables(frame, text_ids):
    used(frame, text_ids=text_ids)


@pytest.mark.slow
@cases(150)
@given(st.lists(st.lists(texts, min_size=1, max_size=4), max_size=6), st.sampled_from(",\t;"))
def test_lines_of_text(folder, lines, separator):
    path = folder / "lines.csv"
    path.write_text("user,item,time,rating\n" + "\n".join(map(separator.join, lines)))
    used(path)


@pytest.mark.slow
@cases(100)
@given(st.lists(frames(), min_size=2, max_size=3))
def test_parts_of_a_log(parts):
    tables = attempted(lambda: read_tables(parts, NOTHING_NAMED))
    if tables is not None:
        attempted(lambda: Interactions.together(tables))


@cases(50)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=3), st.data())
def test_folders_of_parts(folder, contents, data):
    place = folder / "parts"
    place.mkdir(exist_ok=True)
    whole = place / "part-0.parquet"
    pl.DataFrame({"user": [1, 2], "item": [3, 4]}).write_parquet(whole)
    for number, content in enumerate(contents, start=1):
        path = place / f"part-{number}.parquet"
        path.write_bytes(
            data.draw(st.one_of(damaged(whole.read_bytes(), most=1), st.just(content)))
        )
    used(place)
    for number in range(1, len(contents) + 1):
        (place / f"part-{number}.parquet").unlink()
