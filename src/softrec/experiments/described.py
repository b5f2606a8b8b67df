"""Facts about the data of a run, by which runs on other data are told apart."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
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
        **_weights_fingerprint(split),
    }


def _events_fingerprint(split: Split) -> str:
    """Return a short hash of all interactions with their part, order and, if known, time."""
    kinds = {"user": "<u4", "item": "<u4"}
    if split.clean.has_time:  # some models read times, so that their results depend on it
        kinds["time"] = "<i8"
    return _hash_of(split, kinds)


def _weights_fingerprint(split: Split) -> dict[str, str]:
    """Return a hash of the column of weights, if there is one: examples may weigh by it.

    It is an entry of its own, because a log without the column is that of a run that does not read
    it.
    """
    if "weight" not in split.clean.frame.columns:
        return {}
    return {"weights_fingerprint": _hash_of(split, {"weight": "<f4"})}


def _hash_of(split: Split, kinds: Mapping[str, str]) -> str:
    """Return a short hash of columns of all parts, each with the width of its numbers."""
    digest = hashlib.sha256()
    for part in split.parts.values():
        for kind, width in kinds.items():
            values = part.ordered[kind].to_numpy()
            for some in blocks(len(values), LIMITS.sorted):
                digest.update(values[some].astype(width).tobytes())
    return digest.hexdigest()[:16]
