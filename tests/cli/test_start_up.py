"""What is imported before a command runs: of the library, nothing that takes long."""

import json
import subprocess
import sys

import pytest
import typer

from softrec.cli import main as cli

ROOT = typer.main.get_command(cli.app)
COMMANDS = [name for name in ROOT.commands if name not in ("data", "cache")]
HEAVY = ("torch", "lightning", "pytorch_lightning", "polars", "pyarrow", "numpy", "scipy",
         "sklearn", "matplotlib", "pandas", "faiss", "gensim", "optuna", "tensorboard")  # fmt: skip
WATCH = """
import contextlib, io, json, sys
heavy, *lines = json.loads(sys.argv[1])
import softrec
found = {"import softrec": (0, sorted(set(heavy) & set(sys.modules)), "")}
from softrec.cli.main import main
for line in lines:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(line.split())
        except SystemExit as done:
            code = done.code
    found[line] = code, sorted(set(heavy) & set(sys.modules)), out.getvalue()
print(json.dumps(found))
"""
HELP = ["--help", "--version", "recipes", *(f"{name} --help" for name in COMMANDS)]
HELP += ["data --help", "cache --help", "data list --help"]
REFUSED = {
    "fit --nope": "No such option: --nope",
    "fit log.csv": "Missing option '--out'",
    "fit log.csv --out run --epochs many": "unable to parse string as an integer",
    "compare log.csv --out run --seeds 0": "should be greater than or equal to 1",
    "nothing": "No such command 'nothing'",
    "fit none.yaml --out run": "cannot read the recipe none.yaml",
    "recommend none --user ann": "no run.json) and no export (no manifest.json)",
    "index none": "there is no finished run in none (no run.json) and no export (no manifest.json)",
    "evaluate none": "there is no finished run in none (no run.json)",
    "fit none.csv --out run": "there is no file, folder or data set 'none.csv'; the data sets are",
    "compare diginetika --out run": "there is no file, folder or data set 'diginetika'",
    "report none": "there is no finished comparison in none (no results.json)",
}


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """What each line of the command line gives, all in one process: nothing is unloaded."""
    given = json.dumps([HEAVY, *HELP, *REFUSED])
    done = subprocess.run([sys.executable, "-c", WATCH, given], capture_output=True, text=True,
                          check=True, cwd=tmp_path_factory.mktemp("empty"))  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.parametrize("line", ["import softrec", *HELP])
def test_help_imports_nothing_that_takes_long(watched, line):
    code, heavy, _ = watched[line]
    assert (code, heavy) == (0, [])


@pytest.mark.parametrize("line", REFUSED)
def test_what_cannot_be_is_refused_without_the_library(watched, line):
    code, heavy, said = watched[line]
    assert code == 2
    assert REFUSED[line] in " ".join(said.replace("│", " ").split())
    assert heavy == []


def test_the_library_is_loaded_by_what_needs_it():
    code = "import sys, softrec; softrec.fit; assert 'torch' not in sys.modules; softrec.Objective"
    code += "; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
