"""A new member is one file: nothing else names it, and everything knows it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import softrec
from softrec.files import read_facts

SOURCE = Path(softrec.__file__).parent
NEW = """
from softrec.settings import Alpha, setting
from softrec.targets.settings import TargetSettings
from softrec.targets.smoothing import UniformTarget

class FlatSettings(TargetSettings, name="quite-flat"):
    '''The same for all.'''

    alpha: Alpha = setting(0.25, "weight of the soft target")

    def build(self, training):
        return UniformTarget(training.n_items)
"""
# The package is imported anew, with the file; one process for all, as its imports take longest.
CALLS = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
import softrec.targets
softrec.targets.__path__.append(sys.argv[1])  # as if the file lay in the package
from softrec.cli.main import main as softrec
from softrec.recipe.tables import main as tables

told = []
for command in json.loads(sys.argv[2]):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            tables(command[1:]) if command[0] == "tables" else softrec(command)
        except SystemExit as done:
            code = done.code
    told.append({"code": code, "out": out.getvalue(), "err": err.getvalue()})
print(json.dumps(told))
"""
PAGE = "<!-- generated: names of target -->\n<!-- end -->\n"
FEW = ["--set", "data.shop={n_items: 30, n_users: 20}", "--set", "model.dim=4",
       "--epochs", "1", "--model", "gru4rec"]  # fmt: skip
COMMANDS = {
    "wrong": ["fit", "shop", "-o", "run", "--target", "quite-flatt"],
    "fit": ["fit", "shop", "-o", "run", "--target", "quite-flat", *FEW],
    # `make docs` writes its row and the table of the help; nobody does by hand
    "docs": ["tables", "page.md", "listed.json"],
    "settings": ["settings", "target.quite-flat"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the file lies, and a page of the documents."""
    path = tmp_path_factory.mktemp("one-file")
    (path / "quite_flat.py").write_text(NEW)
    (path / "page.md").write_text(PAGE)
    return path


@pytest.fixture(scope="module")
def told(folder):
    """Exit code and output of each command, where the file is in the package."""
    environment = {**os.environ, "COLUMNS": "200", "SOFTREC_CACHE": str(folder / "cache")}
    arguments = [str(folder), json.dumps(list(COMMANDS.values()))]
    done = subprocess.run([sys.executable, "-c", CALLS, *arguments], cwd=folder, env=environment,
                          capture_output=True, text=True, check=True)  # fmt: skip
    return dict(zip(COMMANDS, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.slow
def test_a_file_in_the_package_is_a_member(folder, told):
    assert told["wrong"]["code"] == 2
    assert "did you mean quite-flat?" in " ".join(told["wrong"]["err"].split())
    assert told["fit"]["code"] == 0, told["fit"]["err"]
    assert read_facts(folder / "run" / "run.json")["soft_weight"] == 0.25


def test_a_file_in_the_package_is_in_the_documents(folder, told):
    assert told["docs"]["code"] == 0, told["docs"]["err"]
    row = "| quite-flat | alpha (0.25) | The same for all. |"
    assert row in (folder / "page.md").read_text().splitlines()
    assert "quite-flat" in (folder / "listed.json").read_text()
    assert told["settings"]["out"].splitlines() == [
        "target quite-flat: The same for all.",
        "    mass how the weight of the soft target differs between examples and epochs, by its "
        "`by` or with its settings; by default it is the same",
        "    alpha (0.25) weight of the soft target",
    ]


@pytest.mark.parametrize(
    "name",
    ["csn", "interest-sharing", "weighted-bpr", "bce-sum", "gbce", "ccl", "cml",
     "deepfm", "caser", "lastfm-1k-sample", "mrr"],
)  # fmt: skip
def test_the_name_of_a_member_stands_once(name):
    quoted = re.compile(rf"""["']{re.escape(name)}["']""")
    files = [path for path in SOURCE.rglob("*.py") if path.name != "__init__.py"]  # exports
    text = [path.read_text(encoding="utf-8") for path in files]
    named = sum(len(quoted.findall(one)) for one in text)
    decorated = sum(one.count(f"@METRICS.named()\ndef {name}(") for one in text)
    assert named + decorated == 1
