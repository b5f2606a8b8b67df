"""Runs on the Hugging Face Hub: a run is a model repository, its card the README.

The address of the Hub is that of HF_ENDPOINT, the token that of HF_TOKEN or `hf auth login`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from softrec.errors import RunError, one_line
from softrec.experiments.store.folders import RUN, checked_output, unfinished
from softrec.extras import require

ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
"""hf://OWNER/NAME or hf://OWNER/NAME@REVISION; a path on the command line loses a slash."""
BESIDE = ("update.json",)
"""The files of a run folder that are not in the list of its files, and travel with it."""


def fetched(place: object) -> Path:
    """Return the folder of a run of the Hub, in the cache of the Hub.

    Raises:
        RunError: if it is no such address, or cannot be fetched.
    """
    found = ADDRESS.fullmatch(str(place))
    if found is None:
        raise RunError(
            f"{one_line(str(place), 100)!r} is not the address of a run; give hf://OWNER/NAME, or "
            "hf://OWNER/NAME@REVISION"
        )
    hub = require("huggingface_hub", "the Hugging Face Hub")
    with _told(f"{found['repo']} cannot be fetched"):
        folder = hub.snapshot_download(
            found["repo"],
            revision=found["revision"],
            endpoint=os.environ.get("HF_ENDPOINT"),
            cache_dir=os.environ.get("HF_HUB_CACHE"),  # read now, and not when it was imported
        )
    return Path(folder)


def copied(place: object, out: str | Path) -> Path:
    """Copy a run of the Hub to a folder, and return the folder.

    Raises:
        RunError: if it cannot be fetched, or `out` exists.
    """
    out = checked_output(out)
    part = unfinished(out)
    for taken in (out, part):
        if taken.exists():
            raise RunError(f"{taken} exists already; choose another --out")
    source = fetched(place)
    if not (source / RUN.result).exists():
        raise RunError(f"{place} is not a run of softrec (no {RUN.result})")
    try:
        shutil.copytree(source, part)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return out


def push(folder: Path, facts: dict[str, Any], card: str, repo: str, *, private: bool = True) -> str:
    """Write a run to a model repository of the Hub, and return its address.

    Args:
        folder: of a finished run.
        facts: of its run.json.
        card: its model card, which becomes README.md.
        repo: OWNER/NAME; it is made if it is not there.
        private: whether a new repository can be seen by its owner alone; a run holds its log.

    Raises:
        RunError: if `repo` is no such name, or the Hub refuses.
    """
    if ADDRESS.fullmatch(f"hf://{repo}") is None or "@" in repo:
        raise RunError(f"{one_line(repo, 100)!r} is not a name on the Hub; give OWNER/NAME")
    hub = require("huggingface_hub", "the Hugging Face Hub")
    names = [RUN.result, *facts["files"], *(n for n in BESIDE if (folder / n).exists())]
    files = [hub.CommitOperationAdd(name, str(folder / name)) for name in names]
    files.append(hub.CommitOperationAdd("README.md", card.encode()))
    api = hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _told(f"{repo} cannot be written"):
        api.create_repo(repo, private=private, exist_ok=True)
        api.create_commit(repo, files, commit_message=f"softrec {facts['versions']['softrec']}")
    return f"hf://{repo}"


@contextmanager
def _told(what: str) -> Iterator[None]:
    """A context whose errors of the Hub and of the network are errors that a user can fix."""
    try:
        yield
    except Exception as error:  # of the Hub, of its network library, or of the system
        text = one_line(str(error) or type(error).__name__, 200)
        raise RunError(
            f"{what}: {text}; check the name, the network and the token (HF_TOKEN)"
        ) from error
