"""Run folders that releases wrote are opened for ever, and recommend what they did then.

A release adds a folder of its version to tests/runs/, made of the simulated shop, and changes none
of the others. Beside each run is what it recommended, as JSON.
"""

import json
from pathlib import Path

import pytest

import softrec

RUNS = Path(__file__).parent / "runs"
KEPT = sorted(path for path in RUNS.glob("*/*") if path.is_dir())


def test_there_are_runs_of_the_first_release():
    assert {path.name for path in KEPT if path.parent.name == "0.1.0"} == {
        "gru4rec-pop",
        "item-knn",
    }


@pytest.mark.parametrize("folder", KEPT, ids=lambda path: path.relative_to(RUNS).as_posix())
def test_a_run_of_a_release_recommends_what_it_did(folder):
    told = json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))
    run = softrec.open_run(folder)
    users = sorted({user for user, *_ in told["lists"]})
    lists = run.recommender().recommend(users=users, k=5).select("user", "item", "rank", "score")
    for found, expected in zip(lists.rows(), told["lists"], strict=True):
        assert list(found[:3]) == expected[:3]
        assert found[3] == pytest.approx(expected[3], rel=1e-4)
    assert run.evaluate() == pytest.approx(told["test"])
