"""The content of the cache, without files that softrec did not put there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from softrec.data import sources
from softrec.data.sources.base import cache_dir
from softrec.data.sources.lastfm_1k import PLAYS
from softrec.errors import RunError
from softrec.experiments.store.artifacts import FACTS
from softrec.experiments.store.folders import RUN, UNFINISHED, held, is_marked, is_ours, remove

DAY = 86_400  # seconds; an unfinished file that is older was left by a kill
UNPACKED = {PLAYS}  # files that readers make from the downloaded ones


@dataclass(frozen=True)
class Entry:
    """Something in the cache, with its size in bytes."""

    kind: str
    path: Path
    size: int


def entries(kind: str) -> list[Entry]:
    """Return the entries of the cache of a kind: data, artifacts, runs or hashes."""
    return [Entry(kind, path, _size(path)) for path in sorted(_FOUND[kind](cache_dir()))]


def clear(found: Sequence[Entry]) -> list[Path]:
    """Remove entries, and return those that another process is writing, which are kept."""
    kept = []
    for entry in found:
        if entry.kind == "runs":
            out = entry.path.with_name(entry.path.name.removesuffix(UNFINISHED))
            try:
                with held(out):
                    remove(entry.path)
            except RunError:
                kept.append(entry.path)
        elif entry.path.is_dir():
            shutil.rmtree(entry.path)
        else:
            entry.path.unlink(missing_ok=True)
        with suppress(OSError):  # all others are kept
            entry.path.parent.rmdir()
    return kept


def _data(root: Path) -> Iterator[Path]:
    """Yield the files of data sets, complete or not, and no other files of their folders."""
    for source in map(sources.get, sources.names()):
        for file in (root / source.name).glob("*"):
            known = {remote.name for remote in source.files} | UNPACKED
            if file.is_file() and file.name.removesuffix(".part") in known:
                yield file


def _artifacts(root: Path) -> Iterator[Path]:
    for folder in (root / "artifacts").glob("*/*"):
        left = folder.name.endswith(UNFINISHED) and time.time() - folder.stat().st_mtime > DAY
        if folder.is_dir() and ((folder / FACTS).exists() or left):
            yield folder


def _runs(root: Path) -> Iterator[Path]:
    for folder in (root / "runs").glob("*"):
        if folder.is_dir() and (is_ours(folder, RUN) or is_marked(folder, RUN)):
            yield folder


def _hashes(root: Path) -> Iterator[Path]:
    return (root / "hashes").glob("*-*.json")


_FOUND = {"data": _data, "artifacts": _artifacts, "runs": _runs, "hashes": _hashes}


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
