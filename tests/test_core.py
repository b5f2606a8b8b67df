"""softrec as it is installed without an extra: it trains, evaluates and recommends."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from softrec.extras import EXTRAS

WITHOUT = Path(__file__).with_name("without.py")
HIDDEN = sorted({*EXTRAS, "pandas", "sqlalchemy"})
IMPORTS = """
import importlib, pkgutil, softrec
drawing = {"advice", "charts", "costs", "document", "figures", "grids", "history", "latex", "looks",
           "markdown", "plots", "reliability", "reproduction_tables", "rows", "slices", "write"}
later = {"softrec.__main__", "softrec.experiments.tuning.study"}
later |= {f"softrec.report.{name}" for name in drawing}
for part in pkgutil.walk_packages(softrec.__path__, "softrec."):
    if part.name not in later and not part.name.startswith("softrec.serving.http."):
        importlib.import_module(part.name)
"""
JOURNEY = """
import warnings
warnings.simplefilter("ignore")
import polars as pl
import softrec
from softrec.experiments.evaluate import judged

tiny = {"epochs": 1, "batch_size": 64, "length": 5, "model.dim": 4, "model.layers": 1}
runs = {name: softrec.fit(f"log.{name}", out=name, target="pop+", progress=False, **tiny)
        for name in ("csv", "parquet")}
run = softrec.open_run("csv")
assert runs["csv"].test == runs["parquet"].test == run.test
table, _ = judged(run, "valid", ["ndcg@5"])
best = run.recommender().recommend(users=[3], histories={"new": [1, 2]}, k=4)
print(len(table), best["user"].unique(maintain_order=True).to_list(), len(best))
"""
REFUSED = """
import softrec
from softrec.errors import SoftrecError

options = {"epochs": 1, "progress": False, "out": "run"}
works = {
    "compare": lambda: softrec.compare("log.csv", **options),
    "tune": lambda: softrec.tune("log.csv", **options),
    "judge": lambda: softrec.evaluate_lists("log.csv", "log.csv", out="run", progress=False),
    "reproduce": lambda: softrec.reproduce("softrec", out="run", progress=False),
    "markov": lambda: softrec.fit("log.csv", model="markov", out="run", progress=False),
}
for name, work in works.items():
    try:
        work()
        print(name, "works")
    except SoftrecError as error:
        print(name, error)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("core")
    item = np.random.default_rng(0).integers(10, size=(20, 1)) + np.arange(6)
    log = pl.DataFrame({"user": np.repeat(np.arange(20), 6), "item": item.ravel() % 10})
    log.write_csv(folder / "log.csv")
    log.write_parquet(folder / "log.parquet")
    return folder


def said(code: str, folder, hidden=HIDDEN) -> str:
    """What code prints without some packages."""
    done = subprocess.run(
        [sys.executable, WITHOUT, ",".join(hidden), code], capture_output=True, text=True,
        check=False, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_all_but_what_draws_is_imported(folder):
    assert said(IMPORTS, folder) == ""


@pytest.mark.slow
def test_the_core_trains_evaluates_and_recommends(folder):
    assert said(JOURNEY, folder).splitlines()[-1] == "20 ['3', 'new'] 8"


@pytest.mark.slow
def test_what_needs_an_extra_names_it_and_does_nothing(folder):
    lines = said(REFUSED, folder).splitlines()
    assert [line.split()[0] for line in lines] == [
        "compare",
        "tune",
        "judge",
        "reproduce",
        "markov",
    ]
    extras = ["report", "tune", "report", "report", "baselines"]
    for line, extra in zip(lines, extras, strict=True):
        assert f'install it with: pip install "softrec[{extra}]"' in line
    assert "a report needs matplotlib, which cannot be imported" in lines[0]
    assert "counting items that occur together needs scipy" in lines[-1]
    assert not (folder / "run").exists()


@pytest.mark.slow
def test_a_report_needs_both_of_its_packages(folder):
    assert "a report needs scipy" in said(REFUSED, folder, ["scipy"]).splitlines()[0]
