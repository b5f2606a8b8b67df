"""The comparison with other libraries, with softrec alone: the others need environments."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.peers import __main__ as peers
from benchmarks.peers import tasks
from rich.console import Console

pytestmark = pytest.mark.slow

SIZES = {"length": 6, "batch": 64, "dim": 8}


@pytest.mark.parametrize("name", ["sasrec", "mf"])
def test_a_worker_trains_in_turns_and_its_lists_are_evaluated(name: str) -> None:
    """Random lists of the shop have an NDCG below 0.01, and two epochs are far above that."""
    task = tasks.TASKS[name]
    small = replace(
        task, source="shop", peers=("softrec",), epochs=2, sizes={**task.sizes, **SIZES, "lr": 0.01}
    )
    found = peers.run(name, small, 1, None, Console(quiet=True))["found"]["softrec"]
    assert len(found["epochs"]) == 2
    assert all(epoch["seconds"] > 0 for epoch in found["epochs"])
    assert found["lists"]["peak"] > 50
    assert 0.02 < found["ndcg"] < 1


def test_a_library_without_an_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path))
    with pytest.raises(SystemExit) as stopped:
        peers.run("sasrec", tasks.TASKS["sasrec"], 1, None, Console(quiet=True))
    assert "no environment of replay, rectools" in str(stopped.value)


def test_each_library_has_a_script_and_pinned_requirements() -> None:
    scripts = {path.stem.removeprefix("with_") for path in peers.HERE.glob("with_*.py")}
    named = {peer for task in tasks.TASKS.values() for peer in task.peers}
    assert scripts == named
    assert set(peers.PEERS) == named - {"softrec"}
    lines = [line for name in peers.PEERS for line in _requirements(name).splitlines()]
    assert all("==" in line for line in lines)


def _requirements(name: str) -> str:
    return Path(peers.HERE / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
