"""A batch job: vectors and lists of all users, as Parquet in parts of some users each.

    DIR/
      manifest.json               whose they are, the settings, at the end the hashes of the files
      items/part-00000.parquet    item, vector, bias (only if the model has one)
      users/part-00000.parquet    user, vector
      lists/part-00000.parquet    user, rank, item, score

A part is written whole or not at all, and a job that was interrupted goes on after the last one.
Counted models have no vectors, and so only lists.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from filelock import FileLock, Timeout
from tqdm import tqdm

from softrec.blocks import blocks
from softrec.errors import DataError, RunError
from softrec.files import read_facts, replacing, sealed, write_facts
from softrec.limits import LIMITS
from softrec.progress import shows_bars
from softrec.serving.people import check_any_users
from softrec.serving.rules import Rules

if TYPE_CHECKING:
    from softrec.serving.base import RecommenderBase

LOGGER = logging.getLogger(__name__)
MANIFEST = "manifest.json"
KIND = "lists of all users"
USERS_OF_A_PART = 50_000
FORMAT = 1
FOLDERS = ("items", "users", "lists")


def write_all(
    recommender: RecommenderBase,
    out: Path,
    k: int,
    mask_seen: bool,
    rules: Rules,
    users_per_part: int,
    overwrite: bool,
) -> Path:
    """Write the vectors and lists of all users; see `RecommenderBase.recommend_all`."""
    if k < 1 or users_per_part < 1:
        raise DataError(
            f"lists have 1 item or more, and parts 1 user or more, got {k} and {users_per_part}"
        )
    check_any_users(recommender.log.n_users)
    users = np.flatnonzero(recommender.log.sequences.lengths)
    asked = {
        "k": min(k, recommender.log.n_items),
        "mask_seen": mask_seen,
        "rules": rules.model_dump(mode="json"),
        "users_per_part": users_per_part,
        "users": len(users),
        "recommender": identity_of(recommender),
    }
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        if not _begun(out, asked, overwrite):
            return out
        _write_parts(recommender, out, users, asked, rules)
        names = sorted(file.relative_to(out).as_posix() for file in _files(out))
        facts = {"complete": True, "files": sealed(out, names)}
        write_facts(out / MANIFEST, _facts(asked) | facts)
    return out


def identity_of(recommender: RecommenderBase) -> dict[str, Any]:
    """Return what tells one recommender from another: its weights, ids and histories."""
    log = recommender.log
    digest = hashlib.sha256()
    for vocabulary in (log.users, log.items):
        for some in blocks(len(vocabulary), LIMITS.contexts):
            digest.update("\0".join(vocabulary.raw[some].cast(pl.String).to_list()).encode())
    rows = log.sequences
    for array in (rows.offsets, rows.items, rows.times):
        for some in blocks(0 if array is None else len(array), 2**20):
            assert array is not None
            digest.update(array[some].astype("<i8").tobytes())
    weights = {"model": recommender.name, **recommender.origin, **recommender.weights_facts()}
    return {**weights, "log": digest.hexdigest()[:24]}


def _facts(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "made_by": "softrec", "version": version("softrec"), "kind": KIND, "format": FORMAT,
        "asked": dict(asked),
    }  # fmt: skip


def _begun(out: Path, asked: dict[str, Any], overwrite: bool) -> bool:
    """Make the folder ready; return whether something is left to do.

    Raises:
        RunError: if there is something else.
    """
    left = list(out.iterdir())
    if (out / MANIFEST).exists():
        kept = _read(out)
        different = [name for name in asked if kept["asked"].get(name) != asked[name]]
        if not different:
            if kept["complete"]:
                LOGGER.info("%s is complete", out)
            return not kept["complete"]
        if not overwrite:
            raise RunError(
                f"{out} was begun {_in_words(kept['asked'], asked, different)}; name another "
                "folder, or replace it with --overwrite (in Python: overwrite=True)"
            )
        for folder in FOLDERS:
            shutil.rmtree(out / folder, ignore_errors=True)
    elif left:
        raise RunError(f"{out} is not empty and has no lists of softrec; name another folder")
    write_facts(out / MANIFEST, _facts(asked) | {"complete": False})
    return True


def _read(out: Path) -> dict[str, Any]:
    try:
        kept = read_facts(out / MANIFEST)
    except (OSError, ValueError) as error:
        raise RunError(f"{out / MANIFEST} was changed: {error}; name another folder") from error
    if kept.get("kind") != KIND:
        raise RunError(f"{out} has no {KIND}; name another folder")
    return kept


def _in_words(kept: dict[str, Any], asked: dict[str, Any], different: list[str]) -> str:
    """Return how two jobs differ."""
    if "recommender" in different:
        return "with another run, or another log"
    pairs = (f"{name} {kept.get(name)} and now {asked[name]}" for name in different)
    return f"with other settings ({', '.join(pairs)})"


def _write_parts(
    recommender: RecommenderBase, out: Path, users: np.ndarray, asked: dict[str, Any], rules: Rules
) -> None:
    """Write the parts that are not there yet."""
    for stale in chain.from_iterable((out / name).glob("*.part") for name in FOLDERS):
        stale.unlink()  # what a kill left
    _write_items(recommender, out)
    parts = list(blocks(len(users), asked["users_per_part"]))
    with tqdm(total=len(users), desc="users", disable=not shows_bars(), leave=False) as bar:
        for number, some in enumerate(parts):
            # The lists of a part are written last, so that they say that it is finished.
            if not _part(out, "lists", number).exists():
                _write_part(recommender, out, number, users[some], asked, rules, bar)
            else:
                bar.update(some.stop - some.start)
            bar.refresh()
    LOGGER.info("%d users in %d parts are in %s", len(users), len(parts), out)


def _write_items(recommender: RecommenderBase, out: Path) -> None:
    items = recommender.item_vectors()
    if items is None:
        LOGGER.info("%s has no vectors; only lists are written", recommender.name)
        return
    vectors, bias = items
    for number, some in enumerate(blocks(len(vectors), USERS_OF_A_PART)):
        table = pl.DataFrame({"item": recommender.log.items.raw[some], "vector": vectors[some]})
        if bias is not None:
            table = table.with_columns(pl.Series("bias", bias[some]))
        _write(table, _part(out, "items", number))


def _write_part(
    recommender: RecommenderBase,
    out: Path,
    number: int,
    users: np.ndarray,
    asked: dict[str, Any],
    rules: Rules,
    bar: Any,
) -> None:
    lists: list[pl.DataFrame] = []
    vectors: list[pl.DataFrame] = []
    for some in blocks(len(users), LIMITS.encoded):
        table, own = recommender.lists_and_vectors(
            users[some], asked["k"], asked["mask_seen"], rules
        )
        lists.append(table)
        if own is not None:
            names = recommender.log.users.ids(users[some])
            vectors.append(pl.DataFrame({"user": names, "vector": own}))
        bar.update(some.stop - some.start)
    if vectors:
        _write(pl.concat(vectors), _part(out, "users", number))
    _write(pl.concat(lists), _part(out, "lists", number))


def _write(table: pl.DataFrame, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as fresh:
        table.write_parquet(fresh)


def _part(out: Path, folder: str, number: int) -> Path:
    return out / folder / f"part-{number:05}.parquet"


def _files(out: Path) -> Iterator[Path]:
    return chain.from_iterable((out / folder).glob("part-*.parquet") for folder in FOLDERS)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """A context in which this process alone writes to a folder."""
    place = out.resolve()
    lock = FileLock(place.with_name(f".{place.name}.softrec.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"another process is writing {out}; wait until it has finished, or name another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()  # the file stays: somebody may wait for it
