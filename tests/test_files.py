"""Files are whole or not there, and plain data knows its own hash."""

import json
import os

import pytest

from messages import refused
from softrec.files import link, read_facts, replacing, write_facts, write_text


def test_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "text"
    write_text(path, "old")

    def dies(fresh):
        fresh.write_text("ne")
        raise ValueError("half")

    with refused(ValueError), replacing(path) as fresh:
        dies(fresh)
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_neighbour_of_the_user_is_left_alone(tmp_path):
    (tmp_path / "best.csv.part").write_text("mine")
    write_text(tmp_path / "best.csv", "ours")
    assert (tmp_path / "best.csv.part").read_text() == "mine"


def test_the_mode_is_that_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with replacing(tmp_path / "weights") as fresh:
        fresh.unlink()
        os.close(os.open(fresh, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "plain").stat().st_mode


FACTS = {"a": [1, 2.5, None, True], "b": {"c": "é", "d": float("inf")}}


def test_facts_come_back(tmp_path):
    write_facts(tmp_path / "facts.json", FACTS)
    assert read_facts(tmp_path / "facts.json") == FACTS
    written = json.loads((tmp_path / "facts.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps(dict(reversed(written.items()))))
    assert read_facts(tmp_path / "other.json") == FACTS


def test_every_flipped_bit_of_facts_is_seen_or_means_the_same(tmp_path):
    path = tmp_path / "facts.json"
    write_facts(path, FACTS)
    whole = path.read_bytes()
    for place in range(len(whole)):
        for bit in range(8):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            path.write_bytes(changed)
            try:
                assert read_facts(path) == FACTS
            except ValueError:
                continue


def test_equal_files_are_shared_and_stay_apart_when_written_anew(tmp_path):
    twin, path = tmp_path / "twin", tmp_path / "path"
    for file in (twin, path):
        file.write_text("the same")
    assert link(path, twin)
    assert path.samefile(twin)
    assert link(path, twin)
    assert sorted(tmp_path.iterdir()) == [path, twin]
    write_text(path, "another")
    assert twin.read_text() == "the same"
    twin.unlink()
    assert path.read_text() == "another"


@pytest.mark.parametrize("other", [None, "something else"])
def test_files_that_differ_are_not_shared(tmp_path, other):
    twin, path = tmp_path / "twin", tmp_path / "path"
    path.write_text("mine")
    if other is not None:
        twin.write_text(other)
    assert not link(path, twin)
    assert path.read_text() == "mine"
    assert path.stat().st_nlink == 1


def test_where_links_cannot_be_made_a_file_stays_its_own(tmp_path, monkeypatch):
    for name in ("twin", "path"):
        (tmp_path / name).write_text("the same")

    def refuses(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr("pathlib.Path.hardlink_to", refuses)
    assert not link(tmp_path / "path", tmp_path / "twin")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["path", "twin"]
    assert (tmp_path / "path").stat().st_nlink == 1
