"""The report as Markdown, with the tables of GitHub."""

from __future__ import annotations

import re
from collections.abc import Mapping

from softrec.report.document import Document, Part, document
from softrec.report.results import Results
from softrec.report.tables import Table

SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
START = re.compile(r"^(\s*)(?:([-+#>=])|(\d+)([.)]))")
"""What would begin a list, a heading or a quotation at the start of a line."""


def render_markdown(results: Results) -> str:
    """Return the report as Markdown.

    Raises:
        RunError: if no variant has the name of the baseline.
    """
    return of_document(document(results))


def of_document(content: Document) -> str:
    """Return a document as Markdown."""
    lines = [f"# {escape(content.title)}", ""]
    for section in content.sections:
        lines += [f"## {escape(section.title)}", ""]
        for part in section.parts:
            lines += [*_part(part), ""]
    ticks = max((len(run) for run in re.findall(r"`+", content.command)), default=0)
    fence = "`" * max(3, ticks + 1)
    return "\n".join([*lines, fence, content.command, fence, ""])


def escape(words: str) -> str:
    r"""Return a text in one line that means nothing but itself in Markdown and HTML.

    Example:
        >>> escape("a|b_1 <i>")
        'a\\|b\\_1 &lt;i&gt;'
    """
    line = " ".join(words.split())
    plain = SPECIAL.sub(r"\\\1", line.replace("&", "&amp;"))
    return plain.replace("<", "&lt;").replace(">", "&gt;")


def _part(part: Part) -> list[str]:
    if isinstance(part, str):
        return [_block(part)]
    if isinstance(part, Table):
        return [f"**{escape(part.caption)}**", "", table(part)]
    return [f"- {_block(point)}" for point in part]


def _block(words: str) -> str:
    """Return a text that may stand at the start of a line."""
    return START.sub(lambda m: f"{m[1]}{m[3] or ''}\\{m[2] or m[4]}", escape(words))


def table(content: Table, links: Mapping[str, str] | None = None) -> str:
    r"""Return the lines of a table, without its caption; a row of one cell is in italics.

    Args:
        content: of the table.
        links: addresses, by the text of the cell that leads there.

    Example:
        >>> print(table(Table("", ["log", "users"], [["a_b", "5"]]), {"a_b": "a_b.md"}))
        | log | users |
        | --- | --: |
        | [a\_b](a_b.md) | 5 |
    """

    def cell(words: str) -> str:
        address = (links or {}).get(words)
        return f"[{escape(words)}]({address})" if address else escape(words)

    width = len(content.head)
    rule = ["---", *("---" if n in content.words else "--:" for n in range(1, width))]
    rows = [
        [f"*{escape(row[0])}*", *[""] * (width - 1)] if len(row) == 1 else [*map(cell, row)]
        for row in content.rows
    ]
    head = [escape(name) or "variant" for name in content.head]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
