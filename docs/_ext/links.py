"""Links that work where the pages are read as plain Markdown, and on the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from made import COPIED, DOCS, ROOT
from sphinx.application import Sphinx

LINK = re.compile(r"\[([^\]\n]*)\]\((?!\w+:|#)([^)#\s]*)(#[^)\s]*)?\)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Change each page as it is read."""
    app.connect("source-read", rewritten)
    return {"parallel_read_safe": True}


def rewritten(app: Sphinx, name: str, source: list[str]) -> None:
    """Turn links that leave docs/ to where the site has them; folders of code become plain text."""
    page = Path(app.env.doc2path(name))
    copied = {new: old for old, new in COPIED.items()}
    base = ROOT if page.parent.name == "_made" and page.name in copied else page.parent
    up = Path(*[".."] * len(page.relative_to(DOCS).parents[1:] or ()))

    def led(found: re.Match[str]) -> str:
        words, path, anchor = found[1], found[2], found[3] or ""
        target = (base / path).resolve()
        if target.name in COPIED and target.parent == ROOT:
            return f"[{words}]({(up / '_made' / COPIED[target.name]).as_posix()}{anchor})"
        if target == ROOT / "examples" / "tour.ipynb":
            return f"[{words}]({(up / '_made' / 'tour.ipynb').as_posix()})"
        if target == ROOT / "README.md":
            return f"[{words}]({(up / 'index.md').as_posix()})"
        if target.is_dir():
            return words
        if base == ROOT and DOCS in target.parents:
            return f"[{words}]({(up / target.relative_to(DOCS)).as_posix()}{anchor})"
        if base == ROOT:
            return words
        return found[0]

    source[0] = LINK.sub(led, source[0])
