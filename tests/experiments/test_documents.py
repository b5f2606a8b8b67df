"""The report as Markdown and as tables for LaTeX: the same cells, whatever is in the names."""

import copy
import re

import pytest
from made_results import NASTY, a_simple_baseline, some_slices, synthetic, typed
from markdown_it import MarkdownIt

from softrec.report import latex, markdown
from softrec.report.document import document
from softrec.report.write import write_report

NAMES = [
    NASTY,
    r"50 % of a_1 & b^2 ~ {x} \textbf{y} \\ #3 `code` [link](url) * _em_ | --flag",
    "[first] * of a row",
    "1. not a list",
    "- neither is this",
    "# nor a heading",
    "two\nlines\tand a tab",
]


def named(name: str) -> dict:
    results = copy.deepcopy({**synthetic(), "slices": some_slices()})
    old = results["variants"][1]["name"]
    results["variants"][1]["name"] = results["variants"][1]["series"] = name
    for row in results["slices"]:
        row["variant"] = name if row["variant"] == old else row["variant"]
    results["variants"].append(a_simple_baseline("markov", -0.05))
    results["slices"] += [
        {**row, "variant": "markov"} for row in results["slices"] if row["variant"] == name
    ]
    results["title"] = results["command"] = results["data"]["name"] = name
    results["notes"] = [name]
    return results


def cells_of(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text, as another program reads them."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    found: list[list[list[str]]] = []
    for place, token in enumerate(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("td_open", "th_open"):
            inside = tokens[place + 1].children or []
            found[-1][-1].append("".join(part.content for part in inside))
    return found


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("name", NAMES)
def test_markdown_has_every_table_cell_by_cell(name):
    results = typed(named(name))
    read = cells_of(markdown.render_markdown(results))
    tables = document(results).tables
    assert len(read) == len(tables) == 12
    for found, table in zip(read, tables, strict=True):
        assert found[0] == ["variant" if not cell else one_line(cell) for cell in table.head]
        for own, row in zip(found[1:], table.rows, strict=True):
            padded = [*row, *[""] * (len(table.head) - len(row))]
            assert own == [one_line(cell) for cell in padded]


@pytest.mark.parametrize("name", NAMES)
def test_markdown_has_the_sentences_and_the_command_as_they_are(name):
    results = typed(named(name))
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown.render_markdown(results))
    kinds = {token.type for token in tokens}
    assert "html_block" not in kinds
    assert "ordered_list_open" not in kinds
    assert "blockquote_open" not in kinds
    (code,) = [token.content for token in tokens if token.type == "fence"]
    assert code == name + "\n"
    words = ["".join(part.content for part in token.children or []) for token in tokens]
    assert one_line(name) in words  # the title and the note
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1"] + ["h2"] * 6
    assert any("Helped" in each or "helped" in each for each in words)


def balanced(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@pytest.mark.parametrize("name", NAMES)
def test_latex_has_every_row_with_its_columns(name):
    results = typed(named(name))
    text = latex.render_latex(results)
    assert balanced("\n".join(line for line in text.splitlines() if line[:1] != "%"))
    bodies = re.findall(r"\\begin\{tabular\}\{([lr]+)\}\n(.*?)\\end\{tabular\}", text, re.DOTALL)
    tables = document(results).tables
    assert len(bodies) == len(tables) == text.count(r"\caption{") == text.count(r"\toprule")
    for (columns, body), table in zip(bodies, tables, strict=True):
        assert len(columns) == len(table.head)
        rows = [line for line in body.splitlines() if line.endswith(r" \\")]
        head, *others = [row for row in rows if "multicolumn" not in row]
        whole = [row for row in table.rows if len(row) > 1]
        for line, cells in zip([head, *others], [table.head, *whole], strict=True):
            found = re.split(r"(?<!\\)&", line.removesuffix(r" \\"))
            assert len(found) == len(cells)
            assert not re.match(r"\s*[\[*]", line)  # would be an argument of the line before
            assert not re.search(r"(?<!\\)[%#_^~]", line)
    assert text.count(r"\emph{simple baselines") == 6


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("a_1 & 50 % of $x$ #2", r"a\_1 \& 50 \% of \$x\$ \#2"),
        ("{a}\\b", r"\{a\}\textbackslash{}b"),
        (
            "~ ^ < > |",
            r"\textasciitilde{} \textasciicircum{} \textless{} \textgreater{} \textbar{}",
        ),
        ("-0.5 to -0.1, pop-1, --grid", r"$-$0.5 to $-$0.1, pop-1, -{}-grid"),
        ("0.2 ± 0.1, 1.5 ×", r"0.2 $\pm$ 0.1, 1.5 $\times$"),
        ("[0, 1] *", "{[}0, 1{]} {*}"),
        ("two\nlines\x07", "two lines "),
    ],
)
def test_what_means_something_to_latex(given, written):
    assert latex.escape(given) == written


def test_words_are_on_the_left_and_numbers_on_the_right():
    results = typed(synthetic())
    text = latex.render_latex(results)
    means = text[text.index("Means over the test users") :]
    assert means[means.index("tabular}{") :].startswith("tabular}{lrr}")
    goal = text[text.index("The target of each variant") :]
    assert goal[goal.index("tabular}{") :].startswith("tabular}{llr}")
    assert "| --- | --: | --: |" in markdown.render_markdown(results)


def test_they_stand_beside_the_page(tmp_path):
    results = typed(synthetic())
    write_report(results, tmp_path / "c" / "report.html")
    assert {path.name for path in (tmp_path / "c").iterdir()} == {
        "report.html", "report.md", "tables.tex"
    }  # fmt: skip
    assert (tmp_path / "c" / "report.md").read_text() == markdown.render_markdown(results)
    told = (tmp_path / "c" / "report.md").read_text()
    for part in ("## What to use", "Holm-adjusted p = 0.0031", "seconds per epoch", "torch"):
        assert part in told
    first = (tmp_path / "c" / "tables.tex").read_text().splitlines()[:2]
    assert first == [f"% {results.title}", f"% Made by: {results.command}"]
