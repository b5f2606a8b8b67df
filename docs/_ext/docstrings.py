"""Docstrings are read as the plain text they are, and types lead to where they are described."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any

from docutils.nodes import Element, SkipNode
from latex2mathml.converter import convert
from made import namespaces
from sphinx.application import Sphinx

MARKUP = re.compile(r"(``?[^`]*``?)|([*|\\]|(?<=\w)_(?!\w))")
ELSEWHERE = {
    "torch.nn.modules.module.Module": "torch.nn.Module",
    "polars.dataframe.frame.DataFrame": "polars.DataFrame",
    "polars.series.series.Series": "polars.Series",
    "pl.DataFrame": "polars.DataFrame",
    "pl.Series": "polars.Series",
    "np.ndarray": "numpy.ndarray",
    "Tensor": "torch.Tensor",
    "Path": "pathlib.Path",
    "nn.Module": "torch.nn.Module",
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Read docstrings before and after napoleon, and help with names before intersphinx does."""
    app.connect("autodoc-process-docstring", examples, priority=100)
    app.connect("autodoc-process-docstring", plain, priority=900)
    app.connect("missing-reference", at_home, priority=1)
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True}


def examples(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Show the formulas between $$ as formulas, and examples that are no doctests as code."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()  # of a named tuple: says nothing
    text = "\n".join(lines)
    text = re.sub(r"^( *)\$\$(.+?)\$\$ *$", _formula, text, flags=re.MULTILINE | re.DOTALL)
    lines[:] = re.sub(r"^( *)Example:\n(?= *[^ >])", r"\1Example::\n\n", text,
                      flags=re.MULTILINE).splitlines()  # fmt: skip


def _formula(found: re.Match[str]) -> str:
    indent, formula = found[1], " ".join(found[2].split())
    return f"{indent}.. math::\n\n{indent}   {formula}\n"


def plain(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Escape what reStructuredText would take for markup: |z|, 2 * x, s_; code stays as it is."""
    code: int | None = None  # the indent of what a block of code stands under
    doctest = False
    for number, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        doctest = bool(line.strip()) and (doctest or line.lstrip().startswith(">>>"))
        if code is not None and line.strip() and indent <= code:
            code = None
        if code is None and not doctest and not line.lstrip().startswith((":", "..")):
            lines[number] = _escaped(line)
        if line.rstrip().endswith("::"):
            code = indent


def mathml(formula: str) -> str:
    """Return a formula as MathML, which browsers show without a script."""
    return convert(formula.replace(r"\tfrac", r"\frac"), display="block")


def block(translator: Any, node: Element) -> None:
    """Write a formula on lines of its own."""
    translator.body.append(f'<div class="math">{mathml(node.astext())}</div>')
    raise SkipNode


def inline(translator: Any, node: Element) -> None:
    """Write a formula within a line."""
    translator.body.append(convert(node.astext()))
    raise SkipNode


def _escaped(line: str) -> str:
    return MARKUP.sub(lambda found: found[1] or f"\\{found[2]}", line)


def _homes() -> dict[str, str]:
    """Return the documented name of each public class and function, by where it is defined."""
    homes: dict[str, str] = {}
    for space in namespaces():
        module = import_module(space)
        for public in module.__all__:
            thing = getattr(module, public)
            own = getattr(thing, "__qualname__", None)
            if own:
                homes.setdefault(f"{thing.__module__}.{own}", f"{space}.{public}")
                homes.setdefault(own, f"{space}.{public}")
    return homes


HOMES = _homes()


def at_home(app: Sphinx, env: Any, node: Element, content: Element) -> Element | None:
    """Resolve a type by the name under which it is documented."""
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    node["reftarget"] = known = ELSEWHERE.get(target) or HOMES.get(target) or target
    if known == target or not known.startswith("softrec"):
        return None
    domain, page = env.get_domain("py"), node.get("refdoc", env.docname)
    return domain.resolve_xref(env, page, app.builder, node["reftype"], known, node, content)
