"""Artifacts: made once, found again by what they depend on, never half."""

import json

import pytest

from messages import warned
from softrec.experiments.store import artifacts
from softrec.experiments.store.artifacts import DamagedArtifactWarning, artifact

FACTS = {"data": {"users": 3}, "k": 10}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path))
    return tmp_path


class Making:
    """Writes a file, and counts how often it was asked to."""

    def __init__(self, text="whole"):
        self.text = text
        self.times = 0

    def __call__(self, folder):
        self.times += 1
        (folder / "made.txt").write_text(self.text)


def test_made_once_and_found_again(cache):
    make = Making()
    folder = artifact("kind", FACTS, make)
    assert artifact("kind", FACTS, make) == folder
    assert make.times == 1
    assert (folder / "made.txt").read_text() == "whole"
    assert folder.parent == cache / "artifacts" / "kind"
    assert json.loads((folder / "facts.json").read_text()) == FACTS


def test_the_order_of_the_facts_does_not_matter():
    make = Making()
    assert artifact("kind", FACTS, make) == artifact("kind", dict(reversed(FACTS.items())), make)
    assert make.times == 1


@pytest.mark.parametrize(
    ("kind", "facts"),
    [("other", FACTS), ("kind", FACTS | {"k": 11}), ("kind", FACTS | {"data": {"users": 4}})],
)
def test_something_else_is_made_anew(kind, facts):
    first = artifact("kind", FACTS, Making("first"))
    second = artifact(kind, facts, Making("second"))
    assert second != first
    assert (first / "made.txt").read_text() == "first"
    assert (second / "made.txt").read_text() == "second"


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, ValueError])
def test_an_interrupted_making_is_no_result(error):
    def interrupted(folder):
        (folder / "half.txt").write_text("ha")
        raise error

    with pytest.raises(error):
        artifact("kind", FACTS, interrupted)
    make = Making()
    folder = artifact("kind", FACTS, make)
    assert make.times == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        "facts.json",
        "files.json",
        "made.txt",
    ]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


DAMAGES = {
    "a changed letter": lambda folder: (folder / "made.txt").write_text("whale"),
    "cut": lambda folder: (folder / "made.txt").write_text("wh"),
    "deleted": lambda folder: (folder / "made.txt").unlink(),
    "other facts": lambda folder: (folder / "facts.json").write_text("{}"),
    "no hashes": lambda folder: (folder / "files.json").unlink(),
    "hashes of another kind": lambda folder: (folder / "files.json").write_text("[1]"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_one_is_made_again_and_that_is_said(what):
    make = Making()
    folder = artifact("kind", FACTS, make)
    DAMAGES[what](folder)
    with warned(DamagedArtifactWarning):
        assert artifact("kind", FACTS, make) == folder
    assert make.times == 2
    assert (folder / "made.txt").read_text() == "whole"
    assert artifacts.damage(folder) is None
    assert artifact("kind", FACTS, make) == folder
    assert make.times == 2


def test_others_may_read_it():
    folder = artifact("kind", FACTS, Making())
    assert folder.stat().st_mode == folder.parent.stat().st_mode
