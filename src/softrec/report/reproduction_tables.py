"""The tables of a reproduction, as Markdown, as a page, and as data."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from softrec.files import replacing, write_text
from softrec.report import text
from softrec.report.document import Document, Part, Section
from softrec.report.markdown import of_document
from softrec.report.reproduction import (
    ABOVE,
    REACHED,
    Block,
    Measured,
    Reproduction,
    Row,
    write_reproduction,
)
from softrec.report.tables import SIMPLE, Table, versions
from softrec.report.templates import fill

NAME = "reproduction"
HEAD = ["", "metric", "published", "here", "ratio", "seeds", "gain published", "gain here",
        "verdict"]  # fmt: skip
LEGEND = (
    f"Ratio: here by published. Reached: {REACHED:.2f} and more; above: more than {ABOVE:.2f}. "
    "Gain: the relative difference to the baseline of the same table, as published and here. Here: "
    "the mean over the test users, ± the standard deviation over the seeds. One training cannot "
    "tell a difference from chance."
)


class Shown(NamedTuple):
    """A block with its tables and notes."""

    title: str
    text: str
    rows: Table
    beside: Table | None
    notes: list[str]


def write_all(found: Reproduction, folder: Path) -> None:
    """Write the results as JSON, CSV, Parquet, Markdown and HTML."""
    write_reproduction(found, folder / f"{NAME}.json")
    frame = found.frame()
    with replacing(folder / f"{NAME}.csv") as fresh:
        frame.write_csv(fresh)
    with replacing(folder / f"{NAME}.parquet") as fresh:
        frame.write_parquet(fresh)
    write_text(folder / f"{NAME}.md", markdown(found))
    write_text(folder / f"{NAME}.html", html(found))


def shown(block: Block) -> Shown:
    """Return a block with its tables and notes."""
    parts = [f"Data: {block.source}" if block.source else "", block.protocol]
    return Shown(
        f"{block.table}: {block.dataset}" if block.dataset else block.table,
        "; ".join(part for part in parts if part),
        rows_of(block),
        beside_of(block) if block.beside else None,
        notes_of(block),
    )


def rows_of(block: Block) -> Table:
    """Return the table with a row for each published number, and one for each row without."""
    rows: list[list[str]] = []
    several = len({row.setting for row in block.rows}) > 1
    for row in block.rows:
        name = f"{row.name} ({row.setting})" if several and row.setting else row.name
        rows += [_cells(name, row, measured) for measured in row.measured]
    return Table("Published and here", HEAD, rows)


def _cells(name: str, row: Row, measured: Measured) -> list[str]:
    return [
        name,
        measured.metric,
        text.decimals(measured.published),
        text.mean_and_spread(measured.here) if measured.here else "",
        _known(row.ratio(measured), 3),
        str(len(row.seeds)) if row.seeds else "",
        _gain(measured.gain_published),
        _gain(measured.gain_here),
        row.verdict(measured),
    ]


def _known(value: float, digits: int) -> str:
    return "" if math.isnan(value) else text.decimals(value, digits)


def _gain(value: float) -> str:
    return "" if math.isnan(value) else text.percent(value, sign=True)


def beside_of(block: Block) -> Table:
    """Return the table of the models for comparison: simple baselines, and today's defaults."""
    metrics = block.metrics
    rows: list[list[str]] = []
    titles = {
        "simple": SIMPLE,
        "defaults": "today's defaults: every position; all items, or a sample by cost",
    }
    for kind, title in titles.items():
        of_kind = [each for each in block.beside if each.kind == kind]
        if of_kind:
            rows.append([title])
        for each in of_kind:
            mark = " (best on validation)" if each.chosen else ""
            numbers = [
                text.decimals(each.test[metric].mean) if metric in each.test else ""
                for metric in metrics
            ]
            rows.append([f"{each.name}{mark}", *numbers, each.reason])
    return Table("Beside it, on the same data and ranking", ["", *metrics, "not run because"], rows)


def notes_of(block: Block) -> list[str]:
    """Return the notes for the reader, each once, with the rows to which they belong."""
    found: dict[str, list[str]] = {}
    for row in block.rows:
        notes = [f"Not run: {row.reason}"] if row.reason else []
        notes += [f"Other data: {row.stand_in}"] if row.stand_in and not row.reason else []
        notes += [row.note] if row.note else []
        notes += [f"{m.metric}: {m.note}" for m in row.measured if m.note]
        notes += [f"Below: {cause}" for cause in _causes(row)]
        for note in notes:
            found.setdefault(note, []).append(row.name)
    return [f"{note} ({_listed(names, len(block.rows))})." for note, names in found.items()]


def _causes(row: Row) -> Iterable[str]:
    return dict.fromkeys(cause for m in row.measured if (cause := row.cause(m)))


def _listed(names: list[str], total: int) -> str:
    names = list(dict.fromkeys(names))
    return "all rows" if len(names) > 1 and len(names) == total else "; ".join(names)


def commands_of(found: Reproduction) -> Table:
    """Return the table of the commands of the rows."""
    rows = {
        row.command: [f"{block.dataset} {row.name}", row.command, _epochs(row), _minutes(row)]
        for block in found.blocks
        for row in block.rows
        if row.command
    }
    head = ["", "command", "best epoch", "minutes"]
    return Table("Each row alone", head, list(rows.values()))


def _epochs(row: Row) -> str:
    return ", ".join(f"{best} of {all_}" for best, all_ in row.epochs)


def _minutes(row: Row) -> str:
    if not math.isnan(row.minutes):
        return text.decimals(row.minutes, 1)
    return "" if math.isnan(row.estimate) else f"at most {text.decimals(row.estimate, 0)}"


def markdown(found: Reproduction) -> str:
    """Return the whole reproduction as Markdown."""
    first = [f"{found.citation}. {found.created}.", f"{found.sentence()}.", LEGEND]
    sections = [
        Section("What was reached", first),
        *(Section(block.title, _parts(block)) for block in map(shown, found.blocks)),
        Section("How to run it again", [commands_of(found), versions(found.versions)]),
    ]
    return of_document(Document(f"{found.paper}: published and here", sections, found.command))


def _parts(block: Shown) -> list[Part]:
    parts = [
        block.text,
        block.beside,
        block.rows,
        block.notes,
    ]  # the rest is read by what is beside
    return [part for part in parts if part]


def html(found: Reproduction) -> str:
    """Return the whole reproduction as a self-contained HTML page, in the form of a report."""
    return fill(
        "reproduction.html.j2",
        found=found,
        legend=LEGEND,
        blocks=[shown(block) for block in found.blocks],
        commands=commands_of(found),
        versions=versions(found.versions),
    )
