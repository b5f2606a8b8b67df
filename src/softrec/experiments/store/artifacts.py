"""Artifacts: results that take long to compute, stored under a name made from their inputs."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from softrec.data.sources.base import cache_dir
from softrec.experiments.store.integrity import changed, sealed
from softrec.files import read_facts, write_facts
from softrec.parallel import by_first

FACTS = "facts.json"
FILES = "files.json"  # hash and size of all files


class DamagedArtifactWarning(UserWarning):
    """An artifact in the cache was changed or damaged; it is computed again."""


def artifact(kind: str, facts: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
    """Return the folder with the files that `make` writes, from the cache or made now.

    It is in the cache (`SOFTREC_CACHE`, by default ~/.cache/softrec) under a name made from
    `facts`, which are stored with it. A folder gets its name when it is complete, so that an
    interrupted computation cannot be taken for a result. If it was changed, it is computed again,
    with a warning. Of several processes the first one makes it, while the others wait.

    Args:
        kind: of the result, such as "teacher-vectors".
        facts: everything that it depends on, as plain data.
        make: writes the files into a given folder.
    """
    return by_first(lambda: _artifact(kind, facts, make))


def _artifact(kind: str, facts: Mapping[str, Any], make: Callable[[Path], object]) -> Path:
    text = json.dumps(dict(facts), sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:24]
    folder = cache_dir() / "artifacts" / kind / name
    if folder.exists():
        complaint = damage(folder)
        if complaint is None:
            return folder
        warnings.warn(f"{complaint}; it is computed again", DamagedArtifactWarning, stacklevel=5)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f"{name}.", suffix=".part", dir=folder.parent))
    part.chmod(folder.parent.stat().st_mode)  # mkdtemp makes a folder that only the owner can read
    try:
        make(part)
        written = json.dumps(dict(facts), indent=1, sort_keys=True)
        (part / FACTS).write_text(written, encoding="utf-8")
        names = [path.relative_to(part).as_posix() for path in part.rglob("*") if path.is_file()]
        write_facts(part / FILES, {"files": sealed(part, sorted(names))})
        if folder.exists() and damage(folder) is not None:
            with suppress(FileNotFoundError):  # another process has moved it meanwhile
                shutil.rmtree(folder)
        try:
            part.rename(folder)
        except OSError:
            if not folder.exists():  # else another process made the same meanwhile
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def damage(folder: Path) -> str | None:
    """Return what is wrong with an artifact; None if nothing is."""
    try:
        return changed(folder, read_facts(folder / FILES)["files"])
    except (ValueError, KeyError, TypeError, AttributeError, FileNotFoundError):
        return f"{folder / FILES} is missing or was changed"
