"""Files that are written completely or not at all, and plain data with its own hash.

A file is written under a temporary name and renamed, so that after a kill there is the old file or
the new one. Plain data contains the hash of its content, so that changes are detected.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

OWN = "sha256"  # the key of the hash in plain data


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it is renamed to `path`, or deleted after an error.

    The file gets the permissions of any new file in this folder, however it was written.
    """
    fresh = path.with_name(f"{path.name}.{uuid4().hex[:8]}.part")
    fresh.touch(exist_ok=False)
    mode = fresh.stat().st_mode
    try:
        yield fresh
        if fresh.stat().st_mode != mode:  # safetensors makes files that only the owner can read
            fresh.chmod(mode)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


def link(path: Path, twin: Path) -> bool:
    """Make `path` a hard link to `twin` if both have the same content; return whether it is one.

    Two names of one file need the space of one. If links are not possible, or `twin` is missing or
    has other content, `path` is left as it is. A file with several names must only be replaced, as
    `replacing` does: writing into it would change `twin`, too.
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
    """Write a text file completely or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    """Write plain data as JSON, with the hash of its content under `sha256`."""
    plain = json.loads(json.dumps(dict(facts)))
    write_text(path, json.dumps({**plain, OWN: facts_hash(plain)}, indent=1))


def read_facts(path: Path) -> dict[str, Any]:
    """Return the data that `write_facts` wrote, without the hash.

    Raises:
        ValueError: if the file is not JSON with such a hash, or was changed.
        OSError: if it cannot be read.
    """
    facts = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(facts, dict):
        raise ValueError(f"expected a mapping, got {type(facts).__name__}")
    own = facts.pop(OWN, None)
    if own != facts_hash(facts):
        raise ValueError("its content was changed after it was written")
    return facts


def facts_hash(facts: Mapping[str, Any]) -> str:
    """Return the hash of plain data, in hex."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the hash of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


Files = Mapping[str, Mapping[str, Any]]
"""The size in bytes and the SHA-256 of each file, by its name in a folder."""


def sealed(
    folder: Path, names: Iterable[str], hash_of: Callable[[Path], str] = sha256_of
) -> dict[str, dict[str, Any]]:
    """Return the size in bytes and the SHA-256 of each file, by its name in `folder`."""
    return {
        name: {"size": (folder / name).stat().st_size, "sha256": hash_of(folder / name)}
        for name in names
    }


def changed(folder: Path, files: Files, hash_of: Callable[[Path], str] = sha256_of) -> str | None:
    """Return what is wrong with the first of `files` that was changed after `sealed`; else None.

    Args:
        folder: of the files.
        files: what `sealed` returned.
        hash_of: may return a stored hash, which may be wrong: before a file is refused it is read.

    Raises:
        OSError: if a file exists and cannot be read.
    """
    for name, kept in files.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        size = path.stat().st_size
        if size != kept["size"]:
            return f"{path} was changed: its size is {size:,} bytes, expected {kept['size']:,}"
        if hash_of(path) != kept["sha256"] and sha256_of(path) != kept["sha256"]:
            return f"{path} was changed: its content is not what softrec wrote"
    return None
