"""The tables of a report for LaTeX, in the style of booktabs."""

from __future__ import annotations

import re

from softrec.report.document import Document, document
from softrec.report.results import Results
from softrec.report.tables import Table

HEAD = """\
% {title}
% Made by: {command}
% Needs \\usepackage{{booktabs,graphicx}}; tables wider than the line are scaled to it.
"""
LETTERS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    **{letter: f"\\{letter}" for letter in "$&%#_"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after a line of a table it would begin an argument, and so would *
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
}
LETTER = re.compile("|".join(map(re.escape, LETTERS)))
MINUS = re.compile(r"(?<![\w-])-(?=\d)")


def render_latex(results: Results) -> str:
    """Return the tables of the report, to be included in a document.

    Raises:
        RunError: if no variant has the name of the baseline.
    """
    return of_document(document(results))


def of_document(content: Document) -> str:
    """Return the tables of a document as LaTeX."""
    comments = {name: " ".join(value.split()) for name, value in
                (("title", content.title), ("command", content.command))}  # fmt: skip
    parts = [_table(table, number) for number, table in enumerate(content.tables, start=1)]
    return "\n".join([HEAD.format(**comments), *parts])


def escape(words: str) -> str:
    r"""Return a text in one line that means nothing but itself in LaTeX.

    Example:
        >>> escape("50 % of a_1: -0.5")
        '50 \\% of a\\_1: $-$0.5'
    """
    line = "".join(c if c.isprintable() else " " for c in " ".join(words.split()))
    plain = LETTER.sub(lambda match: LETTERS[match[0]], line).replace("--", "-{}-")
    return MINUS.sub("$-$", plain)


def _table(table: Table, number: int) -> str:
    width = len(table.head)
    columns = "".join("l" if place in {0, *table.words} else "r" for place in range(width))
    lines = [_row(table.head), r"\midrule"]
    for place, row in enumerate(table.rows):
        if len(row) > 1:
            lines.append(_row(row))
            continue
        lines += [r"\addlinespace"] * (place > 0)
        lines.append(rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escape(row[0])}}}}} \\")
    return "\n".join(
        [
            r"\begin{table}[htbp]",
            r"\centering",
            rf"\caption{{{escape(table.caption)}}}",
            rf"\label{{tab:softrec-{number}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
            "",
        ]
    )


def _row(cells: list[str]) -> str:
    return rf"{' & '.join(map(escape, cells))} \\"
