"""Losses and gradients of a first step stay what they were, whatever is rebuilt."""

import json

import pytest

from golden import KEPT, measured

WITHIN = 2e-4  # of float32 sums on another machine


@pytest.fixture(scope="module")
def now(tmp_path_factory):
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
