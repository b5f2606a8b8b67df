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


OURS = {"softrec", "benchmarks", *(path.stem for path in PLACES)}
PUBLIC = r"_(replace|asdict|fields|make|repr_\w+_)"  # of named tuples, and of IPython


def ours(module):
    return module.partition(".")[0] in OURS


def private(name):
    return re.match("_(?!_)", name) is not None and re.fullmatch(PUBLIC, name) is None


def imported(tree):
    """Yield the line, the dotted name of what is imported, and what it is called here."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            above = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for one in node.names:
                yield node.lineno, above + one.name, one.asname or one.name.partition(".")[0]


def looked_up(tree):
    """Yield the line, the object and the name of each attribute, also of `getattr`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.lineno, ast.unparse(node.value), node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            yield node.lineno, ast.unparse(node.args[0]), str(getattr(node.args[1], "value", ""))


def private_uses(text):
    """Yield the line and the private name of softrec that a test file uses.

    Whatever is not imported from elsewhere may be of softrec; only `self` is the test's own.
    """
    tree = ast.parse(text)
    for line, name, _ in imported(tree):
        if ours(name) and any(map(private, name.split("."))):
            yield line, name
    known = {"self", "cls"}
    elsewhere = {here for _, name, here in imported(tree) if not ours(name)}
    for line, owner, name in looked_up(tree):
        if private(name) and owner not in known and owner.partition(".")[0] not in elsewhere:
            yield line, f"{owner}.{name}"


def test_no_private_name_is_used():
    """What a test needs is public, or is tested through what is."""
    assert {
        f"{path.relative_to(HERE)}:{line} {name}"
        for path, text in PLACES.items()
        for line, name in private_uses(text)
    } == set()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("from softrec.report.grids import _red_line", True),
        ("from softrec.report import (\n    charts,\n    _grids as grids,\n)", True),
        ("from softrec._made import one", True),
        ("import benchmarks._made", True),
        ("from fields import _BASE", True),
        ("from softrec.report import grids\ngrids._red_line({})", True),
        ("import softrec\nsoftrec.report.grids._red_line({})", True),
        ("model._near(x)", True),
        ("self.model._near(x)", True),
        ("made(1)._blocks()", True),
        ("registry._members = {}", True),
        ("streaming._kept.__dict__.clear()", True),
        ("getattr(model, '_near')", True),
        ("from torch.utils._pytree import tree_leaves", False),
        ("import os\nos._exit(0)", False),
        ("import torch\ntorch.utils._pytree.tree_leaves(x)", False),
        ("self._open = []", False),
        ("batch._replace(label=x)", False),
        ("run._repr_html_()", False),
        ("model.__dict__", False),
        ("from softrec.report.grids import over as _over", False),
        ("getattr(model, name)", False),
        ("for _, row in rows:\n    row.copy()", False),
    ],
)
def test_a_private_name_is_seen(text, wrong):
    assert len(list(private_uses(text))) == wrong
