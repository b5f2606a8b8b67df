"""Pages that are made at each build, so that none of them can be out of date.

They lie in `docs/_made/`, which is not kept: the commands from their help, the public names from
their docstrings, the changelog and the rules of contributing as they are, and the notebook.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import typer
from sphinx.application import Sphinx

from softrec import PARTS
from softrec.cli.main import app as commands

DOCS = Path(__file__).parents[1]
ROOT = DOCS.parent
MADE = DOCS / "_made"
COPIED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the pages before Sphinx looks for them."""
    app.connect("config-inited", lambda *_: make())
    return {"parallel_read_safe": True}


def make() -> None:
    """Write all pages; those that have not changed keep their time, so that a build is short."""
    shutil.rmtree(MADE / "runs", ignore_errors=True)  # what the notebook left
    pages = {"cli.md": command_line(), **dict(api_pages())}
    pages["leaderboard.md"] = leaderboard()
    pages |= {new: (ROOT / old).read_text(encoding="utf-8") for old, new in COPIED.items()}
    for name, text in pages.items():
        _write(MADE / name, text)
    for name in ("tour.ipynb", "shop.csv", "shop-items.csv"):
        _write(MADE / name, (ROOT / "examples" / name).read_text(encoding="utf-8"))
    for stale in set(MADE.rglob("*.rst")) - {MADE / name for name in pages}:
        stale.unlink()


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


# --- the public names ---


def namespaces() -> list[str]:
    """Return softrec and its parts that have public names."""
    parts = [f"softrec.{part}" for part in PARTS]
    return ["softrec", *(name for name in parts if hasattr(import_module(name), "__all__"))]


def api_pages() -> Iterator[tuple[str, str]]:
    """Yield a page for each namespace, with all of its public names."""
    told: dict[int, str] = {}  # some names are in two namespaces
    for name in namespaces():
        module = import_module(name)
        lines = [name, "=" * len(name), "", f".. automodule:: {name}", "   :no-members:", ""]
        for public in module.__all__:
            thing = getattr(module, public)
            first = told.setdefault(id(thing), f"{name}.{public}")
            kind, options = _directive(thing)
            if first != f"{name}.{public}":
                lines += [f"``{public}`` is :py:obj:`{first}`.", ""]
                continue
            lines += [f".. {kind}:: {first}", *(f"   :{line}:" for line in options), ""]
        yield f"api/{name}.rst", "\n".join(lines)


def _directive(thing: Any) -> tuple[str, tuple[str, ...]]:
    if isinstance(thing, type):
        return "autoclass", ("members", "show-inheritance")
    return ("autofunction", ()) if callable(thing) else ("autodata", ("no-value",))


# --- the results ---


def leaderboard() -> str:
    """Return all rows of each log, the best on test first, as its page has them."""
    words = (
        "All rows of each log by the metric that chose them, the best first. ± is over the seeds, "
        "and differences have 95 % intervals. Seconds are those of a training, of a simple "
        "baseline those of all that was tried; they are of the machine that the page names."
    )
    parts = ["# Leaderboards", "", words, ""]
    for page in sorted((DOCS / "results").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        rows = _table(text, "Rows")
        if not rows:
            continue
        cost = _table(text, "Cost")
        place = cost[0].index("seconds in all")
        seconds = {row[0]: row[place] for row in cost if row[1]}
        where = f"[command and settings](../results/{page.stem}.md#how-it-was-run)"
        when = _made_with(text)
        head, *body = [row for row in rows if row[1]]
        body.sort(key=lambda row: float(row[1].split()[0]), reverse=True)
        lines = [[*row, seconds.get(row[0], ""), where, when] for row in body]
        head = [*head, "seconds", "recipe", "date and version"]
        parts += [f"## {page.stem}", "", _row(head), _row(["---"] * len(head))]
        parts += [*map(_row, lines), ""]
    return "\n".join(parts)


def _table(page: str, section: str) -> list[list[str]]:
    """Return the cells of the first table of a section, without the line below its head."""
    lines = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0].splitlines()
    rows = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
        if line[:1] == "|"
    ]
    return rows[:1] + rows[2:]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _made_with(page: str) -> str:
    """Return date and version of the results of a page."""
    found = re.search(r"^(\d{4}-\d\d-\d\d); .*?softrec ([\w.]+)", page, re.MULTILINE)
    return f"{found[1]}, {found[2]}" if found else ""


# --- the command line ---


def command_line() -> str:
    """Return a page with the help of each command."""
    root = typer.main.get_command(commands)
    parts = ["# The command line", "", "What `softrec COMMAND --help` says, on one page.", ""]
    for path, command in _walk(root, ("softrec",)):
        context = click.Context(command, info_name=" ".join(path))
        parts += [f"## {' '.join(path)}", "", _text(command.help), "", *_options(command, context)]
    return "\n".join(parts)


def _walk(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield path, command
        return
    for name in sorted(below):
        if not below[name].hidden:
            yield from _walk(below[name], (*path, name))


def _text(words: str | None) -> str:
    """Return a help text; its indented lines are commands, shown as they are."""
    lines = (words or "").replace("\b", "").replace("<", "&lt;").splitlines()
    return "\n".join(lines).strip()


def _options(command: Any, context: Any) -> list[str]:
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or "--help" in parameter.opts:
            continue
        told = parameter.get_help_record(context) or (parameter.human_readable_name, "")
        words = told[1].replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
        rows.append(f"| `{told[0]}` | {words} |")
    return ["| option | meaning |", "| --- | --- |", *rows, ""] if rows else []


if __name__ == "__main__":
    shutil.rmtree(MADE, ignore_errors=True)
    make()
