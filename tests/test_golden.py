"""Losses and gradients of a first step stay what they were, whatever is rebuilt."""

import json

import pytest
import torch
from torch import nn

from golden import KEPT, measured

WITHIN = 2e-4  # of float32 sums on another machine
DRAWN = [5288.571554660797, -367.28421763144433, 4756.20652994141, -410.80234354315326]
"""What `drawn` returned where golden.json was written, with torch 2.13."""


def drawn() -> list[float]:
    """Return a sum of each kind of random numbers that a first step uses."""
    torch.manual_seed(0)
    dropped = nn.functional.dropout(torch.ones(100), 0.3)
    started = nn.init.trunc_normal_(torch.empty(100))
    kinds = (dropped, started, torch.empty(100).exponential_(), torch.randn(100))
    return [float(numbers.double() @ torch.arange(100).double()) for numbers in kinds]


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    if drawn() != pytest.approx(DRAWN, rel=1e-5):  # torch 2.6: other dropout, other weights
        pytest.skip(f"torch {torch.__version__} draws other random numbers from the same seed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("SOFTREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        return measured(runs=False)


@pytest.mark.parametrize("name", [name for name in json.loads(KEPT.read_text()) if "step" in name])
def test_the_first_step_is_what_it_was(now, name):
    kept = json.loads(KEPT.read_text())[name]
    assert now[name]["loss"] == pytest.approx(kept["loss"], rel=WITHIN)
    assert now[name]["parts"] == pytest.approx(kept["parts"], rel=WITHIN, abs=1e-6)
    shapes, sizes, places = zip(*now[name]["gradients"], strict=True)
    kept_shapes, kept_sizes, kept_places = zip(*kept["gradients"], strict=True)
    assert shapes == kept_shapes
    assert sizes == pytest.approx(kept_sizes, rel=WITHIN, abs=1e-6)
    assert places == pytest.approx(kept_places, rel=WITHIN, abs=WITHIN * max(kept_sizes))


def test_all_that_is_measured_is_kept(now):
    kept = {name for name in json.loads(KEPT.read_text()) if name.startswith("step")}
    assert now.keys() == kept
