"""What tests are not tied to: prose (`messages.txt` has it once), private names and constants."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PLACES = {path: path.read_text() for path in HERE.rglob("*.py")}
PLACES.pop(Path(__file__))
REPLACING = ("setattr", "delattr", "setitem", "delitem")  # of pytest's monkeypatch
PATCHING = ("patch", "patch.object", "patch.dict", "patch.multiple")  # of unittest.mock


def found(pattern):
    """Return how many places of each file fit."""
    counts = {path: len(re.findall(pattern, text)) for path, text in PLACES.items()}
    counts.pop(HERE / "messages.py")  # where they are kept
    return {str(path.relative_to(HERE)): count for path, count in counts.items() if count}


@pytest.mark.parametrize("check", ["raises", "warns"])
def test_words_of_errors_are_kept_once(check):
    assert found(rf"pytest\.{check}\([^\n]*\n?[^\n]*\bmatch=") == {}


def replaced(text):
    """Yield the line and the dotted name of whatever a test file replaces."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = ast.unparse(node.func)
        if called.rpartition(".")[2] in REPLACING or called.endswith(PATCHING):
            places = [
                str(arg.value) if isinstance(arg, ast.Constant) else ast.unparse(arg)
                for arg in node.args[:2]
            ]
            if called.endswith(("setitem", "delitem", "dict")):
                places = places[:1]  # the key is data
            yield node.lineno, ".".join([*places, *(word.arg or "" for word in node.keywords)])


def tied(name):
    """Tell whether a dotted name has a private part, or a constant."""
    return re.search(r"(^|\.)(_(?!_)\w*|[A-Z][A-Z0-9_]+)($|\.)", name) is not None


def test_no_private_name_and_no_constant_is_replaced():
    """Limits are set by `limit`, members entered by `restored`; the rest has public places."""
    assert {
        f"{path.relative_to(HERE)}:{line} {name}"
        for path, text in PLACES.items()
        for line, name in replaced(text)
        if tied(name)
    } == set()


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ('monkeypatch.setattr(module, "BLOCK", 3)', True),
        ('monkeypatch.setattr(\n    module,\n    "_written", f)', True),
        ('m.setattr("softrec.experiments.train._write", f)', True),
        ('monkeypatch.setattr(gathers._PairLogits, "apply", f)', True),
        ('monkeypatch.setitem(tisasrec.NUMBERS, "cpu", 3)', True),
        ('monkeypatch.delattr(module, "B2_C")', True),
        ("patch.multiple(module, TERMS=3)", True),
        ('mock.patch.object(module, "_f", f)', True),
        ('patch("softrec.a.B_C", 3)', True),
        ('monkeypatch.setattr(module, "written", f)', False),
        ('monkeypatch.setattr(Noise, "quantile", f)', False),
        ('monkeypatch.setattr("softrec.a.versions", f)', False),
        ('monkeypatch.setitem(sys.modules, "IPython", None)', False),
        ('monkeypatch.setenv("SOFTREC_CACHE", "x")', False),
        ('monkeypatch.setattr(A, "__init__", f)', False),
    ],
)
def test_what_is_replaced_is_seen(line, wrong):
    assert [tied(name) for _, name in replaced(line)] == [wrong][: "env" not in line]
