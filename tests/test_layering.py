"""Who may import whom: the layers of the library, read from its import statements."""

import ast
import sys
from pathlib import Path

import pytest

import softrec

ROOT = Path(softrec.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
BASE = {
    "types",
    "errors",
    "extras",
    "blocks",
    "caches",
    "limits",
    "progress",
    "renamed",
    "cuda",
    "parallel",
}
NAMED = {"registry", "settings"}  # what can be chosen by name

# What a part may import of softrec, beside itself. Parts not named here may import everything:
# they put the others together.
MAY_IMPORT = {
    "blocks": set(),
    "caches": set(),
    "limits": {"caches"},
    "averages": set(),
    "csr": set(),
    "products": {"extras", "blocks", "limits"},
    "progress": set(),
    "errors": set(),
    "renamed": {"errors"},
    "extras": {"errors"},
    "cuda": {"errors"},
    "parallel": {"errors", "progress"},
    "types": set(),
    "files": set(),
    "settings": set(),
    "registry": {"errors", "settings"},
    "training_data": {"types", "data", "scoring"},
    "interacted": set(),
    "data": BASE | {"registry", "interacted", "files"},
    "models": BASE | {"registry", "products"},
    "targets": BASE | NAMED | {"averages", "csr", "products", "scoring", "training_data"},
    "losses": {"types", "blocks", "limits", "csr", "scoring", "parallel"} | NAMED,
    "scoring": {"types"},
    "candidates": BASE | NAMED | {"interacted", "training_data"},
    "objective": BASE | {"losses", "scoring", "candidates"},
    "retrieval": {"types", "blocks", "limits", "parallel"},
    "weights": BASE | NAMED | {"data", "retrieval", "scoring", "training_data"},
    "training": BASE | {"averages", "files", "data", "objective"},
    "evaluation": BASE | {"registry", "data", "retrieval", "interacted"},
    "serving": BASE | {"files", "data", "models", "retrieval", "scoring"},
    "simulation": BASE | {"data", "evaluation"},
    "recipe": BASE
    | NAMED
    | {"data", "evaluation", "models", "simulation", "targets", "losses", "candidates", "weights"},
    "report": BASE | {"files", "evaluation"},
    # what a function of a user returns is asked as in a training
    "adapters": BASE | NAMED | {"data", "losses", "targets", "recipe", "testing"},
}
EVERYTHING = {"", "__main__", "cli", "experiments", "testing"}
FROM_DATA = "targets/build"  # makes sources of targets out of logs


def module_of(path):
    """softrec/data/splits.py -> softrec.data.splits, and the package relative imports start at."""
    parts = ("softrec", *path.relative_to(ROOT).with_suffix("").parts)
    if parts[-1] == "__init__":
        return parts[:-1], parts[:-1]
    return parts, parts[:-1]


def imports_of(path, source=None):
    """Yield (line, module) for each import of a file, wherever it stands."""
    _, package = module_of(path)
    for node in ast.walk(ast.parse(source or path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*start, *([node.module] if node.module else [])])
            if base == "softrec":  # `from softrec import data`: the names are the modules
                yield from ((node.lineno, f"softrec.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, base


def part_of(module):
    """softrec.data.splits -> data; softrec -> the empty name."""
    return [*module.split("."), ""][1]


def broken(path, source=None):
    """Return each import of a file that its layer does not allow."""
    part = part_of(".".join(module_of(path)[0]))
    if part in EVERYTHING:
        return []
    allowed = MAY_IMPORT[part] | {part}
    if path.relative_to(ROOT).as_posix().startswith(FROM_DATA):
        allowed = allowed | {"data"}
    found = []
    for line, module in imports_of(path, source):
        top = module.split(".")[0]
        if top == "softrec":
            wrong = part_of(module) not in allowed
        else:
            foreign = top not in sys.stdlib_module_names and top != "torch"
            wrong = part == "losses" and foreign
        if wrong:
            place = f"{path.relative_to(ROOT.parent).as_posix()}:{line}"
            found.append(f"{place} imports {module}; {part} may import {sorted(allowed)}")
    return found


def test_every_part_has_a_layer():
    parts = {part_of(".".join(module_of(path)[0])) for path in FILES}
    assert parts <= MAY_IMPORT.keys() | EVERYTHING, "a new part: say here what it may import"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_layers(path):
    assert not broken(path), "\n".join(broken(path))


@pytest.mark.parametrize(
    ("file", "source", "module"),
    [
        ("losses/softmax.py", "import numpy as np", "numpy"),
        ("losses/softmax.py", "from softrec.targets.dense import DenseTarget", "softrec.targets"),
        ("models/sasrec.py", "def f():\n    from softrec import losses", "softrec.losses"),
        ("models/sasrec.py", "from ..data.splits import Split", "softrec.data.splits"),
        ("models/sasrec.py", "from .. import data", "softrec.data"),
        ("targets/dense.py", "from softrec.data.splits import Split", "softrec.data.splits"),
        ("types/batch.py", "import softrec.errors", "softrec.errors"),
        ("retrieval/whole.py", "import softrec.data", "softrec.data"),
        ("evaluation/metrics.py", "from softrec.models import sasrec", "softrec.models"),
    ],
)
def test_forbidden_imports_are_seen(file, source, module):
    (found,) = broken(ROOT / file, source)
    assert file in found
    assert f"imports {module}" in found


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("targets/build/neighbours.py", "from softrec.data.splits import Split"),
        ("losses/softmax.py", "import math\nimport torch.nn\nfrom softrec.types import Batch"),
        ("losses/streaming.py", "from .softmax import Parts"),
        ("experiments/build/data.py", "from softrec.serving import recommender"),
    ],
)
def test_allowed_imports_are_not(file, source):
    assert broken(ROOT / file, source) == []
