"""Public data sets, from a data folder, from the cache or by download.

A file is looked for in the data folder (`data_dir`, or the environment variable `SOFTREC_DATA`),
then in the cache (`SOFTREC_CACHE`, by default `~/.cache/softrec`). If it is in neither, it is
downloaded to the cache.

Example:
    >>> get("yelp2018").split["split"]
    'given'
    >>> get("movielens-1n")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    softrec.errors.DataError: no data set is called 'movielens-1n'; did you mean movielens-1m...
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import polars as pl

from softrec.data.sources.base import (
    SOURCES,
    Counts,
    ItemTable,
    Parts,
    RemoteFile,
    Source,
    cache_dir,
)
from softrec.data.sources.download import DownloadError, fetch, verify
from softrec.errors import DataError, one_line

__all__ = [
    "SOURCES",
    "Counts",
    "ItemTable",
    "Parts",
    "RemoteFile",
    "Source",
    "cache_dir",
    "find",
    "get",
    "item_table",
    "load",
    "locate",
    "names",
]

PACKED = ("", ".xz", ".gz")


def names() -> list[str]:
    """Return the names of all data sets."""
    return list(SOURCES)


def get(name: str) -> Source:
    """Return the data set called `name`.

    Raises:
        DataError: if there is none; the message suggests similar names.
    """
    if name in SOURCES:
        return SOURCES[name]
    alike = difflib.get_close_matches(name.lower(), SOURCES, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(alike)}?" if alike else f"there are {', '.join(SOURCES)}"
    raise DataError(f"no data set is called {name!r}; {hint} See `softrec data list`")


def data_folder(data_dir: Path | None = None) -> Path | None:
    """Return the data folder: `data_dir`, else the folder in SOFTREC_DATA, else None.

    Raises:
        DataError: if it is not a folder.
    """
    named = "--data-dir"
    if data_dir is None:
        given = os.environ.get("SOFTREC_DATA")
        if not given:
            return None
        data_dir, named = Path(given), "SOFTREC_DATA"
    folder = Path(data_dir).expanduser()
    if not folder.is_dir():
        raise DataError(
            f"the data folder {folder} (from {named}) does not exist; name a folder with data "
            "sets, or no folder, to use the cache and downloads"
        )
    return folder


def find(source: Source, file: RemoteFile, data_dir: Path | None = None) -> Path | None:
    """Return the path of `file` in the data folder, else in the cache, else None."""
    places = (f"{source.name}/{file.name}", *file.local)
    folder = data_folder(data_dir)
    roots = [folder, cache_dir()] if folder else [cache_dir()]
    for root in roots:
        for place in places:
            for packed in PACKED:
                path = root / f"{place}{packed}"
                if path.is_file():
                    return path
    return None


def locate(
    source: Source, data_dir: Path | None = None, progress: bool | None = None
) -> dict[str, Path]:
    """Return the path of each file of `source`; missing files are downloaded.

    Args:
        source: the data set.
        data_dir: a folder to look in first; by default the folder in SOFTREC_DATA, if it is set.
        progress: whether downloads show a bar; by default only on a terminal.

    Raises:
        DataError: if a file cannot be downloaded; the message says which file to put where. Also
            if a file in the cache has a wrong checksum. Files of a data folder are not checked.
    """
    return {file.name: _path_of(source, file, data_dir, progress) for file in source.files}


def _path_of(
    source: Source, file: RemoteFile, data_dir: Path | None, progress: bool | None
) -> Path:
    kept = cache_dir() / source.name / file.name
    found = find(source, file, data_dir)
    if found is not None:
        if found == kept and file.checksum is not None:
            _verify_kept(found, file.checksum)
        return found
    if file.url is None:
        raise DataError(
            f"{source.name}: there is no address from which {file.name} can be downloaded. "
            f"{by_hand(source, file)}"
        )
    try:
        return fetch(file.url, kept, file.checksum, progress=progress)
    except DownloadError as error:
        raise DownloadError(
            f"{source.name}: cannot download {file.name} ({error}). {by_hand(source, file)}"
        ) from error


def _verify_kept(path: Path, checksum: str) -> None:
    try:
        verify(path, checksum)
    except DataError as error:
        raise DataError(
            f"{path}: {error}; delete it to download it again, or put it into a data folder "
            "(--data-dir) to use it as it is"
        ) from error


def by_hand(source: Source, file: RemoteFile) -> str:
    """Return a text that says which file to put where if there is no network."""
    where = file.how or f"Download {file.url} on a machine with a network connection"
    kept = cache_dir() / source.name / file.name
    places = " or ".join((f"{source.name}/{file.name}", *file.local))
    return (
        f"{where} and save it as {kept}, or use --data-dir or the environment variable "
        f"SOFTREC_DATA to name a folder that contains it as {places}"
    )


def load(name: str, data_dir: Path | None = None, progress: bool | None = None) -> Parts:
    """Read the data set called `name`; missing files are downloaded.

    Args:
        name: one of `names()`.
        data_dir: a folder to look in first; by default the folder in SOFTREC_DATA, if it is set.
        progress: whether downloads show a bar; by default only on a terminal.

    Raises:
        DataError: if there is no such data set, it cannot be downloaded, or it is damaged.
    """
    source = get(name)
    here = {file.name for file in source.files if find(source, file, data_dir) is not None}
    paths = locate(source, data_dir, progress)
    try:
        return source.read(*paths.values())
    except DataError as error:
        fresh = [f.name for f in source.files if f.checksum is None and f.name not in here]
        if not fresh:
            raise
        for name in fresh:
            paths[name].unlink(missing_ok=True)
        raise DataError(
            f"{one_line(str(error), 300)}; {', '.join(fresh)} has just been downloaded and was "
            "removed: run the command again"
        ) from error


def item_table(
    name: str, data_dir: Path | None = None, progress: bool | None = None
) -> pl.DataFrame:
    """Return the columns item (raw ids, as in the log) and title of the data set called `name`.

    Raises:
        DataError: if there is no such data set, it has no titles, or they cannot be downloaded.
    """
    source = get(name)
    if source.item_table is None:
        having = ", ".join(one for one, each in SOURCES.items() if each.item_table)
        raise DataError(f"{name} comes without titles of its items; these have them: {having}")
    return source.item_table.read(_path_of(source, source.item_table.file, data_dir, progress))
