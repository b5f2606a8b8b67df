"""Hashes of the files of a folder when they were written, and whether they were changed since.

A large file is hashed once. The hash is stored in the cache (`SOFTREC_CACHE`, folder `hashes`) with
the size and times of the file, and used as long as these are the same. The cache is used because
the folder itself may not be writable.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from softrec import files
from softrec.data.sources.base import cache_dir
from softrec.files import read_facts, sha256_of, write_facts
from softrec.limits import LIMITS


def sealed(folder: Path, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the result of `softrec.files.sealed`, with stored hashes."""
    return files.sealed(folder, names, hash_of)


def changed(folder: Path, kept: files.Files) -> str | None:
    """Return the result of `softrec.files.changed`, with stored hashes."""
    return files.changed(folder, kept, hash_of)


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
