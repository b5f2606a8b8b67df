"""Facts about the data of a run, by which runs on other data are told apart."""

from __future__ import annotations

import hashlib
from typing import Any

from softrec.blocks import blocks
from softrec.data.splits import Split
from softrec.limits import LIMITS


def describe(split: Split) -> dict[str, Any]:
    """Return the entries of run.json about the data."""
    return {
        "users": split.train.n_users,
        "items": split.train.n_items,
        "split": split.name,
        "train": len(split.train),
        "valid": len(split.valid),
        "test": len(split.test),
        "set_aside": split.aside.facts(),
        "new_users": split.new_users(),
        "protocol": split.protocol(),
        "times": split.train.times,
        "fingerprint": split.train.fingerprint,
        "events_fingerprint": _events_fingerprint(split),
    }


def _events_fingerprint(split: Split) -> str:
    """Return a short hash of all interactions with their part, order and, if known, time."""
    digest = hashlib.sha256()
    for part in split.parts.values():
        kinds = {"user": "<u4", "item": "<u4"}
        if part.has_time:  # some models read times, so that their results depend on it
            kinds["time"] = "<i8"
        for kind, width in kinds.items():
            values = part.ordered[kind].to_numpy()
            for some in blocks(len(values), LIMITS.sorted):
                digest.update(values[some].astype(width).tobytes())
    return digest.hexdigest()[:16]
