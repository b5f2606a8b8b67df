"""Hashes of the files of a folder when they were written, and whether they were changed since.

A large file is hashed once. The hash is stored in the cache (`SOFTREC_CACHE`, folder `hashes`) with
the size and times of the file, and used as long as these are the same. The cache is used because
the folder itself may not be writable.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from softrec.data.sources.base import cache_dir
from softrec.files import read_facts, sha256_of, write_facts
from softrec.limits import LIMITS

Files = Mapping[str, Mapping[str, Any]]


def sealed(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the size in bytes and the SHA-256 of each file, by its name in `folder`."""
    return {
        name: {"size": (folder / name).stat().st_size, "sha256": hash_of(folder / name)}
        for name in names
    }


def changed(folder: Path, files: Files) -> str | None:
    """Return what is wrong with the first of `files` that was changed after `sealed`; else None.

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
        # The stored hash may be wrong, so the file is read before it is refused.
        if hash_of(path) != kept["sha256"] and sha256_of(path) != kept["sha256"]:
            return f"{path} was changed: its content is not what softrec wrote"
    return None


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file; for a large unchanged file the stored one."""
    known = path.stat()
    if known.st_size < LIMITS.hashed:
        return sha256_of(path)
    looks = {
        "device": known.st_dev,
        "inode": known.st_ino,
        "size": known.st_size,
        "mtime_ns": known.st_mtime_ns,
        "ctime_ns": known.st_ctime_ns,
    }
    # By its inode, because a folder is renamed when it is complete.
    record = cache_dir() / "hashes" / f"{known.st_dev:x}-{known.st_ino:x}.json"
    with suppress(OSError, ValueError):
        kept = read_facts(record)
        if {name: kept.get(name) for name in looks} == looks:
            return kept["content"]
    content = sha256_of(path)
    with suppress(OSError):  # a cache that is not writable only costs time
        record.parent.mkdir(parents=True, exist_ok=True)
        write_facts(record, {**looks, "content": content})
    return content
