"""The examples run, check what they bring, and are short."""

import json
import os
import shutil
import socket
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest

import softrec
from softrec.data.interactions import Sequences
from softrec.registry import Registry

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
OWN = ["own_loss", "own_model", "own_target"]
LONGEST = 75  # lines
# Lightning's own use of PyTorch; no part of what is tested here.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    # Users of the small shop come at different times, which leave-last-out warns of.
    pytest.mark.filterwarnings("ignore::softrec.data.aside.LeakageWarning"),
]
TINY = {"data.shop": {"n_items": 40, "n_users": 60}, "epochs": 1, "length": 5, "progress": False}


@pytest.fixture
def example(monkeypatch, tmp_path):
    """Import an example; what it registers is gone after the test."""
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    kept = [(registry, set(registry)) for registry in Registry.all]

    def imported(name):
        spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    yield imported
    for registry, names in kept:
        for name in set(registry) - names:
            del registry[name]


@pytest.mark.parametrize("name", OWN)
def test_a_member_of_ones_own_is_compared(example, name, tmp_path):
    found = example(name).main(str(tmp_path / "out"), **TINY)
    assert (found.folder / "report.html").is_file()
    base, other = found.results.trained
    assert other.difference_in("ndcg@10").n > 0
    assert base.test != other.test, "the target changed nothing"
    runs = [softrec.open_run(folder) for folder in (found.folder / "runs").iterdir()]
    assert {one["module"] for run in runs for one in run.facts["plugins"]} == {name}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= LONGEST


def test_every_example_is_run_here():
    assert sorted([*OWN, "own_loop", "tune", "update"]) == NAMES
    assert [path.name for path in EXAMPLES.glob("*.ipynb")] == ["tour.ipynb"]


def test_a_loop_of_ones_own_learns(example, tmp_path):
    found = example("own_loop").main(str(tmp_path / "out"), epochs=8)
    one_hot, pop = (row.test["ndcg@10"].mean for row in found.results.variants[:2])
    assert one_hot != pop
    assert min(one_hot, pop) > 5 * 0.015, "of lists in random order: 4.5 of 300 places"
    assert (found.folder / "report.html").is_file()


def test_settings_are_searched(example, tmp_path):
    small = {"epochs": 1, "length": 5, "progress": False}
    found = example("tune").main(str(tmp_path / "out"), trials=2, **small)
    assert found.best.settings.keys() >= {"training.lr", "target.alpha", "model.dim"}
    assert 1e-3 <= found.best.settings["training.lr"] <= 1e-2
    assert softrec.fit(found.folder / "best.yaml", out=tmp_path / "again", progress=False).test


def test_a_run_is_updated_and_judged(example, tmp_path):
    found = example("update").main(str(tmp_path / "out"), epochs=1, length=5, progress=False)
    assert found.accepted == found.facts["gate"]["accepted"]
    old = softrec.open_run(tmp_path / "out" / "old")
    assert found.run.facts["data"]["users"] > old.facts["data"]["users"]


class Notebook:
    """The tour, read and run in a folder of its own."""

    def __init__(self, folder):
        import nbformat

        for name in ("tour.ipynb", "shop.csv", "shop-items.csv"):
            shutil.copy(EXAMPLES / name, folder)
        self.folder = folder
        self.book = nbformat.read(folder / "tour.ipynb", as_version=4)

    def run(self):
        """Return what each cell of code printed or showed, by kind."""
        from nbclient import NotebookClient

        book = NotebookClient(self.book, timeout=300, resources={"metadata": {"path": self.folder}})
        return [[out.get("data", out) for out in cell.outputs]
                for cell in book.execute().cells if cell.cell_type == "code"]  # fmt: skip


def test_the_notebook_is_kept_without_its_output(tmp_path):
    code = [cell for cell in Notebook(tmp_path).book.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


def test_the_notebook_runs_and_draws(tmp_path):
    outputs = Notebook(tmp_path).run()
    shown = [out for cell in outputs for out in cell]
    assert any("image/png" in out for out in shown)
    tables = [out["text/html"] for out in shown if "text/html" in out]
    assert any("title" in table and "sku-" in table for table in tables)
    assert (tmp_path / "runs" / "compared" / "report.html").is_file()


SMALL = "--trials 1 --epochs 1 --seeds 1 --set model.dim=8"


@pytest.mark.skipif(not all(map(shutil.which, ("sh", "awk", "curl"))), reason="needs sh, awk, curl")
def test_a_csv_becomes_a_page(tmp_path):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = str(found.getsockname()[1])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    given = {
        **os.environ,
        "PATH": path,
        "PORT": port,
        "SMALL": SMALL,
        "SOFTREC_CACHE": str(tmp_path),
    }
    script = ["sh", str(EXAMPLES / "csv_to_page.sh"), str(tmp_path / "page")]
    ended = subprocess.run(script, env=given, capture_output=True, text=True, timeout=300)
    assert not ended.returncode, ended.stderr[-3000:]
    answer = json.loads((tmp_path / "page" / "answer.json").read_text())
    (best,) = answer["lists"]
    assert len(best["items"]) == 5
    assert all(item["title"] for item in best["items"])
    assert (tmp_path / "page" / "next" / "update.json").is_file()


class Counted:
    """What the example's target is fitted on."""

    def __init__(self, lists, n_items):
        self.split = self.train = self
        self.sequences, self.n_items = Sequences.of(lists), n_items


def test_neighbours_are_counted_by_hand(example):
    training = Counted([[0, 1, 2], [1, 0], [1, 2], [3]], n_items=5)
    source = example("own_target").next_to(training, k=2)
    table = np.zeros((5, 5))
    np.add.at(table, (np.arange(5)[:, None], source.items.numpy()), source.probs.numpy())
    # Neighbours, either side: 0-1 twice, 1-2 twice; 3 stands alone and 4 does not occur.
    expected = np.eye(5)
    expected[:3] = [[0, 1, 0, 0, 0], [0.5, 0, 0.5, 0, 0], [0, 1, 0, 0, 0]]
    np.testing.assert_allclose(table, expected, atol=1e-7)


def test_only_the_most_frequent_neighbours_stay(example):
    training = Counted([[0, 1], [0, 1], [0, 2]], n_items=3)
    source = example("own_target").next_to(training, k=1)
    assert source.items[0].tolist() == [1]
    assert source.probs[0].tolist() == [1.0]
