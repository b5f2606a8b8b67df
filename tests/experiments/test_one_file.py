"""A new member is one file: nothing else names it, and everything knows it."""

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
CALLS = """
import sys
import softrec.targets
softrec.targets.__path__.append(sys.argv[1])  # as if the file lay in the package
from {module} import main
main(sys.argv[2:])
"""
PAGE = "<!-- generated: names of target -->\n<!-- end -->\n"


def typed(folder, *arguments, module="softrec.cli.main"):
    environment = {**os.environ, "COLUMNS": "200", "SOFTREC_CACHE": str(folder / "cache")}
    code = CALLS.format(module=module)
    return subprocess.run([sys.executable, "-c", code, str(folder), *arguments], cwd=folder,
                          capture_output=True, text=True, check=False, env=environment)  # fmt: skip


def test_a_file_in_the_package_is_a_member(tmp_path):
    (tmp_path / "quite_flat.py").write_text(NEW)
    assert "quite-flat" in typed(tmp_path, "fit", "--help").stdout
    wrong = typed(tmp_path, "fit", "shop", "-o", "run", "--target", "quite-flatt")
    assert "did you mean quite-flat?" in " ".join(wrong.stderr.split())
    few = ["--set", "data.shop={n_items: 30, n_users: 20}", "--set", "model.dim=4"]
    few += ["--epochs", "1", "--model", "gru4rec"]
    made = typed(tmp_path, "fit", "shop", "-o", "run", "--target", "quite-flat", *few)
    assert made.returncode == 0, made.stderr
    assert read_facts(tmp_path / "run" / "run.json")["soft_weight"] == 0.25


def test_a_file_in_the_package_is_in_the_documents(tmp_path):
    """`make docs` writes its row; nobody does by hand."""
    (tmp_path / "quite_flat.py").write_text(NEW)
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    made = typed(tmp_path, "page.md", module="softrec.recipe.tables")
    assert made.returncode == 0, made.stderr
    assert "| quite-flat | alpha (0.25) | The same for all. |" in page.read_text().splitlines()
    listed = typed(tmp_path, "settings", "target.quite-flat").stdout.splitlines()
    assert listed == [
        "target quite-flat: The same for all.",
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
