"""The examples run, and do what they say."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from softrec.data.interactions import Sequences

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def own_target():
    spec = importlib.util.spec_from_file_location("own_target", EXAMPLES / "own_target.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_neighbours_are_counted_by_hand(own_target):
    log = Sequences.of([[0, 1, 2], [1, 0], [1, 2], [3]])
    source = own_target.co_occurrence(log, n_items=5, k=2)
    table = np.zeros((5, 5))
    np.add.at(table, (np.arange(5)[:, None], source.items.numpy()), source.shares.numpy())
    # Neighbours, either side: 0-1 twice, 1-2 twice; 3 stands alone and 4 does not occur.
    expected = np.eye(5)
    expected[:3] = [[0, 1, 0, 0, 0], [0.5, 0, 0.5, 0, 0], [0, 1, 0, 0, 0]]
    np.testing.assert_allclose(table, expected, atol=1e-7)


def test_only_the_most_frequent_neighbours_stay(own_target):
    log = Sequences.of([[0, 1], [0, 1], [0, 2]])
    source = own_target.co_occurrence(log, n_items=3, k=1)
    assert source.items[0].tolist() == [1]
    assert source.shares[0].tolist() == [1.0]


# Lightning's own use of PyTorch; no part of what is tested here.
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_the_example_runs(own_target):
    found = own_target.main(n_items=60, n_users=80, epochs=1)
    assert list(found) == ["one-hot", "own"]
    assert all(math.isfinite(value) and 0 <= value <= 1 for value in found.values())
    assert found["one-hot"] != found["own"], "the target changed nothing"
