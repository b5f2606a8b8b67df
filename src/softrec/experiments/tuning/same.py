"""Checks that an unfinished study belongs to the same search and data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from softrec.errors import RunError
from softrec.experiments.store.changes import changes, difference


def check_same(path: Path, kept: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse a study of another search: another recipe, space, pruner or seed.

    Raises:
        RunError: if something differs; the message says what.
    """
    told = changes(kept, asked)
    if told:
        raise RunError(
            f"{path} is the study of another search: {told}; give the same recipe and space, or "
            "another --out"
        )


def check_data(path: Path, kept: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Refuse a study of other data.

    Raises:
        RunError: if something differs; the message says what.
    """
    other = difference(kept, data)
    if other is not None:
        raise RunError(
            f"{path} is the study of other data ({other}); give the same log again, or another "
            "--out"
        )
