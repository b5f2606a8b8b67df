"""What takes long to make and depends on its inputs alone: made once, found again by them."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from softrec.data.sources.base import cache_dir

FACTS = "facts.json"


def artifact(kind: str, facts: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
    """Return the folder with what `make` writes, made now unless it is there already.

    It lies in the cache (`SOFTREC_CACHE`, by default ~/.cache/softrec) under a name made of
    `facts`, which are kept beside it. A folder gets its name when it is complete: an interrupted
    making leaves nothing that could be taken for a result.

    Args:
        kind: what it is, such as "teacher-vectors".
        facts: all it depends on, as plain data.
        make: writes the files into the folder it is given.
    """
    text = json.dumps(dict(facts), sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:24]
    folder = cache_dir() / "artifacts" / kind / name
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".part", dir=folder.parent))
    try:
        make(part)
        written = json.dumps(dict(facts), indent=1, sort_keys=True)
        (part / FACTS).write_text(written, encoding="utf-8")
        try:
            part.rename(folder)
        except OSError:
            if not folder.exists():  # else another run made the same meanwhile
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def fingerprint_of(path: Path) -> str:
    """Return a short hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:24]
