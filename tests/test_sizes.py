"""No file of the library is too long to be read at once, and no function."""

import ast
from pathlib import Path

import pytest

import softrec

ROOT = Path(softrec.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LINES = 400  # of a file, with all that stands in it
CODE = 60  # of a function: without its docstring, blank lines and comments of their own
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def lines_of_code(function, source):
    """Return how many lines of a function, from `def` on, hold code."""
    lines = range(function.lineno, function.end_lineno + 1)
    inside = [node for node in ast.walk(function) if isinstance(node, FUNCTIONS | ast.ClassDef)]
    told = set()
    for node in inside:
        if ast.get_docstring(node) is not None:
            told |= {*range(node.body[0].lineno, node.body[0].end_lineno + 1)}
    text = source.splitlines()
    return sum(
        line not in told and not text[line - 1].strip().startswith("#")
        for line in lines
        if text[line - 1].strip()
    )


def too_long(source):
    """Return a complaint for the file and for each of its functions that is too long."""
    found = []
    if len(source.splitlines()) > LINES:
        found.append(f"{len(source.splitlines())} lines, {LINES} at most; split it by its ideas")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, FUNCTIONS) and lines_of_code(node, source) > CODE:
            length = lines_of_code(node, source)
            found.append(f"{node.name} has {length} lines of code, {CODE} at most; part it")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_and_no_function_is_too_long(path):
    assert not too_long(path.read_text(encoding="utf-8")), path


def function(code, extra=""):
    return 'def f():\n    """One.\n\n    More.\n    """\n' + extra + "    x = 1\n" * (code - 1)


@pytest.mark.parametrize(
    ("source", "complaints"),
    [
        ("x = 1\n" * LINES, 0),
        ("x = 1\n" * (LINES + 1), 1),
        (function(CODE), 0),
        (function(CODE + 1), 1),
        (function(CODE, extra="\n    # why\n\n"), 0),
        ("class A:\n    async " + function(CODE + 1).replace("\n", "\n    "), 1),
        (function(CODE - 1, extra="    def g():\n        '''G.'''\n"), 0),
        (function(CODE, extra="    def g():\n        '''G.'''\n"), 1),
    ],
)
def test_what_is_too_long_is_seen(source, complaints):
    assert len(too_long(source)) == complaints
