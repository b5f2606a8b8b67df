"""Files that are whole or not there, and that say themselves whether they were changed.

A file is written beside its place and renamed: a kill leaves the old one or the new one. Plain data
carries the hash of its own content, so that a changed letter is seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

OWN = "sha256"  # the key under which plain data keeps its own hash


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a name to write to, which becomes `path` when all went well, and is gone if not.

    The file can be read by whom new files here can be read by, however its writer makes it.
    """
    fresh = path.with_name(f"{path.name}.{uuid4().hex[:8]}.part")
    fresh.touch(exist_ok=False)
    mode = fresh.stat().st_mode
    try:
        yield fresh
        if fresh.stat().st_mode != mode:  # safetensors writes for the owner alone
            fresh.chmod(mode)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def link(path: Path, twin: Path) -> bool:
    """Make `path` a hard link to `twin` if both hold the same; return whether it is one.

    Two names of one file need the space of one. Nothing is lost where links cannot be made, or
    `twin` is missing or holds something else: `path` stays a file of its own then. Whoever writes
    to such a file must write beside it and rename, as `replacing` does, for to write into it would
    change its twin.
    """
    linked = path.with_name(f"{path.name}.{uuid4().hex[:8]}.part")
    try:
        if path.samefile(twin):
            return True
        if sha256_of(path) != sha256_of(twin):
            return False
        linked.hardlink_to(twin)
        linked.replace(path)
    except OSError:  # another disk, a file system without links, no permission
        return False
    finally:
        linked.unlink(missing_ok=True)
    return True


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write plain data as JSON, with the hash of its content under `sha256`."""
    plain = json.loads(json.dumps(dict(facts)))
    write_text(path, json.dumps({**plain, OWN: _own_hash(plain)}, indent=1))


def read_facts(path: Path) -> dict[str, Any]:
    """Return what `write_facts` wrote, without the hash.

    Raises:
        ValueError: if it is no JSON of that kind, or is not what was written.
        OSError: if it cannot be read.
    """
    facts = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(facts, dict):
        raise ValueError(f"expected a mapping, got {type(facts).__name__}")
    own = facts.pop(OWN, None)
    if own != _own_hash(facts):
        raise ValueError("its content was changed after it was written")
    return facts


def _own_hash(facts: Mapping[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the hash of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
