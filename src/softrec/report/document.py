"""What a report says, in its order, for forms without figures: Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from softrec.report import reliability, slices, tables, text
from softrec.report.advice import advice
from softrec.report.results import Results
from softrec.report.tables import Table
from softrec.report.verdict import (
    certainty,
    headline,
    protocol_sentences,
    simple_sentence,
    verdicts,
)

Part = str | list[str] | Table
"""A paragraph, a list of points, or a table."""


@dataclass(frozen=True)
class Section:
    """Parts below a heading."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Document:
    """The content of a report."""

    title: str
    sections: Sequence[Section]
    command: str

    @property
    def tables(self) -> list[Table]:
        """Return all tables."""
        return [p for section in self.sections for p in section.parts if isinstance(p, Table)]


def document(results: Results) -> Document:
    """Return what the report of a comparison says.

    Raises:
        RunError: if no variant has the name of the baseline.
    """
    sections = [
        Section("Did soft targets help?", _verdict(results)),
        Section("Results", _results(results)),
        Section("What it costs", [tables.cost(results)]),
        Section("Data and protocol", _protocol(results)),
        Section(
            "How to run it again",
            [
                f"Seeds: {text.setting(results.seeds)}. {results.seed_note}",
                tables.versions(results.versions),
            ],
        ),
    ]
    if not results.listed:
        own = advice(results)
        sections = [Section("What to use", [own.headline, list(own.reasons)]), *sections]
    return Document(results.title, sections, results.command)


def _verdict(results: Results) -> list[Part]:
    found = verdicts(results)
    points = [f"{each.name}: {each.call}. {each.text}" for each in found]
    simple = [sentence] if (sentence := simple_sentence(results)) else []
    return [
        headline(found, results),
        *([points] if points else []),
        *simple,
        *protocol_sentences(results),
        certainty(results),
    ]


def _results(results: Results) -> list[Part]:
    optional = [
        tables.beyond_accuracy(results), reliability.table(results), *slices.tables(results),
        tables.regret(results),
    ]  # fmt: skip
    return [
        tables.overview(results),
        *(tables.of_metric(results, metric) for metric in results.metrics_by_weight),
        *(table for table in optional if table is not None),
    ]


def _protocol(results: Results) -> list[Part]:
    facts = {"Data": text.about_data(results.data), "Budget": results.budget}
    if len(results.groups) < 2:
        facts["Model"] = results.model
    told = [
        Table(title, ["setting", "value"], [[*pair] for pair in text.settings(values)])
        for title, values in facts.items()
        if values
    ]
    searched = [table] if (table := tables.tuning(results)) is not None else []
    notes = [list(results.notes)] if results.notes else []
    return [*told, tables.targets(results), *searched, *notes]
