"""A log that stays in files: cleaned and split once, kept in the cache, read as memory maps."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softrec.data.disk.clean import STEPS, clean
from softrec.data.disk.parts import Parts, size_of
from softrec.data.disk.rows import KINDS, Rows
from softrec.data.disk.sort import write_log
from softrec.data.disk.split import (
    StoredSplit,
    by_moments,
    in_memory_only,
    last_out,
    read_split,
    write_split,
)
from softrec.errors import DataError
from softrec.experiments.store.artifacts import artifact
from softrec.limits import LIMITS
from softrec.recipe.specs.data import DataSettings, parse_step

KIND = "log"
FORMAT = 1  # of the files of a split
LAST_OUT, TIME = "leave-last-out", "time"
LOGGER = logging.getLogger(__name__)


def stays_on_disk(spec: DataSettings) -> bool:
    """Return whether the log of a recipe is not read into memory."""
    if spec.valid is not None or spec.on_disk is False:
        return False
    return bool(spec.on_disk) or size_of(spec.source) > LIMITS.in_memory


def split_on_disk(spec: DataSettings) -> StoredSplit:
    """Return the split of a log that stays in files; it is made once, and found again later.

    Raises:
        DataError: if the log cannot be used, or needs what only a log in memory can have.
    """
    parts = Parts.of(
        spec.source,
        {"user": spec.user, "item": spec.item, "time": spec.time, "weight": spec.weight},
    )
    facts = _facts(spec, parts)
    LOGGER.info("the log stays on disk: %s is sorted and split once, in the cache", spec.source)
    return _read(facts, parts)


def split_again(kept: Mapping[str, Any]) -> StoredSplit:
    """Return the split of a run whose log stayed in files.

    Args:
        kept: the facts that `StoredSplit.facts` had when the run was written.

    Raises:
        DataError: if the files are gone or were changed, and the split is not in the cache.
    """
    place = Path(kept["source"])
    columns = {kind: kept["parts"]["columns"].get(kind) for kind in KINDS}
    try:
        parts = Parts.of(place, columns)
    except DataError as error:
        return _read(kept, None, f"its log cannot be read ({error})")
    same = parts.facts() == kept["parts"]
    return _read(
        kept, parts if same else None, f"the files of its log, {place}, were changed since"
    )


def _read(facts: Mapping[str, Any], parts: Parts | None, lacking: str = "") -> StoredSplit:
    """Return a split from the cache; it is made of `parts` if it is not there."""

    def make(folder: Path) -> None:
        if parts is None:
            raise DataError(
                f"{lacking}, and the split of it is no longer in the cache; give the run its log "
                "back, or train it again"
            )
        _make(facts, parts, folder)

    folder = artifact(KIND, facts, make)
    return read_split(folder, dict(facts))


def _facts(spec: DataSettings, parts: Parts) -> dict[str, Any]:
    """Return all that the files of a split depend on."""
    kind = spec.split or LAST_OUT
    if kind not in (LAST_OUT, TIME):
        raise in_memory_only(f"--split {kind}")
    for step in spec.clean:
        if parse_step(step)[0] not in STEPS:
            raise in_memory_only(f"the cleaning step {step}")
    return {
        "format": FORMAT, "source": str(parts.source.resolve()), "parts": parts.facts(),
        "text_ids": spec.text_ids, "clean": list(spec.clean), "split": kind,
        "short": None if kind == TIME else spec.short_users or "keep",
        "cold": spec.cold_items or "drop", "times": parts.times(),
        "fractions": [spec.valid_fraction, spec.test_fraction] if kind == TIME else [],
    }  # fmt: skip


def _make(facts: Mapping[str, Any], parts: Parts, folder: Path) -> None:
    """Write the split into a folder; what is only needed on the way is removed."""
    log = folder / "log"
    write_log(parts, log, text_ids=facts["text_ids"])
    for step in facts["clean"]:
        cleaner = folder / "cleaner"
        clean(log, *parse_step(step), cleaner)
        shutil.rmtree(log)
        cleaner.rename(log)
    rows = Rows.read(log)
    short = facts["short"]
    roles = by_moments(rows, *facts["fractions"]) if short is None else last_out(rows, short)
    write_split(log, folder, facts["split"], roles, short, facts["cold"])
    shutil.rmtree(log)
