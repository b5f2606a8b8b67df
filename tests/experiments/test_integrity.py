"""What is hashed when, and what is seen."""

import os

import pytest

from softrec.experiments.store import integrity
from softrec.experiments.store.integrity import changed, hash_of, sealed


@pytest.fixture(autouse=True)
def reads(tmp_path, monkeypatch, limit):
    """Count how often a file is read; every file is a large one."""
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "cache"))
    limit(hashed=1)
    read, whole = [], integrity.sha256_of
    monkeypatch.setattr(integrity, "sha256_of", lambda path: read.append(path) or whole(path))
    return read


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / "weights"
    path.write_bytes(b"one")
    return path


def test_a_large_file_is_read_once(weights, reads):
    files = sealed(weights.parent, ["weights"])
    for _ in range(3):
        assert changed(weights.parent, files) is None
    weights.parent.rename(weights.parent.with_name("renamed"))
    assert changed(weights.parent.with_name("renamed"), files) is None
    assert len(reads) == 1


def test_a_change_of_the_same_size_is_seen(weights):
    files = sealed(weights.parent, ["weights"])
    before = weights.stat()
    weights.write_bytes(b"two")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # who changed it hides it
    assert "weights was changed: its content is not what softrec wrote" in changed(
        weights.parent, files
    )
    weights.write_bytes(b"three")
    assert "its size is 5 bytes, expected 3" in changed(weights.parent, files)
    weights.unlink()
    assert "weights is missing" in changed(weights.parent, files)


def test_a_wrong_record_accuses_nobody(weights, tmp_path):
    files = sealed(weights.parent, ["weights"])
    (record,) = (tmp_path / "cache" / "hashes").iterdir()
    for text in ("", "{}", record.read_text().replace("content", "contents")):
        record.write_text(text)
        assert changed(weights.parent, files) is None
    facts = integrity.read_facts(record)
    integrity.write_facts(record, {**facts, "content": "0" * 64})
    assert changed(weights.parent, files) is None


def test_without_a_cache_to_write_to(weights, monkeypatch, tmp_path, reads):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SOFTREC_CACHE", str(tmp_path / "file"))
    assert hash_of(weights) == hash_of(weights)
    assert len(reads) == 2
