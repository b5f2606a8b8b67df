"""The examples run, check what they bring, and are short."""

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
LONGEST = 60  # lines
# Lightning's own use of PyTorch; no part of what is tested here.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
]
SMALL = {"data.shop": {"n_items": 40, "n_users": 60}, "epochs": 1, "length": 5, "progress": False}


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


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs(example, name, tmp_path):
    found = example(name).main(str(tmp_path / "out"), **SMALL)
    assert (found.folder / "report.html").is_file()
    base, other = found.results.trained
    assert other.difference_in("ndcg@10").n > 0
    assert base.test != other.test, "the target changed nothing"
    runs = [softrec.open_run(folder) for folder in (found.folder / "runs").iterdir()]
    assert {one["module"] for run in runs for one in run.facts["plugins"]} == {name}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_short(name):
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= LONGEST


class Counted:
    """What the example's target is fitted on."""

    def __init__(self, lists, n_items):
        self.split = self.train = self
        self.sequences, self.n_items = Sequences.of(lists), n_items


def test_neighbours_are_counted_by_hand(example):
    training = Counted([[0, 1, 2], [1, 0], [1, 2], [3]], n_items=5)
    source = example("own_target").co_occurrence(training, k=2)
    table = np.zeros((5, 5))
    np.add.at(table, (np.arange(5)[:, None], source.items.numpy()), source.probs.numpy())
    # Neighbours, either side: 0-1 twice, 1-2 twice; 3 stands alone and 4 does not occur.
    expected = np.eye(5)
    expected[:3] = [[0, 1, 0, 0, 0], [0.5, 0, 0.5, 0, 0], [0, 1, 0, 0, 0]]
    np.testing.assert_allclose(table, expected, atol=1e-7)


def test_only_the_most_frequent_neighbours_stay(example):
    training = Counted([[0, 1], [0, 1], [0, 2]], n_items=3)
    source = example("own_target").co_occurrence(training, k=1)
    assert source.items[0].tolist() == [1]
    assert source.probs[0].tolist() == [1.0]
